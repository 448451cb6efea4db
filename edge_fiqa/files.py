"""Files and folders: one written whole, locks, SHA-256, and where the user's caches and state lie."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import platformdirs
from filelock import FileLock, Timeout

from edge_fiqa.errors import ConfigError, shown

log = logging.getLogger("edge_fiqa.files")

ONLY_OWNER: Final = 0o600
"""Permission bits of a file that shows faces."""

A_LIBRARY_OPENS = 8
"""Files at a time, to open one video or model; some may be free again when its error is read."""

PARTIAL = ".part"
"""Ends the name of a file that is being written, or that a killed process left unfinished."""


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """The file appears with all of `data`, or stays as it was. Raises OSError.

    The data go to a hidden file in the same folder, to the disk, and then to the name `path`.
    mode: permission bits of the new file, which the user's umask narrows.
    A device or a pipe is written directly, since it cannot be replaced.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        _write_new(partial, data, mode)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_new(path: Path, data: bytes, mode: int = 0o666) -> None:
    """As `write_whole`, of a file that is not there yet. Raises FileExistsError, and other OSError.

    Whoever else makes a file of this name meanwhile keeps theirs.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        _write_new(partial, data, mode)
        try:
            path.hardlink_to(partial)
        except OSError as exc:
            if exc.errno not in NO_HARD_LINKS:
                raise
            _rename_new(partial, path)
    finally:
        partial.unlink(missing_ok=True)


NO_HARD_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What a file system without hard links answers, as those of memory cards."""


def _rename_new(partial: Path, path: Path) -> None:
    """Between the two steps another process may make the file: rename replaces it then."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    partial.rename(path)


def private_folder(folder: Path) -> None:
    """Makes a folder and those above it, readable by this user alone; one that is there stays as it is.

    Path.mkdir(parents=True) gives its mode to the last folder only. Raises OSError.
    """
    missing = [folder]
    while not os.path.lexists(missing[-1]) and missing[-1].parent != missing[-1]:
        missing.append(missing[-1].parent)
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)


def new_private_folder(folder: Path) -> None:
    """As `private_folder`, of one that nothing is in yet but hidden files.

    Raises ConfigError if there is, and OSError.
    """
    private_folder(folder)
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if names:
        raise ConfigError(
            f"{folder}: it holds {shown(names[0])}, and nothing is overwritten; name a new folder"
        )


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)  # after a power cut too, the name holds the old data or the new


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path is this folder or lies below it, also by a link or another spelling."""
    return path.resolve().is_relative_to(folder.resolve())


def cache_folder(name: str) -> Path:
    """`edge_fiqa/NAME` in EDGE_FIQA_CACHE, else in the user's cache folder.

    It need not exist, nor be writable. For a user without a home it is a path where no folder can be.
    """
    if chosen := os.environ.get("EDGE_FIQA_CACHE"):
        return Path(chosen) / "edge_fiqa" / name
    folder = _folder_of_user(platformdirs.user_cache_dir, "edge_fiqa")
    return (folder or Path(os.devnull)) / name


def state_folder(name: str) -> Path | None:
    """The user's folder for what must outlive a process. None for a user without a home."""
    return _folder_of_user(platformdirs.user_state_dir, name)


def _folder_of_user(folder_for: Callable[..., str], name: str) -> Path | None:
    """None for a user without a home, as containers have them: later versions of platformdirs raise
    an error there, earlier ones return the path with its `~`."""
    try:
        folder = Path(folder_for(name, appauthor=False))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None


def not_writable(folder: Path) -> str | None:
    """Makes the folder. Why nothing can be written there, or None."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)  # whatever the umask
    except OSError as exc:
        return str(exc.strerror)
    return None if os.access(folder, os.W_OK) else "it may not be written"


def write_figure(figure: Any, path: Path, *, mode: int = 0o666, **options: object) -> None:
    """A figure of matplotlib, whole or not at all, in the format of the file's suffix, or as PNG.

    mode: permission bits, 0600 where it shows faces. options: of its `savefig`.
    Raises OSError, and ValueError for a format that it does not know.
    """
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix[1:].lower() or "png", **options)
    write_whole(path, data.getvalue(), mode)


def open_lines(path: Path) -> BinaryIO:
    """A file of lines, unbuffered and at its end. A last line that a crash cut off is removed.

    Raises OSError. Whoever writes there should hold its lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    file = os.fdopen(descriptor, "r+b", buffering=0)
    end = file.seek(0, os.SEEK_END)
    whole = end
    while whole and (block := _block_before(file, whole)):
        if (newline := block.rfind(b"\n")) >= 0:
            whole -= len(block) - newline - 1
            break
        whole -= len(block)
    file.truncate(whole)
    file.seek(whole)
    return file


def _block_before(file: BinaryIO, end: int) -> bytes:
    start = max(0, end - (1 << 16))
    file.seek(start)
    return file.read(end - start)


def write_all(out: BinaryIO, data: bytes) -> None:
    """Write all bytes, also into an unbuffered file, which may take fewer than it is given."""
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) :]


@contextmanager
def locked(file: Path, busy: str) -> Iterator[bool]:
    """Holds a lock that other processes respect. file: of the lock alone, made where it is absent.

    busy: what ConfigError says where another process holds it. False, with one line in the log, where
    the file system has no locks. Raises OSError if the file cannot be made.
    """
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(busy) from None
    except NotImplementedError:
        log.warning("%s: this file system has no locks; let one process write at a time", file)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def lock_of(file: Path) -> Path:
    """Of which file the lock is taken by whoever writes `file`."""
    return file.with_name(f".{file.name}.lock")


LARGEST_UNPACKED: Final = 1 << 30  # bytes; larger ones must not be compressed much
MOST_COMPRESSED: Final = 100


def unpacking_bomb(path: Path) -> str | None:
    """Why a ZIP, as .npz and .pth files are, must not be unpacked, or None; None for other files.

    A small file may hold many GB of zeros, or the same GB under many names. Raises OSError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    packed = path.stat().st_size
    if unpacked <= max(LARGEST_UNPACKED, MOST_COMPRESSED * packed):
        return None
    return f"{packed / 1e6:.1f} MB would become {unpacked / 1e9:.1f} GB in memory"


def no_descriptors() -> str | None:
    """Why a library can open nothing, or None. It would take that for a bad file, or for no answer."""
    opened = []
    try:
        for _ in range(A_LIBRARY_OPENS):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as exc:
        if exc.errno in (errno.EMFILE, errno.ENFILE):
            return f"{exc.strerror}: raise the limit (ulimit -n, or LimitNOFILE= of the service)"
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()  # hashlib.file_digest is Python 3.11's; JetPack 6 has 3.10
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
