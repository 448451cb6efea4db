"""A bundle takes its place: never instead of something else, and with a bundle there at any moment."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_fiqa.bundle.manifest import MANIFEST, old_place, read_manifest
from edge_fiqa.errors import BundleError, ConfigError
from edge_fiqa.files import PARTIAL

if sys.platform != "win32":
    import fcntl

BUILDING: Final = ".building"
"""Ends the name of a folder in which a bundle is built, beside its place."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2
CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def check_replaceable(target: Path) -> None:
    """Raises ConfigError unless `target` is a bundle, damaged perhaps, and holds nothing else."""
    remedy = "--force replaces bundles alone; choose another --output, or move it away"
    if not target.is_dir():
        raise ConfigError(f"{target} is not a folder: {remedy}")
    try:
        files = {MANIFEST, *read_manifest(target / MANIFEST).files}
    except BundleError as exc:
        raise ConfigError(f"{exc}: {remedy}") from exc
    foreign = sorted(p.name for p in target.iterdir() if p.is_dir() or p.name not in files)
    if foreign := [name for name in foreign if not _is_partial(name)]:
        raise ConfigError(f"{target} holds {foreign[0]}, which is no part of the bundle: {remedy}")


def _is_partial(name: str) -> bool:
    """Whether a killed process left this, while it wrote the manifest."""
    return name.startswith(f".{MANIFEST}.") and name.endswith(PARTIAL)


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new folder in which to build; removed at the end unless it was put in place.

    It is locked as long as this process builds in it. Those that killed processes left are removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f".{glob.escape(target.name)}.*{BUILDING}"):
        with _locked(old) as ours:
            if ours:
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(f"{BUILDING}", f".{target.name}.", target.parent))
    with _locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this folder was locked for the time being: False where another process has it, and on
    Windows, where folders have no locks."""
    if sys.platform == "win32":
        yield False
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process builds there, or there are no locks
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def put_in_place(folder: Path, target: Path) -> None:
    """`folder` becomes `target`; a bundle that was there becomes `folder`, or is removed.

    Where both cannot be exchanged in one step, the old bundle is renamed first. A process that is
    killed in between leaves it under `old_place`, and opening `target` says so.
    """
    old = old_place(target)
    if not target.exists():
        folder.rename(target)
    elif not _exchanged(folder, target):
        _remove(old)
        target.rename(old)
        folder.rename(target)
    _remove(old)


def _remove(old: Path) -> None:
    """The bundle of an earlier build, if one is there."""
    if old.is_dir():
        check_replaceable(old)
        shutil.rmtree(old)


def _exchanged(folder: Path, target: Path) -> bool:
    """Swap both names in one step. False where the system or the file system cannot."""
    if sys.platform == "win32":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(folder), os.fsencode(target)
    if rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT_EXCHANGE:
        return False
    raise ConfigError(f"{target} cannot be replaced: {os.strerror(code)}")
