"""A verification data set: faces or templates of them, and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.evaluation.datasets.face_files import Faces
from edge_fiqa.evaluation.recognition import unit
from edge_fiqa.types import Array, Floats, Mask, Rows


@dataclass(frozen=True)
class Templates:
    """Several faces that stand for one person. template, media: (N,) numbers of each face."""

    template: Rows
    media: Rows

    def pool_quality(self, quality: Floats) -> Floats:
        """(N,) -> (T,) mean of a template's faces; those without one (NaN) do not count."""
        has = np.isfinite(quality)
        count = np.bincount(self.template, has, minlength=self.template.max() + 1)
        total = np.bincount(self.template, np.where(has, quality, 0), minlength=count.size)
        return np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0)

    def pool_embeddings(self, embeddings: Array) -> Array:
        """(N, F) of unit length -> (T, F): mean of each medium, then of its template's media.

        The usual way for IJB-C: a film of many frames counts as much as one picture.
        """
        has = np.isfinite(embeddings).all(axis=1)
        key = self.template[has] * (self.media.max() + 1) + self.media[has]
        media, number = np.unique(key, return_inverse=True)
        mean = _group_mean(embeddings[has], number, media.size)
        pooled = np.full((self.template.max() + 1, embeddings.shape[1]), np.nan, np.float32)
        owner, number = np.unique(media // (self.media.max() + 1), return_inverse=True)
        pooled[owner] = _group_mean(mean, number, owner.size)
        return pooled


@dataclass(frozen=True)
class FacePairs:
    """P pairs of faces, or of templates where there are some.

    a, b: (P,) rows of both sides; same: (P,); identity: (P,) the person whose pair it is, or None.
    notes: what was unusual, in words.
    """

    name: str
    faces: Faces
    a: Rows
    b: Rows
    same: Mask
    identity: npt.NDArray[np.str_] | None = None
    templates: Templates | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.a.size:
            raise ConfigError(f"{self.name}: no pairs")
        for count, kind in ((self.same.sum(), "mated"), ((~self.same).sum(), "non-mated")):
            if not count:
                raise ConfigError(
                    f"{self.name}: {counted(self.same.size, 'pair')} and none is {kind}"
                )

    def pair_quality(self, quality: Floats) -> Floats:
        """(N,) of faces -> (P,) the lower of both sides; NaN if one side has none."""
        pooled = self.templates.pool_quality(quality) if self.templates else quality
        return np.minimum(pooled[self.a], pooled[self.b])

    def similarity(self, embeddings: Array, chunk: int = 1 << 18) -> Floats:
        """(N, F) of faces, of any length -> (P,) cosines; NaN where a side has no embedding."""
        unit_length = unit(embeddings)
        if self.templates is not None:
            unit_length = unit(self.templates.pool_embeddings(unit_length))
        out = np.empty(self.a.size)
        for start in range(0, self.a.size, chunk):
            rows = slice(start, start + chunk)
            out[rows] = np.einsum("pf,pf->p", unit_length[self.a[rows]], unit_length[self.b[rows]])
        return out


def pairs_of_names(
    rows: Sequence[tuple[str, str, bool]], where: str
) -> tuple[list[str], Rows, Rows, Mask]:
    """Pairs of file names -> the distinct names, sorted, and the pairs as rows of them."""
    names = sorted({name for a, b, _ in rows for name in (a, b)})
    row_of = {name: row for row, name in enumerate(names)}
    if not rows:
        raise ConfigError(f"{where}: no pairs in it")
    a, b = (np.array([row_of[str(pair[side])] for pair in rows]) for side in (0, 1))
    return names, a, b, np.array([pair[2] for pair in rows], bool)


def _group_mean(values: Array, number: Rows, groups: int) -> Array:
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, number, values)
    return np.asarray(total / np.bincount(number, minlength=groups)[:, None], np.float32)
