"""Versions of one source of training faces: each a folder of memory maps, as it is or degraded.

What it was made of is in the folder's and the files' names. An interrupted run goes on where it
stopped.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fiqa.csv_text import csv_line, text_of_cell
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.files import locked, write_whole
from edge_fiqa.kept import why_not_kept
from edge_fiqa.training.degradations.table import DEGRADATIONS, random_mixture
from edge_fiqa.training.head_turn import turns_of
from edge_fiqa.training.labels import Bools
from edge_fiqa.training.pictures import Picture, PictureList
from edge_fiqa.training.store import Table, fill
from edge_fiqa.training.teachers import Fed, Teachers
from edge_fiqa.types import IMAGE, Bytes

LOST_SHARE = 0.01  # of a source's faces that may be unreadable
DEGRADED_AT_ONCE, SEEN_AT_ONCE = 50, 32  # faces
TABLE = "causes2"  # of degradations: another name where what it does changes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Versions:
    """Every face as it is, and so many times with up to `mixed` random degradations: one number a
    source."""

    degraded: tuple[int, ...]
    mixed: int = 3
    seed: int = 0


def tables_of_version(
    one: PictureList,
    cache: Path,
    teachers: Teachers,
    names: dict[Fed | Path, str],
    versions: Versions,
    version: int,
) -> Iterator[tuple[tuple[str, str], Table]]:
    """Tables of one version of one source, by kind and teacher."""
    name = f"{TABLE}-mixed{versions.mixed}-seed{versions.seed}-{version}" if version else "clean"
    folder = cache / one.fingerprint
    place, label = folder / name, f"{one.source.parent.name}/{one.source.name} {name}"
    if (reason := why_not_kept(place)) is not None:
        raise ConfigError(f"{place}: {reason}; or name another folder with --cache")
    with _alone(place):
        clean = _clean_images(one, folder, f"{label}: read")
        images, strengths = clean, np.zeros((len(clean), len(DEGRADATIONS)), np.float32)
        if version:
            images, strengths = _degraded(clean, place, versions, version, label)
        yield ("images", ""), images
        if teachers.detector is not None:
            yield ("strengths", ""), strengths
            target = folder / f"clean/{names[teachers.detector]}.npy"
            yield ("turns", ""), _turns(teachers.detector, clean, target, label)
        for stem, (teacher, inner) in {names[fed]: fed for fed in teachers.fed}.items():
            outputs = _outputs(teacher, inner, images, place / stem, label)
            yield ("embedding", stem), outputs[0]
            if inner:
                yield ("map", stem), outputs[1]


def _alone(folder: Path) -> AbstractContextManager[object]:
    """Two runs must not fill one folder. Raises ConfigError if another does."""
    return locked(folder / "lock", f"{folder}: another run is preparing it; wait for that one")


def _clean_images(one: PictureList, folder: Path, label: str) -> Bytes:
    """The faces as they are; one that cannot be read is black, and stands in lost.csv."""
    lost = folder / "lost.csv"

    def read(first: int) -> Iterator[tuple[Bytes]]:
        _check_there(one.pictures[first:], folder)
        known = {row: why for row, why in _lost(lost).items() if row < first}
        for row in range(first, len(one.pictures)):
            image = np.zeros((1, IMAGE, IMAGE, 3), np.uint8)
            try:
                image[0] = one.pictures[row].pixels()
            except ValueError as exc:
                known[row] = str(exc)
                log.warning("%s: %s is left out: %s", one.source, one.pictures[row].name, exc)
                _write_lost(lost, known, one)
            yield (image,)

    return fill([folder / "clean/images.npy"], len(one.pictures), read, label)[0]


def _write_lost(target: Path, lost: dict[int, str], one: PictureList) -> None:
    """Raises ConfigError if it is too many: then the source is at fault, not a picture."""
    if len(lost) > LOST_SHARE * len(one.pictures):
        row, why = next(iter(lost.items()))
        (target.parent / "clean/images.done").unlink(missing_ok=True)  # all are read again
        picture = one.pictures[row]
        raise ConfigError(
            f"{one.source}: {len(lost)} of {counted(len(one.pictures), 'face')} cannot be read, "
            "more than "
            f"{LOST_SHARE:.0%}; the first is {picture.name} ({picture.path}): {why}; mend the source "
            "or take them out of its list"
        )
    cells: list[tuple[object, ...]] = [("row", "name", "reason")]
    cells += [(row, one.pictures[row].name, why) for row, why in lost.items()]
    write_whole(target, "".join(map(csv_line, cells)).encode("utf-8", "backslashreplace"))


def _check_there(pictures: Sequence[Picture], folder: Path) -> None:
    """Raises ConfigError where a tar shard is gone whose faces were not read yet."""
    for shard in dict.fromkeys(picture.path for picture in pictures if picture.size_bytes >= 0):
        if not shard.is_file():
            raise ConfigError(
                f"{shard}: no such file, and {folder} lacks its faces; fetch it again"
            )


def _lost(path: Path) -> dict[int, str]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {int(row["row"]): text_of_cell(row["reason"]) for row in csv.DictReader(file)}


def lost_rows(one: PictureList, folder: Path) -> Bools:
    """(N,) whether a face of the source could not be read."""
    rows = np.zeros(len(one.pictures), bool)
    rows[list(_lost(folder / "lost.csv"))] = True
    return rows


def _degraded(
    clean: Bytes, place: Path, versions: Versions, version: int, label: str
) -> tuple[Table, ...]:
    """Images (N, 112, 112, 3), and how strong every degradation of the table is in them (N, D)."""

    def degrade(first: int) -> Iterator[tuple[Table, ...]]:
        for start in range(first, len(clean), DEGRADED_AT_ONCE):
            rows = range(start, min(start + DEGRADED_AT_ONCE, len(clean)))
            seeds = [np.random.SeedSequence((versions.seed, version, row)) for row in rows]
            mixtures = [
                random_mixture(clean[row], int(seed.generate_state(1)[0]), versions.mixed)
                for row, seed in zip(rows, seeds, strict=True)
            ]
            yield tuple(np.stack(column) for column in zip(*mixtures, strict=True))

    targets = [place / "images.npy", place / "strengths.npy"]
    return fill(targets, len(clean), degrade, f"{label}: degrade")


def _turns(model: Path, clean: Bytes, target: Path, label: str) -> Table:
    """(N, 2) how far each head is turned, see head_turn."""

    def see(first: int) -> Iterator[tuple[Table]]:
        detector = YuNet(model)
        for start in range(first, len(clean), DEGRADED_AT_ONCE):
            yield (turns_of(clean[start : start + DEGRADED_AT_ONCE], detector),)

    return fill([target], len(clean), see, f"{label}: turns of heads")[0]


def _outputs(
    teacher: Recogniser, inner: str | None, images: Bytes, target: Path, label: str
) -> tuple[Table, ...]:
    """Raw outputs of a teacher and, where wanted, an inner map, both float16."""

    def see(first: int) -> Iterator[tuple[Table, ...]]:
        if not teacher.path.is_file():
            raise ConfigError(f"{teacher.path}: no such file, and {target} lacks what it gives")
        for embedding, inside in teacher.run_batches(images[first:], inner, SEEN_AT_ONCE):
            kept = (embedding,) if inside is None else (embedding, inside)
            yield tuple(values.astype(np.float16) for values in kept)

    targets = [target.with_name(f"{target.name}.npy")]
    if inner:
        targets.append(target.with_name(f"{target.name}-map.npy"))
    return fill(targets, len(images), see, f"{label}: {teacher.path.stem}")
