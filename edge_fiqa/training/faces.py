"""The training set on disk: degraded variants, labels and teacher embeddings as memory maps.

Everything is computed once. The cache folder is named after what went into it, so a changed list,
seed or number of variants never meets stale files, and an interrupted preparation goes on where it
stopped.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.recognition import Recogniser, unit
from edge_fiqa.training.critic import critic, features_of
from edge_fiqa.training.degradations import random_mixture
from edge_fiqa.training.labels import LABELS, Ints, standardise
from edge_fiqa.types import IMAGE, Array, Bytes

FLUSH_EVERY = 500  # faces: what a kill costs at most
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class FaceList:
    """paths: N files; identity: (N,) integers, equal for equal persons."""

    paths: tuple[Path, ...]
    identity: Ints


@dataclass(frozen=True)
class TrainingFaces:
    """images: (M, 112, 112, 3) uint8 RGB, each face's clean version first and `versions` in all;
    quality: (M,) standardised, NaN where undefined; identity: (M,); embeddings: one (M, F) per
    teacher; maps: one (M, C, h, w) per teacher that has one. The last two are float16."""

    images: Bytes
    quality: Array
    identity: Ints
    embeddings: tuple[Array, ...]
    maps: tuple[Array, ...] = ()
    versions: int = 1


def list_faces(source: Path, root: Path) -> FaceList:
    """`source`: a CSV with columns path, dataset, identity, or a folder with one folder a person.

    Paths in a CSV are relative to `root`. Raises ConfigError if nothing is found, or if no person
    has two faces, since then no label can be computed.
    """
    if source.suffix == ".csv":
        names, paths = _from_csv(source, root)
    else:
        found = [path for path in sorted(source.glob("*/*")) if path.suffix.lower() in SUFFIXES]
        names, paths = [path.parent.name for path in found], found
    if not paths:
        raise ConfigError(
            f"{source}: no faces; expected a CSV with columns path,dataset,identity or a folder "
            "with one folder of images a person"
        )
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    identity = np.array([numbers[name] for name in names])
    if np.bincount(identity).max() < 2:
        raise ConfigError(f"{source}: no person has two faces; labels compare faces of one person")
    return FaceList(tuple(paths), identity)


def _from_csv(source: Path, root: Path) -> tuple[list[str], list[Path]]:
    try:
        with source.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as exc:
        raise ConfigError(f"{source}: {exc.strerror}") from exc
    if rows and not {"path", "identity"} <= rows[0].keys():
        raise ConfigError(f"{source}: expected columns path,dataset,identity, got {list(rows[0])}")
    names = [f"{row.get('dataset')}/{row['identity']}" for row in rows]
    return names, [root / row["path"] for row in rows]


def prepare(
    faces: FaceList,
    cache: Path,
    teachers: Sequence[tuple[Recogniser, str | None]],
    variants: int,
    seed: int,
    label: str = "certainty_ratio",
    smoothing: float = 0.0,
) -> TrainingFaces:
    """Each clean face and `variants` degraded ones, labelled by the mean of the teachers' labels.

    teachers: a recogniser, and the name of the inner tensor to keep, if any. smoothing: the critic's
    share of the label; where a face has no label, the critic's word is all of it.
    """
    told = f"{variants} {seed} {[str(path) for path in faces.paths]} {faces.identity.tolist()}"
    folder = cache / hashlib.sha256(told.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    images = _images(faces.paths, folder / "images.npy", variants, seed)
    flat = images.reshape(-1, IMAGE, IMAGE, 3)
    seen = [_views(teacher, inner, flat, folder) for teacher, inner in teachers]
    identity = faces.identity.repeat(variants + 1)
    told = (
        f"{label} {smoothing} {seed} {[(t.path.name, t.feeding, inner) for t, inner in teachers]}"
    )
    target = folder / f"labels-{hashlib.sha256(told.encode()).hexdigest()[:8]}.npy"
    if not target.exists():
        quality = _labels([embedding for embedding, _ in seen], faces.identity, label)
        if smoothing:
            features = np.concatenate([features_of(*views) for views in seen], axis=1)
            clean = np.arange(0, len(flat), variants + 1)
            smooth = critic(features, quality, identity, clean, seed)
            mixed = (1 - smoothing) * quality + smoothing * smooth
            quality = standardise(np.where(np.isnan(quality), smooth, mixed))
        partial = target.with_suffix(".partial.npy")
        np.save(partial, quality)
        partial.rename(target)
    quality = np.load(target)
    return TrainingFaces(
        flat,
        quality,
        identity,
        tuple(embedding for embedding, _ in seen),
        tuple(inner for _, inner in seen if inner is not None),
        variants + 1,
    )


def _labels(embeddings: Sequence[Array], identity: Ints, label: str) -> Array:
    """(M,) mean of the teachers' labels, each standardised; NaN where undefined."""
    found = []
    for embedding in embeddings:
        table = unit(embedding.astype(np.float32)).reshape(len(identity), -1, embedding.shape[1])
        found.append(standardise(LABELS[label](table[:, 0], table, identity)))
    return standardise(np.mean(found, axis=0)).ravel()


