"""The training set on disk: degraded variants, labels and teacher embeddings as memory maps."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from edge_fiqa.degrade import random_mixture
from edge_fiqa.errors import ConfigError
from edge_fiqa.recognition import Recogniser
from edge_fiqa.training.labels import centre_cosine, standardise
from edge_fiqa.types import IMAGE, Array, Bytes


@dataclass(frozen=True)
class TrainingFaces:
    """images: (M, 112, 112, 3) uint8 RGB; quality: (M,) standardised, NaN where undefined;
    embeddings: one (M, F) float16 per teacher."""

    images: Bytes
    quality: Array
    embeddings: tuple[Array, ...]


def prepare(
    split: Path, root: Path, cache: Path, teachers: Sequence[Recogniser], variants: int, seed: int
) -> TrainingFaces:
    """Clean faces of `split` (columns path, dataset, identity) and `variants` degraded ones each.

    Everything is computed once and kept in `cache`; a second call only opens the files.
    """
    with split.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ConfigError(f"{split}: no faces listed; expected columns path,dataset,identity")
    names = sorted({(row["dataset"], row["identity"]) for row in rows})
    numbers = {name: number for number, name in enumerate(names)}
    identity = np.array([numbers[row["dataset"], row["identity"]] for row in rows])
    cache.mkdir(parents=True, exist_ok=True)
    images = _images([root / row["path"] for row in rows], cache / "images.npy", variants, seed)
    flat = images.reshape(-1, IMAGE, IMAGE, 3)
    embeddings = tuple(_embeddings(teacher, flat, cache) for teacher in teachers)
    labels = []
    for embedding in embeddings:
        table = embedding.astype(np.float32).reshape(len(rows), variants + 1, -1)
        labels.append(standardise(centre_cosine(table[:, 0], table, identity)))
    quality = standardise(np.mean(labels, axis=0))
    return TrainingFaces(flat, quality.ravel(), embeddings)


def _images(paths: list[Path], target: Path, variants: int, seed: int) -> Bytes:
    shape = (len(paths), variants + 1, IMAGE, IMAGE, 3)
    if target.exists():
        found = np.load(target, mmap_mode="r")
        if found.shape != shape:
            raise ConfigError(f"{target} holds {found.shape}, expected {shape}; delete the cache")
        return found
    partial = target.with_suffix(".partial.npy")
    out = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    for index, path in enumerate(tqdm(paths, desc="degrading", unit="face")):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None or image.shape != (IMAGE, IMAGE, 3):
            raise ConfigError(f"{path}: not a readable {IMAGE}x{IMAGE} image")
        face = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        rng = np.random.default_rng((seed, index))
        out[index, 0] = face
        for variant in range(variants):
            out[index, variant + 1] = random_mixture(face, rng)
    out.flush()
    partial.rename(target)
    return np.load(target, mmap_mode="r")


def _embeddings(teacher: Recogniser, faces: Bytes, cache: Path) -> Array:
    target = cache / f"{teacher.path.stem}.npy"
    if not target.exists():
        chunks = range(0, len(faces), 2048)
        parts = [teacher.embed(faces[i : i + 2048]) for i in tqdm(chunks, desc=target.stem)]
        partial = target.with_suffix(".partial.npy")
        np.save(partial, np.concatenate(parts).astype(np.float16))
        partial.rename(target)
    return np.load(target, mmap_mode="r")
