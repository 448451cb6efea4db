"""The one door for files that a process keeps for the next one: compiled models, plans, arrays.

A compiled model is code, and an array becomes a result. So such a file is used only where nobody else
can have written it, and only with the SHA-256 that was taken when it was written. The digest stands at
the end of the file itself, so that a file and its digest appear together or not at all. It covers a
label as well: what the file holds, and for whom. A file under a wrong name does not pass.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import Final

from edge_fiqa.errors import KeptFileRefused
from edge_fiqa.files import sha256, write_whole

log = logging.getLogger("edge_fiqa.kept")

MARK: Final = b"\nedge-fiqa sha256:"
SEAL_BYTES: Final = len(MARK) + 64
OTHERS_CANNOT_WRITE: Final = 0o644
MAKE_YOURS: Final = "make it yours alone (chown, chmod go-w)"


def distrusted(path: Path) -> str | None:
    """Why another user may have written this file or folder, or None. Raises OSError if it is absent.

    For a file, the folder that it lies in counts too. Root is trusted, and so is the user's own group,
    which on many systems has no other members. On Windows, access lists are the system's business.
    """
    if not hasattr(os, "getuid"):
        return None
    checked = (path,) if path.is_dir() else (path, path.parent)
    return next(filter(None, (_distrusted(each, each.stat()) for each in checked)), None)


def _distrusted(path: Path, status: os.stat_result) -> str | None:
    if status.st_uid not in (os.getuid(), 0):
        return f"{path} belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return f"everyone may write {path}"
    if status.st_mode & stat.S_IWGRP and status.st_gid not in (os.getegid(), 0):
        return f"another group may write {path}"
    return None


def why_not_kept(folder: Path) -> str | None:
    """Makes the folder. Why nothing that is kept there can be used, with the remedy, or None."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        distrust = distrusted(folder)
    except OSError as exc:
        return str(exc.strerror)
    return None if distrust is None else f"{distrust}; {MAKE_YOURS}"


def write_kept(path: Path, data: bytes, label: str) -> None:
    """The file appears with all of `data` and its digest, or stays as it was. Raises OSError."""
    write_whole(path, data + MARK + _digest(data, label), OTHERS_CANNOT_WRITE)


def read_kept(path: Path, label: str) -> bytes:
    """The data that `write_kept` got with this label.

    Raises FileNotFoundError, and KeptFileRefused for a file that others may have written, that is
    damaged, or that cannot be read.
    """
    try:
        distrust = distrusted(path)
        content = path.read_bytes() if distrust is None else b""
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise KeptFileRefused(f"{path} cannot be read ({exc.strerror})") from exc
    if distrust is not None:
        raise KeptFileRefused(distrust)
    return unsealed(path, content, label)


def unsealed(path: Path, content: bytes, label: str) -> bytes:
    """The data in the bytes of a kept file, whoever may have written it.

    For what the user names as an input. Raises KeptFileRefused.
    """
    data = content[:-SEAL_BYTES]
    if content[-SEAL_BYTES:] != MARK + _digest(data, label):
        raise KeptFileRefused(f"{path} is damaged or was changed")
    return data


def seal(path: Path, label: str) -> None:
    """Puts the digest at the end of a file that is too large for memory. Raises OSError."""
    digest = _digest_of_file(path, path.stat().st_size, label)
    with path.open("ab") as file:
        file.write(MARK + digest)
        file.flush()
        os.fsync(file.fileno())


def check_sealed(path: Path, label: str) -> None:
    """As `read_kept`, of a file that is too large for memory."""
    if (distrust := distrusted(path)) is not None:
        raise KeptFileRefused(distrust)
    size = path.stat().st_size - SEAL_BYTES
    if size < 0 or _end_of(path) != MARK + _digest_of_file(path, size, label):
        raise KeptFileRefused(f"{path} is damaged or was changed")


def has_seal(path: Path) -> bool:
    """Whether the file ends as a kept one does. It may be damaged all the same. Raises OSError."""
    return _end_of(path).startswith(MARK)


def kept_or_none(path: Path, label: str) -> bytes | None:
    """As `read_kept`; None if there is no such file, or with one line in the log if it is refused."""
    try:
        return read_kept(path, label)
    except FileNotFoundError:
        return None
    except KeptFileRefused as exc:
        log.warning("%s: it is not used and made again", exc)
        return None


def check_hash(path: Path, digest: str) -> None:
    """For a file whose SHA-256 is known from elsewhere. Raises KeptFileRefused and OSError."""
    if (distrust := distrusted(path)) is not None:
        raise KeptFileRefused(distrust)
    if (actual := sha256(path)) != digest:
        raise KeptFileRefused(f"{path} has SHA-256 {actual[:12]}..., not {digest[:12]}...")


def _digest(data: bytes, label: str) -> bytes:
    digest = _begun(label)
    digest.update(data)
    return digest.hexdigest().encode()


def _digest_of_file(path: Path, size: int, label: str) -> bytes:
    """Of its first `size` bytes."""
    digest = _begun(label)
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest().encode()


def _begun(label: str) -> hashlib._Hash:
    return hashlib.sha256(label.encode("utf-8", "surrogateescape") + b"\0")


def _end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - SEAL_BYTES))
        return file.read(SEAL_BYTES)
