"""The folder with what a video gave: two pictures of every person, best.json, contact sheets.

Nothing in it is overwritten: it must be new or empty. Faces are personal data: it is readable by this
user alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.crop_file import write_crop
from edge_fiqa.files import new_private_folder, write_new, write_whole
from edge_fiqa.footage.best_shots import VideoPerson
from edge_fiqa.footage.result import PersonEntry, VideoResult, entry_of, result_to_json

INDEX: Final = "best.json"
WRITE_EVERY_S = 5.0  # what a kill loses of best.json, at most; the pictures are there


class BestFolder:
    """Begins with an index of nobody, so that two runs cannot share a folder.

    Raises ConfigError if there is something in the folder, or if it cannot be written.
    """

    def __init__(self, folder: Path, begun: VideoResult) -> None:
        self.folder, self.persons = folder, list[PersonEntry]()
        self._written = time.monotonic()
        try:
            new_private_folder(folder)
            write_new(folder / INDEX, result_to_json(begun), 0o600)
        except OSError as exc:
            raise ConfigError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc

    def add(self, person: VideoPerson) -> PersonEntry:
        """The pictures of a person who has left."""
        picture, crop = f"person-{person.number:04}.jpg", f"person-{person.number:04}.png"
        entry = entry_of(person, picture, crop)
        if (shot := person.shot) is not None:
            for name, pixels in ((picture, shot.picture), (crop, shot.crop)):
                if not write_crop(self.folder / name, pixels, shot.record):
                    raise ConfigError(f"{self.folder / name}: somebody else wrote it meanwhile")
        self.persons.append(entry)
        return entry

    def is_due(self) -> bool:
        """Whether the index should be written again while the video is searched."""
        return time.monotonic() - self._written >= WRITE_EVERY_S

    def write_index(self, result: VideoResult) -> None:
        """Raises ConfigError."""
        try:
            write_whole(self.folder / INDEX, result_to_json(result), 0o600)
        except OSError as exc:
            raise ConfigError(f"{self.folder / INDEX} cannot be written: {exc.strerror}") from exc
        self._written = time.monotonic()
