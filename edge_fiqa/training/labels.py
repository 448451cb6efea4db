"""Formulas of quality labels: how safely a frozen recogniser takes a face for its own person.

They need embeddings only. face_labels.py applies them to the faces of a list.

The certainty ratio of CR-FIQA (arXiv:2112.06592) is CCS / (NNCCS + 1): the cosine to the centre of
the face's own class over the cosine to the nearest other class centre. There the centres are
weights of a recogniser in training; here they are means of clean faces, and a face's own centre is
the mean of the person's *other* clean faces, so that no face is compared with itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_fiqa.types import Array

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Label = Callable[[Array, Array, Ints], Array]
EPSILON = 1e-9  # as in the paper: keeps the ratio finite


def centre_cosine(clean: Array, variants: Array, identity: Ints) -> Array:
    """Cosine of every variant to the centre of its identity's *other* clean faces.

    clean: (N, F) unit embeddings; variants: (N, V, F); identity: (N,). Returns (N, V).
    A face that is alone in its identity has no other face. It is compared with its own clean
    version, and that too-kind cosine is mapped to the honest scale by a straight line fitted on the
    faces for which both are known; its clean variant, where cosine 1 says nothing, becomes NaN.
    """
    sums = _sums(clean, identity)
    alone = np.bincount(identity)[identity] == 1
    centre = sums[identity] - clean
    centre[alone] = clean[alone]
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    cosine = np.einsum("nvf,nf->nv", variants, centre)
    if alone.any() and not alone.all():
        kind = np.einsum("nvf,nf->nv", variants, clean)
        known = (kind < 0.999) & ~alone[:, None]
        if known.any():  # no degraded variant, no line
            slope, offset = np.polyfit(kind[known], cosine[known], 1)
            cosine[alone] = slope * kind[alone] + offset
        cosine[alone[:, None] & (kind > 0.999)] = np.nan
    return cosine.astype(np.float32)


def nearest_other_cosine(clean: Array, variants: Array, identity: Ints) -> Array:
    """NNCCS: cosine of every variant to the nearest centre of *another* identity. (N, V)."""
    centres = _sums(clean, identity)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    nearest = np.empty(variants.shape[:2], np.float32)
    for start in range(0, len(variants), 256):
        rows = slice(start, start + 256)
        cosine = variants[rows] @ centres.T
        own = identity[rows]
        cosine[np.arange(len(own)), :, own] = -1
        nearest[rows] = cosine.max(2)
    return nearest


def certainty_ratio(clean: Array, variants: Array, identity: Ints) -> Array:
    """CCS / (NNCCS + 1 + epsilon), arXiv:2112.06592 section 3.1. Shapes as in `centre_cosine`."""
    own = centre_cosine(clean, variants, identity)
    return own / (nearest_other_cosine(clean, variants, identity) + 1 + EPSILON)


LABELS: dict[str, Label] = {"certainty_ratio": certainty_ratio, "centre_cosine": centre_cosine}


def standardise(labels: Array) -> Array:
    """Zero mean, unit deviation over the defined labels: exits then share one stable loss scale."""
    return (labels - np.nanmean(labels)) / np.nanstd(labels)


def _sums(clean: Array, identity: Ints) -> Array:
    sums = np.zeros((identity.max() + 1, clean.shape[1]), np.float32)
    np.add.at(sums, identity, clean)
    return sums
