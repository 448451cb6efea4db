"""The pictures in a tar, in its order. What is damaged, a link or behind the end mark is said."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from edge_fiqa.distributed.shard_picture import TOO_LARGE, ShardPicture
from edge_fiqa.distributed.shards import Shard
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.formats import SNIFFED_BYTES, SUFFIXES, looks_like_image
from edge_fiqa.faces.images import MAX_BYTES
from edge_fiqa.tables.places import FilePlace, said

BUFFER_BYTES = 1 << 22
DECOMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
"""By the first bytes. Each reads several streams in one file, and checks their sums."""
DAMAGE = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
"""What the data themselves raise. A file that cannot be read raises ConfigError: see _Source."""


def pictures_of_tar(shard: Shard, place: FilePlace) -> Iterator[ShardPicture]:
    """Pictures by suffix or first bytes; after the last whole one, a refusal if more is lost.

    Raises ConfigError where the file cannot be read now.
    """
    current = shard.name
    try:
        with _Source(shard.name, place) as source, _opened(source) as archive:
            for member in archive:
                name = f"{shard.name}/{_printable_member(member.name)}"
                current = name if member.isreg() else shard.name
                if (picture := _picture(archive, member, name)) is not None:
                    yield picture
                current = shard.name
            if _rest(archive):
                yield ShardPicture(current, refusal=_behind_the_end(shard.name))
    except ConfigError:
        raise
    except DAMAGE as exc:
        yield ShardPicture(current, refusal=f"{shard.name} is damaged or cut off: {said(exc)}")


class _Source:
    """The file of a tar. A read that fails says nothing of the data: it raises ConfigError."""

    def __init__(self, name: str, place: FilePlace) -> None:
        self.name = name
        self.file = cast(BinaryIO, self._try(place.opened))

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, size: int = -1) -> bytes:
        return cast(bytes, self._try(lambda: self.file.read(size)))

    def seek(self, offset: int, whence: int = 0) -> int:
        return cast(int, self._try(lambda: self.file.seek(offset, whence)))

    def tell(self) -> int:
        return self.file.tell()

    def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except OSError as exc:
            raise ConfigError(f"{self.name} cannot be read: {said(exc)}") from exc


class _Pieces:
    """A decompressed stream, read as it comes: what precedes damage is not lost with it."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def read(self, size: int) -> bytes:
        return cast(bytes, self.stream.read1(size))


def _opened(source: _Source) -> tarfile.TarFile:
    start = source.read(max(map(len, DECOMPRESSED)))
    source.seek(0)
    stream: Any = source
    for magic, opened in DECOMPRESSED.items():
        if start.startswith(magic):
            stream = _Pieces(opened(source))
    return tarfile.open(fileobj=stream, mode="r|", bufsize=BUFFER_BYTES, tarinfo=_TarMember)


class _TarMember(tarfile.TarInfo):
    """TarFile.next takes a header that is damaged or cut off for the archive's end; this says it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarMember:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as exc:
            raise tarfile.ReadError(str(exc)) from exc


def _picture(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> ShardPicture | None:
    path = Path(member.name)
    of_picture = path.suffix.lower() in SUFFIXES
    if path.name.startswith("."):
        return None
    if (member.islnk() or member.issym()) and of_picture:
        return ShardPicture(
            name,
            refusal=f"{name} is a link; pack with tar --hard-dereference -h, which packs files",
        )
    if not member.isreg():
        return None
    file = archive.extractfile(member)
    assert file is not None  # it is a regular file
    head = file.read(SNIFFED_BYTES)
    if not of_picture and not looks_like_image(head):
        return None
    if member.size > MAX_BYTES:  # of a sparse one, what it would be unpacked
        return ShardPicture(name, refusal=f"{name}: {TOO_LARGE}")
    data = head + file.read()
    return ShardPicture(name, read=lambda: data)


def _rest(archive: tarfile.TarFile) -> bool:
    """Whether anything but zeros follows the end mark."""
    stream = cast(IO[bytes], archive.fileobj)
    while data := stream.read(BUFFER_BYTES):
        if data.strip(b"\0"):
            return True
    return False


def _behind_the_end(name: str) -> str:
    return (
        f"{name}: more data follow its end mark: it is damaged there, or several tars were joined; "
        "give each tar on its own, or join them with tar --concatenate"
    )


def _printable_member(name: str) -> str:
    return name.removeprefix("./").encode("utf-8", "backslashreplace").decode()
