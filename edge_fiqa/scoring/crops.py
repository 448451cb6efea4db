"""A folder of aligned crops, one file for each face that got a score, with its record inside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from edge_fiqa.errors import ConfigError, ImageRefused, counted
from edge_fiqa.faces.crop_file import crop_name, read_crop_record, write_crop
from edge_fiqa.faces.images import decode, path_of
from edge_fiqa.faces.sources import FaceCrop, RefusedFace
from edge_fiqa.files import private_folder
from edge_fiqa.policies.policy import Policy
from edge_fiqa.record import Record
from edge_fiqa.scoring.pipeline import ReadFaces, Scores


class CropFolder:
    """Writes crops, and counts them. Threads may share it.

    Raises ConfigError for a folder that cannot be made.
    written: new files. there: of the same face, by an earlier run. other: names that hold another
    picture, or a record of another model or calibration; they stay as they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = self.there = 0
        self.other: list[Path] = []
        self._seen: set[Path] = set()  # in this run
        self._counting = threading.Lock()
        try:
            private_folder(folder)
            if not folder.is_dir():
                raise NotADirectoryError(None, "it is a file", str(folder))
        except OSError as exc:
            raise ConfigError(f"{folder} cannot hold crops: {exc.strerror}") from exc

    def path(self, record: Record) -> Path:
        return self.folder / crop_name(record)

    def keep(self, face: FaceCrop, record: Record) -> None:
        """Write the crop of a face with a score. Raises ConfigError if it cannot be written."""
        if record.quality.code != "ok":
            return
        path = self.path(record)
        new = write_crop(path, face.crop, record)
        same = new or _is_of(path, face, record)
        with self._counting:
            self._seen.add(path)
            self.written += new
            self.there += same and not new
            if not same:
                self.other.append(path)

    def keep_again(self, records: Iterable[Record], read: ReadFaces) -> list[str]:
        """Write the crops of faces that were scored earlier, whose pictures are read again.

        Returns why some could not be: pictures that are gone, or hold other faces now.
        """
        missing: dict[str, list[Record]] = {}
        for record in records:
            path = self.path(record)
            if record.quality.code != "ok" or path in self._seen:
                continue
            if _recorded(path) == _identity(record):
                self.there += 1
            else:  # there is none, or another one: its pixels say which
                missing.setdefault(record.source, []).append(record)
        lost = []
        for source, wanted in missing.items():
            faces = {face.id: face for face in read(path_of(source)) if isinstance(face, FaceCrop)}
            for record in wanted:
                face = faces.get(record.id)
                if face is None or face.box != record.box:
                    lost.append(f"{record.id}: its picture changed since it was scored")
                else:
                    self.keep(face, record)
        return lost

    def line(self) -> str:
        """What was done, for people."""
        there = f", {self.there} there already" if self.there else ""
        return f"{counted(self.written, 'crop')} written to {self.folder}{there}"


class KeepsCrops:
    """A scorer that also writes the crop of each face, before its record goes anywhere."""

    def __init__(self, scorer: Scores, crops: CropFolder) -> None:
        self.scorer, self.crops = scorer, crops

    def score(
        self, faces: Sequence[FaceCrop | RefusedFace], policies: Sequence[Policy]
    ) -> list[Record]:
        records = self.scorer.score(faces, policies)
        for face, record in zip(faces, records, strict=True):
            if isinstance(face, FaceCrop):
                self.crops.keep(face, record)
        return records


def _is_of(path: Path, face: FaceCrop, record: Record) -> bool:
    """Whether a file holds this crop, scored by the same model on the same scale in the same way."""
    try:
        earlier, pixels = read_crop_record(path), decode(path)
    except (OSError, ImageRefused):
        return False
    if earlier is None or not np.array_equal(pixels, face.crop):
        return False
    return _way(earlier) == _way(record)


def _way(record: Record) -> tuple[object, ...]:
    """How a face was scored. Its raw score may differ in the last digits from engine to engine."""
    quality, ended = record.quality, record.exit
    return (
        quality.algorithm,
        quality.calibration,
        ended.depth,
        ended.fusion,
        record.decision.gate,
    )


def _identity(record: Record) -> tuple[object, ...]:
    return (*_way(record), record.source, record.id, record.box, record.quality.raw)


def _recorded(path: Path) -> tuple[object, ...] | None:
    try:
        earlier = read_crop_record(path)
    except (OSError, ImageRefused):
        return None
    return None if earlier is None else _identity(earlier)


def person_by_folder(inputs: Sequence[str]) -> Callable[[Record], str]:
    """Faces of one folder are one person's. Where a single folder is given, each file directly in it
    is somebody else; several are the persons' own folders."""
    folders = [Path(name) for name in inputs if Path(name).is_dir()]
    flat = set(folders) if len(folders) == 1 else set()

    def person_of(record: Record) -> str:
        path = path_of(record.source)
        return record.source if path.parent in flat else str(path.parent)

    return person_of
