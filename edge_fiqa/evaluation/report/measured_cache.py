"""What was seen is kept: one small file per look and chunk of faces, named after their content.

A chunk's file appears by renaming, whole or not at all, so a run that was stopped goes on where it
was, and changed faces, weights or feeding never meet stale numbers.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_fiqa.errors import ConfigError, ImageRefused
from edge_fiqa.evaluation.datasets.face_files import Faces
from edge_fiqa.evaluation.report.measures import Measure
from edge_fiqa.files import write_whole
from edge_fiqa.types import IMAGE, Array, Bytes

CHUNK = 256  # faces: what an interruption costs at most
READ = "read"  # kept as a look is: 0 for a crop, 1 for a resized one, NaN for an unreadable face


def look_at(
    faces: Faces, looks: Sequence[Measure], folder: Path, name: str
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Measure's name -> (N, F), NaN for faces that cannot be read; and what was unusual, in words.

    Faces are decoded once, whatever the number of looks, and not at all if everything is known.
    Raises ConfigError if no face can be read.
    """
    try:
        places = {look.name: _place(folder, faces, look.key) for look in looks}
        places[READ] = _place(folder, faces, READ)
        parts: dict[str, list[Array]] = {kind: [] for kind in places}
        with tqdm(total=len(faces), desc=name, unit="face", mininterval=0.5) as bar:
            for start in range(0, len(faces), CHUNK):
                rows = range(start, min(start + CHUNK, len(faces)))
                for kind, found in _chunk(faces, rows, looks, places).items():
                    parts[kind].append(found)
                bar.update(len(rows))
    except OSError as exc:
        raise ConfigError(f"{folder}: {exc.strerror or exc}; choose another --cache") from exc
    status = np.concatenate(parts.pop(READ))[:, 0]
    if np.isnan(status).all():
        raise ConfigError(f"{name}: none of its {len(faces)} faces can be read")
    notes = []
    if refused := int(np.isnan(status).sum()):
        notes.append(f"{refused} faces cannot be read; pairs with them are left out")
    if resized := int((status == 1).sum()):
        notes.append(f"{resized} faces were not {IMAGE}x{IMAGE}, taken as aligned and resized")
    return {kind: np.concatenate(chunks) for kind, chunks in parts.items()}, tuple(notes)


def _chunk(
    faces: Faces, rows: range, looks: Sequence[Measure], places: dict[str, Path]
) -> dict[str, Array]:
    """Every look at these rows, from the cache where it is there."""
    found = {kind: _load(place, rows.start) for kind, place in places.items()}
    known = {kind: values for kind, values in found.items() if values is not None}
    if len(known) == len(places):
        return known
    crops, status = _decode(faces, rows)
    readable = np.isfinite(status)
    for look in looks:
        if look.name not in known:
            # An unreadable chunk is seen as black, so that the number of columns is known.
            seen = look.see(crops if len(crops) else np.zeros((1, IMAGE, IMAGE, 3), np.uint8))
            values = np.full((len(rows), seen.shape[1]), np.nan, np.float32)
            values[readable] = seen[: len(crops)]
            known[look.name] = values
            _save(places[look.name], rows.start, values)
    known[READ] = status[:, None]
    _save(places[READ], rows.start, known[READ])
    return known


def _decode(faces: Faces, rows: range) -> tuple[Bytes, Array]:
    crops, status = [], np.zeros(len(rows), np.float32)
    for place, row in enumerate(rows):
        try:
            crop, warnings = faces.crop(row)
            crops.append(crop)
            status[place] = bool(warnings)
        except ImageRefused:
            status[place] = np.nan
    return np.array(crops, np.uint8).reshape(-1, IMAGE, IMAGE, 3), status


def _place(folder: Path, faces: Faces, key: str) -> Path:
    place = folder / hashlib.sha256(f"{faces.digest} {key} {CHUNK}".encode()).hexdigest()[:24]
    place.mkdir(parents=True, exist_ok=True)
    return place


def _load(place: Path, start: int) -> Array | None:
    try:
        return np.asarray(np.load(place / f"{start:08d}.npy", allow_pickle=False), np.float32)
    except (FileNotFoundError, ValueError, EOFError):
        return None


def _save(place: Path, start: int, values: Array) -> None:
    data = io.BytesIO()
    np.save(data, values)
    write_whole(place / f"{start:08d}.npy", data.getvalue())
