"""Files and folders: a file written whole, its SHA-256, and where the user's caches and state lie."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import platformdirs

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


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)  # after a power cut too, the name holds the old data or the new


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
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        return str(exc.strerror)
    return None if os.access(folder, os.W_OK) else "it may not be written"


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