def _images(paths: Sequence[Path], target: Path, variants: int, seed: int) -> Bytes:
    if not target.exists():
        partial, done = target.with_suffix(".partial.npy"), target.with_suffix(".done")
        shape = (len(paths), variants + 1, IMAGE, IMAGE, 3)
        first = int(done.read_text(encoding="utf-8")) if done.exists() and partial.exists() else 0
        out = (
            np.load(partial, mmap_mode="r+")
            if first
            else np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        )
        bar = tqdm(range(first, len(paths)), desc="degrading", unit="face", mininterval=2)
        for index in bar:
            out[index, 0] = face = _read(paths[index])
            for variant in range(variants):
                mixed = random_mixture(face, int(_seeds(seed, index, variants)[variant]))
                out[index, variant + 1] = mixed
            if (index + 1) % FLUSH_EVERY == 0:
                out.flush()
                done.write_text(str(index + 1), encoding="utf-8")
        out.flush()
        partial.rename(target)
        done.unlink(missing_ok=True)
    return np.load(target, mmap_mode="r")


def _seeds(seed: int, index: int, variants: int) -> Ints:
    return np.random.default_rng((seed, index)).integers(0, 2**31, variants)


def _read(path: Path) -> Bytes:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None or image.shape != (IMAGE, IMAGE, 3):
        raise ConfigError(f"{path}: not a readable {IMAGE}x{IMAGE} image; remove it from the list")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _views(
    teacher: Recogniser, inner: str | None, faces: Bytes, folder: Path
) -> tuple[Array, Array | None]:
    """What a teacher makes of every face: raw embeddings and, where wanted, an inner map."""
    told = teacher.path.read_bytes() + repr((teacher.feeding, inner)).encode()
    stem = f"{teacher.path.stem}-{hashlib.sha256(told).hexdigest()[:8]}"
    target, target_map = folder / f"{stem}.npy", folder / f"{stem}-map.npy"
    if not target.exists():
        parts, maps = [], None
        bar = tqdm(total=len(faces), desc=teacher.path.stem, unit="face", mininterval=2)
        partial_map = target_map.with_suffix(".partial.npy")
        for embedding, found in teacher.run_batches(faces, inner):
            if found is not None:
                if maps is None:
                    shape = (len(faces), *found.shape[1:])
                    maps = np.lib.format.open_memmap(
                        partial_map, mode="w+", dtype=np.float16, shape=shape
                    )
                maps[bar.n : bar.n + len(found)] = found
            parts.append(embedding.astype(np.float16))
            bar.update(len(embedding))
        bar.close()
        if maps is not None:
            maps.flush()
            partial_map.rename(target_map)
        partial = target.with_suffix(".partial.npy")
        np.save(partial, np.concatenate(parts))
        partial.rename(target)
    found_map = np.load(target_map, mmap_mode="r") if inner else None
    return np.load(target, mmap_mode="r"), found_map
