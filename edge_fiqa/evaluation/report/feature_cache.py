"""Extracted features are kept: one small file per extractor and chunk of faces.

A folder is named after a digest of faces, weights and feeding. So changed inputs never meet old
numbers. A chunk's file appears by renaming: it is whole, or not there. So a run that was stopped goes
on with the first missing chunk. A chunk that was changed is extracted again (see kept).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_fiqa.errors import ConfigError, ImageRefused, counted
from edge_fiqa.evaluation.datasets.face_files import Faces
from edge_fiqa.evaluation.report.extractors import FeatureExtractor
from edge_fiqa.faces.crop_check import misaligned_by, unaligned_note
from edge_fiqa.kept import kept_or_none, why_not_kept, write_kept
from edge_fiqa.types import IMAGE, Array, Bytes

CHUNK = 256  # faces: what an interruption costs at most
FORM = "npy with digest"
STATUS = "read and checked"
"""Kept like features: RESIZED and UNALIGNED added up, NaN for an unreadable face."""
RESIZED, UNALIGNED = 1, 2


def extract_features(
    faces: Faces, extractors: Sequence[FeatureExtractor], folder: Path, name: str
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Extractor's name -> (N, F), NaN for faces that cannot be read; and notes on unusual faces.

    Every face is decoded once for all extractors, and not at all if all its features are kept.
    Raises ConfigError if no face can be read, or if `folder` cannot be written or others can.
    """
    if (reason := why_not_kept(folder)) is not None:
        raise ConfigError(f"{folder}: {reason}; or choose another --cache")
    try:
        features = _all_chunks(faces, extractors, folder, name)
    except OSError as exc:
        raise ConfigError(f"{folder}: {exc.strerror or exc}; choose another --cache") from exc
    return features, _notes(features.pop(STATUS)[:, 0], name)


def _all_chunks(
    faces: Faces, extractors: Sequence[FeatureExtractor], folder: Path, name: str
) -> dict[str, Array]:
    """Extractor's name or STATUS -> (N, F)."""
    keys = {extractor.name: extractor.key for extractor in extractors} | {STATUS: STATUS}
    folders = {kind: _chunk_folder(folder, faces, key) for kind, key in keys.items()}
    chunks = []
    with tqdm(total=len(faces), desc=name, unit="face", mininterval=0.5) as bar:
        for start in range(0, len(faces), CHUNK):
            rows = range(start, min(start + CHUNK, len(faces)))
            chunks.append(_chunk(faces, rows, extractors, folders))
            bar.update(len(rows))
    return {kind: np.concatenate([chunk[kind] for chunk in chunks]) for kind in folders}


def _notes(status: Array, name: str) -> tuple[str, ...]:
    if np.isnan(status).all():
        raise ConfigError(f"{name}: none of its {len(status)} faces can be read")
    notes = []
    if refused := int(np.isnan(status).sum()):
        notes.append(f"{counted(refused, 'face')} cannot be read; pairs with them are left out")
    marks = np.nan_to_num(status).astype(int)
    if resized := int((marks & RESIZED > 0).sum()):
        notes.append(
            f"{counted(resized, 'face was', 'faces were')} not {IMAGE}x{IMAGE}, taken as aligned "
            "and resized"
        )
    if note := unaligned_note(int((marks & UNALIGNED > 0).sum()), len(status)):
        notes.append(note)
    return tuple(notes)


def _chunk(
    faces: Faces, rows: range, extractors: Sequence[FeatureExtractor], folders: dict[str, Path]
) -> dict[str, Array]:
    """Features of these rows by every extractor, from the cache where they are kept."""
    kept = {kind: _load(folder, rows.start) for kind, folder in folders.items()}
    features = {kind: values for kind, values in kept.items() if values is not None}
    if len(features) == len(folders):
        return features
    crops, status = _decode(faces, rows)
    for extractor in extractors:
        if extractor.name not in features:
            values = _extract(extractor, crops, status)
            features[extractor.name] = values
            _save(folders[extractor.name], rows.start, values)
    features[STATUS] = status[:, None]
    _save(folders[STATUS], rows.start, features[STATUS])
    return features


def _extract(extractor: FeatureExtractor, crops: Bytes, status: Array) -> Array:
    """(n, F) of the n faces of `status`; NaN where a face could not be read."""
    # Without any readable face a black one is fed, so that F is known.
    fed = crops if len(crops) else np.zeros((1, IMAGE, IMAGE, 3), np.uint8)
    extracted = extractor.extract(fed)
    values = np.full((len(status), extracted.shape[1]), np.nan, np.float32)
    values[np.isfinite(status)] = extracted[: len(crops)]
    return values


def _decode(faces: Faces, rows: range) -> tuple[Bytes, Array]:
    """Readable crops (m, 112, 112, 3), and the status (n,) of all rows."""
    crops, status = [], np.zeros(len(rows), np.float32)
    for position, row in enumerate(rows):
        try:
            crop, warnings = faces.crop(row)
            crops.append(crop)
            status[position] = RESIZED * bool(warnings) + UNALIGNED * (misaligned_by(crop) > 0)
        except ImageRefused:
            status[position] = np.nan
    return np.array(crops, np.uint8).reshape(-1, IMAGE, IMAGE, 3), status


def _chunk_folder(cache: Path, faces: Faces, key: str) -> Path:
    folder = (
        cache / hashlib.sha256(f"{faces.digest} {key} {CHUNK} {FORM}".encode()).hexdigest()[:24]
    )
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


def _load(folder: Path, start: int) -> Array | None:
    path = _file(folder, start)
    data = kept_or_none(path, _label(path))
    return None if data is None else np.asarray(np.load(io.BytesIO(data)), np.float32)


def _save(folder: Path, start: int, values: Array) -> None:
    data, path = io.BytesIO(), _file(folder, start)
    np.save(data, values)
    write_kept(path, data.getvalue(), _label(path))


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:08d}.npy"


def _label(path: Path) -> str:
    """Of the folder too: a chunk of another extractor is whole, but not this one."""
    return f"{path.parent.name}/{path.name}"
