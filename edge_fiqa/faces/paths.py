"""From what the user names to image files: folders, lists, links."""

from __future__ import annotations

import codecs
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.formats import SNIFFED_BYTES, SUFFIXES, looks_like_image

HIDDEN = "hidden"
NO_SUFFIX = "without suffix"


@dataclass
class PassedOver:
    """Files in folders that are no images, or hidden: how many, by suffix."""

    suffixes: Counter[str] = field(default_factory=Counter)

    def add(self, name: str) -> None:
        suffix = Path(name).suffix.lower() or NO_SUFFIX
        self.suffixes[HIDDEN if name.startswith(".") else suffix] += 1


def expand(
    inputs: Iterable[str],
    stdin: TextIO,
    passed_over: PassedOver | None = None,
    wanted: Callable[[str], bool] = lambda name: False,
) -> Iterator[Path]:
    """Files as they are, images under folders in sorted order, and for `-` the lines of `stdin`.

    Each path once, however it is spelt. A path that does not exist is passed on: it becomes a
    record, not the run's end. Hidden entries are passed over; links to folders are followed, each
    folder once. Memory does not grow with the number of images where one folder is all there is to
    expand. passed_over: counts the files that are no images. wanted: whether a file in a folder
    counts by its name, beside images.
    """
    counted = PassedOver() if passed_over is None else passed_over
    if isinstance(inputs, Sequence) and len(inputs) == 1 and inputs[0] != "-":
        yield from _images_under(Path(inputs[0]), counted, set(), wanted)
        return
    seen: set[str] = set()
    for entry in inputs:
        for line in listed_names(stdin) if entry == "-" else (entry,):
            for path in _images_under(Path(line), counted, set(), wanted):
                place = str(path.absolute())
                if place not in seen:
                    seen.add(place)
                    yield path


def listed_names(stdin: TextIO) -> Iterator[str]:
    """Lines that are not empty. File names are bytes: those that are not UTF-8 pass unharmed.

    A byte order mark, as Windows' editors write it, is no part of the first name.
    """
    raw = getattr(stdin, "buffer", None)
    lines = (os.fsencode(line) for line in stdin) if raw is None else raw
    for number, line in enumerate(lines):
        name = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
        if number == 0 and name.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ConfigError("the list on standard input is UTF-16; save it as UTF-8")
        if b"\0" in name:
            raise ConfigError(
                "the list on standard input has NULs (find -print0); give a name a line"
            )
        if name := name.rstrip(b"\r\n"):
            yield os.fsdecode(name)


def _images_under(
    path: Path,
    passed_over: PassedOver,
    walked: set[tuple[int, int]],
    wanted: Callable[[str], bool],
) -> Iterator[Path]:
    """walked: device and number of the folders so far; links may lead in a circle."""
    if not os.path.isdir(path):  # noqa: PTH112, Path.is_dir raises for long and forbidden names
        yield path
        return
    try:
        status = path.stat()
        with os.scandir(path) as entries:
            listed = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError:
        yield path  # unreadable folder: decoding it will say so in a record
        return
    if (place := (status.st_dev, status.st_ino)) in walked:
        return
    walked.add(place)
    for name, is_folder in listed:
        if is_folder and not name.startswith("."):
            yield from _images_under(path / name, passed_over, walked, wanted)
        elif not is_folder and (_is_wanted(name, wanted) or _is_image(path / name)):
            yield path / name
        elif not is_folder:
            passed_over.add(name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads to itself is none: reading it as an image will say so in a record."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_wanted(name: str, wanted: Callable[[str], bool]) -> bool:
    return not name.startswith(".") and wanted(name)


def _is_image(path: Path) -> bool:
    """By its suffix, or by its first bytes where it is a file that can be read."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            return False
        with path.open("rb") as file:
            return looks_like_image(file.read(SNIFFED_BYTES))
    except OSError:
        return False
