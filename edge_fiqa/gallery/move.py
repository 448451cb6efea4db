"""Moving what is dropped out of a gallery: nothing is overwritten, and every step is written down."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.images import printable
from edge_fiqa.files import open_lines, private_folder, write_all, write_new

MOVED: Final = "moved.ndjson"
MOST_NAMES: Final = 10_000
"""Tried for one picture, where its name is taken."""
OTHER_DISK: Final = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What linking a file answers where its new place is on another disk, or where links are unknown."""


@dataclass(frozen=True)
class Moves:
    """moved: how many. refused: pictures that stay, with the reason."""

    moved: int
    refused: tuple[str, ...]


def move_pictures(pictures: Iterable[tuple[str, Path]], target: Path, log: Path) -> Moves:
    """(person, picture) into `target/person/`. log: a file that gets a line for each move, to undo it.

    A picture that is a link stays: its target may be used elsewhere. Raises ConfigError if the log or
    the folder cannot be written.
    """
    moved, refused = 0, []
    try:
        private_folder(target)
        lines = open_lines(log)
        os.fchmod(lines.fileno(), 0o600)
    except OSError as exc:
        raise ConfigError(f"{target}: cannot be written: {exc.strerror}") from exc
    with lines:
        for person, picture in pictures:
            try:
                _move(picture, target / person, lines)
            except OSError as exc:
                refused.append(f"{printable(picture)}: {exc.strerror or exc}")
                continue
            moved += 1
    return Moves(moved, tuple(refused))


def _move(picture: Path, folder: Path, lines: BinaryIO) -> None:
    """The picture has both names when the line is written: whatever stops this, the line is there
    before the old name goes. Raises OSError; the picture is then where it was."""
    if picture.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, which stays")
    private_folder(folder)
    place = _placed(picture, folder)
    try:
        _note(lines, picture, place)
    except OSError:
        place.unlink()
        raise
    try:
        picture.unlink()
    except OSError:  # of a read-only file system: no second copy of a face that no list names
        place.unlink()
        _note(lines, place, picture)
        raise


def _note(lines: BinaryIO, before: Path, after: Path) -> None:
    line = {"from": printable(before.absolute()), "to": printable(after.absolute())}
    end = lines.tell()
    try:
        write_all(lines, msgspec.json.encode(line) + b"\n")
    except OSError:  # the next line begins a line
        lines.truncate(end)
        lines.seek(end)
        raise


def _placed(picture: Path, folder: Path) -> Path:
    """Its new name, which nothing had."""
    for number in range(1, MOST_NAMES):
        suffix = "" if number == 1 else f"-{number}"
        place = folder / f"{picture.stem}{suffix}{picture.suffix}"
        try:
            _place(picture, place)
        except FileExistsError:
            continue
        return place
    raise FileExistsError(errno.EEXIST, "all names for it are taken", str(folder))


def _place(picture: Path, place: Path) -> None:
    """A second name for the file, or a copy on another disk. Raises FileExistsError."""
    try:
        place.hardlink_to(picture)
    except OSError as exc:
        if exc.errno not in OTHER_DISK:
            raise
        write_new(place, picture.read_bytes(), 0o600)
