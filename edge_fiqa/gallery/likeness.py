"""How much two aligned faces are the same picture, and whose face one is.

Near duplicates are frames of one moment, or copies of one file. Of two aligned crops, the faces are
reduced to 17x21 grey values, and their correlation is taken (zero-mean, normalised). Measured: other
pictures of the same person lie below 0.92 (99.9 % of 800 pairs of LFW), copies at JPEG quality 30 or
half the size above 0.99, frames of a video a sixth of a second apart at 0.97 and 0.99 in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from edge_fiqa.faces.border import FACE_WINDOW
from edge_fiqa.types import Array, Bytes, Rows

NEAR_DUPLICATE: Final = 0.95
SMALL: Final = (17, 21)
"""Columns and rows: a quarter of the face's window of 68x84."""
SAME_PERSON: Final = 0.3
"""Cosine from which a recogniser is taken to say: the same person, where nothing better is known."""
FMR: Final = 1e-3
LEAST_PAIRS: Final = 2000
"""Pairs of different persons that a threshold of the gallery's own takes: two above it at FMR."""
HIGHEST: Final = 0.6
"""A threshold of the gallery's own above this means that persons are mixed up in it."""


def look_of(crop: Bytes) -> Array:
    """(112, 112, 3) uint8 RGB -> (357,) float32; the product of two is their correlation."""
    face = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[FACE_WINDOW]
    grey = cv2.resize(face, SMALL, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    grey -= grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length > 0 else grey


@dataclass(frozen=True)
class Threshold:
    """Cosine of two faces of one person. source: where it comes from, in words."""

    value: float
    source: str


def same_person_threshold(embeddings: Sequence[Array]) -> Threshold:
    """The cosine above which one of a thousand pairs of different persons lies, in this gallery.

    embeddings: (N, F) of unit length, one array for each person. SAME_PERSON where pairs are few, or
    persons so mixed up that the value says nothing.
    """
    pairs = [
        _of_two_persons(embeddings[i] @ embeddings[j].T)
        for i in range(len(embeddings))
        for j in range(i)
        if len(embeddings[i]) and len(embeddings[j])
    ]
    similarity = np.concatenate(pairs) if pairs else np.empty(0, np.float32)
    if len(similarity) < LEAST_PAIRS:
        return Threshold(
            SAME_PERSON,
            f"a usual value, since there are too few pairs of persons ({len(similarity)})",
        )
    value = float(np.quantile(similarity, 1 - FMR))
    if value > HIGHEST:
        return Threshold(SAME_PERSON, "a usual value, since persons of this gallery are mixed up")
    return Threshold(value, f"FMR {FMR:g} over {len(similarity)} pairs of this gallery")


def _of_two_persons(similarity: Array) -> Array:
    """(N, M) cosines of two folders -> those of pictures that do not look like most of the other one:
    a misfiled picture, or a person in two folders, would raise the threshold for everybody."""
    rows = np.median(similarity, axis=1) < SAME_PERSON
    columns = np.median(similarity, axis=0) < SAME_PERSON
    return similarity[rows][:, columns].ravel()


def main_person(embeddings: Array, quality: Sequence[float], threshold: float) -> Rows:
    """Rows of the faces that are one person, the one with most faces; none if no two are alike.

    embeddings: (N, F) of unit length. Of equally many, the group around the face of best quality.
    """
    if len(embeddings) < 2:
        return np.arange(len(embeddings))
    alike = embeddings @ embeddings.T >= threshold
    middle = max(range(len(embeddings)), key=lambda row: (alike[row].sum(), quality[row]))
    rows = np.flatnonzero(alike[middle])
    return rows if len(rows) > 1 else np.empty(0, np.intp)


def mean_face(embeddings: Array) -> Array:
    """(N, F) -> (F,) of unit length."""
    mean = embeddings.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
