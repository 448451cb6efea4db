"""The training set on disk: clean and degraded faces, labels and teachers' outputs as memory maps.

Everything is computed once, one version of one source after the other: the clean faces of every
source, then their first degraded variant, and so on. A later run with more sources, variants or
teachers takes up what is there. Folders and files are named after what went into them, so a changed
list, seed or teacher never meets stale files.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fiqa.kept import kept_or_none, write_kept
from edge_fiqa.training.cause_targets import cause_targets
from edge_fiqa.training.degradations.table import DEGRADATIONS
from edge_fiqa.training.face_labels import Labelling, label_faces
from edge_fiqa.training.labels import Bools, Ints
from edge_fiqa.training.pictures import FaceList, list_faces
from edge_fiqa.training.recipe import TrainConfig
from edge_fiqa.training.store import Stack, Table
from edge_fiqa.training.teachers import Fed, Teachers, table_names, teachers_of
from edge_fiqa.training.versions import Versions, lost_rows, tables_of_version
from edge_fiqa.types import Array, Bytes


@dataclass(frozen=True)
class TrainingFaces:
    """images: (M, 112, 112, 3) uint8 RGB; quality: (M,) standardised, NaN where undefined;
    identity: (M,); clean: (M,) not degraded; usable: (M,) readable; embeddings: (M, F) per teacher;
    maps: (M, C, h, w) per teacher that has one. The last two are float16.
    causes: (M, D) strength of every degradation of the table, NaN where unknown; None without a
    detector, which alone sees how far a head is turned. cause_names: of the D degradations."""

    images: Bytes | Stack
    quality: Array
    identity: Ints
    clean: Bools
    usable: Bools
    embeddings: tuple[Array | Stack, ...]
    maps: tuple[Array | Stack, ...] = ()
    causes: Array | None = None
    cause_names: tuple[str, ...] = tuple(DEGRADATIONS)


def prepare_run(
    config: TrainConfig, root: Path, cache: Path, threads: int | None = None
) -> TrainingFaces:
    """What a recipe needs; its paths are relative to `root`."""
    seed = config.schedule.seed
    shares = tuple(teacher.share for teacher in config.quality_teachers)
    variants = tuple(
        config.variants if source.variants is None else source.variants for source in config.sources
    )
    return prepare(
        list_faces(config.sources, root, config.exclude, cache=cache),
        cache,
        teachers_of(config, root, threads),
        Versions(variants, config.mixed, seed),
        Labelling(config.label, config.smoothing, shares, seed),
    )


def prepare(
    faces: FaceList, cache: Path, teachers: Teachers, versions: Versions, labelling: Labelling
) -> TrainingFaces:
    """Images of every version, labels, and what the teachers make of them.

    The first N rows are the clean faces, then come the first degraded versions, and so on. Raises
    ConfigError if more than 1 % of a source's faces cannot be read, or if another run prepares the
    same source.
    """
    names = table_names(teachers, cache)
    tables: dict[tuple[str, str], list[Table]] = {}
    face, ends = [], np.cumsum([len(one.pictures) for one in faces.lists])
    for version in range(max(versions.degraded) + 1):
        for one, degraded, end in zip(faces.lists, versions.degraded, ends, strict=True):
            if version > degraded:
                continue
            face.append(np.arange(end - len(one.pictures), end))
            for key, table in tables_of_version(one, cache, teachers, names, versions, version):
                tables.setdefault(key, []).append(table)
    rows = np.concatenate(face)
    seen = {key: Stack(parts) for key, parts in tables.items()}
    lost = np.concatenate([lost_rows(one, cache / one.fingerprint) for one in faces.lists])
    embeddings = [seen["embedding", names[fed]] for fed in teachers.recognisers]
    maps = [seen.get(("map", names[fed])) for fed in teachers.recognisers]
    scores = [seen["embedding", names[teacher, None]] for teacher in teachers.scores]
    target = cache / f"labels-{_label_name(faces, teachers, names, versions, labelling, lost)}.npy"
    data = kept_or_none(target, target.name)
    if data is None:
        quality = label_faces(faces, rows, ~lost[rows], embeddings, maps, scores, labelling)
        data = _npy(quality)
        write_kept(target, data, target.name)
    return TrainingFaces(
        seen["images", ""],
        np.load(io.BytesIO(data)),
        faces.identity[rows],
        np.arange(len(rows)) < len(faces),
        ~lost[rows],
        tuple(e for n, e in enumerate(embeddings) if n not in teachers.labels_only),
        tuple(m for n, m in enumerate(maps) if m is not None and n not in teachers.labels_only),
        cause_targets(seen["strengths", ""][:], seen["turns", ""][:], faces.own_defects[rows])
        if teachers.detector
        else None,
    )


def _npy(values: Array) -> bytes:
    data = io.BytesIO()
    np.save(data, values)
    return data.getvalue()


def _label_name(
    faces: FaceList,
    teachers: Teachers,
    names: dict[Fed | Path, str],
    versions: Versions,
    labelling: Labelling,
    lost: Bools,
) -> str:
    told = (
        [one.fingerprint for one in faces.lists],
        [names[fed] for fed in teachers.recognisers],
        [names[teacher, None] for teacher in teachers.scores],
        versions,
        labelling,
    )
    parts = (repr(told).encode(), *(a.tobytes() for a in (faces.identity, faces.labelled, lost)))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]
