"""Files and folders on this machine or in object storage, named by a path or a URI.

`s3://`, `gs://`, `hdfs://` and `file://` are pyarrow's own file systems; their options stand in the URI
(`s3://bucket/faces?region=eu-west-1`). Any other scheme is one of fsspec (`az://`, `hf://`, ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow import fs

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import write_whole

URI = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
WILD = re.compile(r"[*?\[]")
WILD_IN_URI = re.compile(r"[*\[]")


@dataclass(frozen=True)
class FilePlace:
    """A file or folder. path: on its file system. prefix: what turns a path into a name ("" if local).

    query: the URI's options, which are no part of names: they may hold a password.
    """

    filesystem: fs.FileSystem
    path: str
    prefix: str
    query: str

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def name(self) -> str:
        return f"{self.prefix}{self.path}"

    @property
    def uri(self) -> str:
        """What `place_of` makes this of, in another process as well."""
        return f"{self.name}{self.query}"

    def at(self, path: str) -> FilePlace:
        """Another path on the same file system."""
        return FilePlace(self.filesystem, path, self.prefix, self.query)

    def child(self, name: str) -> FilePlace:
        return self.at(f"{self.path.rstrip('/')}/{name}")

    def info(self) -> fs.FileInfo:
        """Raises ConfigError where the file system cannot say it."""
        try:
            return self.filesystem.get_file_info(self.path)
        except OSError as exc:
            raise ConfigError(f"{self.name} cannot be read: {said(exc)}") from exc

    def listed(self, *, recursive: bool = True) -> Iterator[fs.FileInfo]:
        """What lies below a folder, in the order of its paths; nothing where it does not exist."""
        selector = fs.FileSelector(self.path, allow_not_found=True, recursive=recursive)
        try:
            infos = self.filesystem.get_file_info(selector)
        except OSError as exc:
            raise ConfigError(f"{self.name} cannot be listed: {said(exc)}") from exc
        return iter(sorted(infos, key=lambda info: info.path))

    def opened(self) -> BinaryIO:
        """For reading, seekable. Raises OSError."""
        return cast(BinaryIO, self.filesystem.open_input_file(self.path))

    def read(self) -> bytes:
        """Raises OSError."""
        with self.opened() as file:
            return file.read()

    def write(self, data: bytes) -> None:
        """The file appears with all of `data`, or stays as it was. Raises OSError.

        An object store shows an object once it is complete.
        """
        if self.local:
            write_whole(Path(self.path), data)
            return
        with self.filesystem.open_output_stream(self.path) as file:
            file.write(data)

    def delete(self) -> None:
        """Raises OSError."""
        self.filesystem.delete_file(self.path)

    def make_folder(self) -> None:
        """Raises ConfigError."""
        try:
            self.filesystem.create_dir(self.path, recursive=True)
        except OSError as exc:
            raise ConfigError(f"{self.name} cannot be written: {said(exc)}") from exc


def is_uri(text: str) -> bool:
    return URI.match(text) is not None


def place_of(text: str) -> FilePlace:
    """A path (made absolute), or a URI. Raises ConfigError for a scheme that nobody here knows."""
    scheme = URI.match(text)
    if scheme is None or scheme[1] == "file":
        path = Path(text.removeprefix("file://")).absolute()
        return FilePlace(fs.LocalFileSystem(), str(path), "", "")
    address, mark, options = text.partition("?")
    if scheme[1] not in ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"):
        return _of_fsspec(address, scheme[1])
    try:
        filesystem, path = fs.FileSystem.from_uri(text)
    except (OSError, ValueError, pa.ArrowException) as exc:
        raise ConfigError(f"{address}: {said(exc)}") from exc
    prefix = address[: address.rstrip("/").rfind(path.rstrip("/"))]
    return FilePlace(filesystem, path, re.sub(r"//[^/@]*@", "//", prefix), mark + options)


def _of_fsspec(address: str, scheme: str) -> FilePlace:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError, OSError) as exc:
        raise ConfigError(f"{address}: {said(exc)}") from exc
    wrapped = fs.PyFileSystem(fs.FSSpecHandler(filesystem))
    return FilePlace(wrapped, path, f"{scheme}://", "")


def is_pattern(text: str) -> bool:
    """Whether a path has a shell's wildcards. In a URI a `?` begins the options."""
    wild = WILD_IN_URI if is_uri(text) else WILD
    return wild.search(text.partition("?")[0] if is_uri(text) else text) is not None


def matching(uri: str) -> list[FilePlace]:
    """The files that a URI with wildcards matches, sorted; `**` goes into folders."""
    from fsspec.implementations.arrow import ArrowFSWrapper

    pattern, mark, options = uri.partition("?")
    first = WILD_IN_URI.search(pattern)
    assert first is not None
    end = pattern.rfind("/", 0, first.start()) + 1
    folder = place_of(f"{pattern[:end]}{mark}{options}")
    wrapper = ArrowFSWrapper(folder.filesystem)
    paths = wrapper.glob(f"{folder.path.rstrip('/')}/{pattern[end:]}")
    return [folder.at(str(path)) for path in sorted(paths)]


def said(exc: BaseException) -> str:
    """The first line of an error, which of pyarrow may be long."""
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc).split("\n")[0][:200] or type(exc).__name__
