"""Whose pictures are where: a folder for each person, as people and their programs have them.

- A folder of folders: each is a person, with all pictures below it.
- Frigate (clips/faces): the same, and `train` beside the persons with faces of late events, which
  nobody has put to a person yet. Their names are EVENT-TIME-NAME-SCORE.webp.
- Double Take (.storage): `train` holds a folder for each person, `matches` beside it is no gallery.
- A folder of pictures alone is one person.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.faces.formats import SUFFIXES
from edge_fiqa.faces.images import printable
from edge_fiqa.faces.paths import PassedOver, expand

TRAIN: Final = "train"
FRIGATE_EVENT: Final = re.compile(r"\d+\.\d+-\w+-\d+(\.\d+)?-.+-[\d.e-]+\.\w+")


@dataclass(frozen=True)
class PersonPictures:
    """name: of the folder."""

    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class GalleryLayout:
    """folder: that holds the persons. notes: what was understood, in words."""

    folder: Path
    persons: tuple[PersonPictures, ...]
    notes: tuple[str, ...]


def read_layout(folder: Path) -> GalleryLayout:
    """Raises ConfigError for a folder without pictures, or that cannot be read."""
    notes: list[str] = []
    if _is_double_take(folder):
        notes.append("Double Take's storage: the persons in its folder train are taken")
        folder = folder / TRAIN
    passed_over = PassedOver()
    persons = []
    for person in _folders(folder):
        paths = tuple(expand([str(person)], sys.stdin, passed_over))
        if person.name == TRAIN and paths and all(_is_frigate_event(path) for path in paths):
            notes.append(
                "Frigate's folder train is no person: its faces, not put to anybody yet, are passed "
                f"over ({len(paths)})"
            )
        elif paths:
            persons.append(PersonPictures(person.name, paths))
    loose = _loose_pictures(folder)
    if loose and not persons:
        persons.append(PersonPictures(folder.resolve().name, loose))
    elif loose:
        notes.append(
            f"{counted(len(loose), 'picture', 'pictures')} beside the persons' folders: passed over"
        )
    if number := passed_over.suffixes.total():
        files = counted(number, "file that is no picture is", "files that are no pictures are")
        notes.append(f"{files} passed over")
    if not persons:
        raise ConfigError(
            f"{printable(folder)}: no pictures in it; name a folder of persons' folders"
        )
    return GalleryLayout(folder, tuple(persons), tuple(notes))


def _is_double_take(folder: Path) -> bool:
    names = {entry.name for entry in _folders(folder)}
    return {TRAIN, "matches"} <= names and bool(_folders(folder / TRAIN))


def _is_frigate_event(path: Path) -> bool:
    return FRIGATE_EVENT.fullmatch(path.name) is not None


def _folders(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as exc:
        raise ConfigError(f"{printable(folder)}: {exc.strerror}") from exc
    except ValueError as exc:  # a NUL in the name
        raise ConfigError(f"{str(folder)!r}: {exc}") from exc
    return [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


def _loose_pictures(folder: Path) -> tuple[Path, ...]:
    files = (entry for entry in sorted(folder.iterdir()) if not entry.is_dir())
    return tuple(
        file for file in files if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
