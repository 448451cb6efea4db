"""How good a run is so far: what its averaged weights say of persons that it never learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr

from edge_fiqa.exits.fusion import fuse
from edge_fiqa.reasons.limits import CauseLimits, fit_limits
from edge_fiqa.training.batches import Batches
from edge_fiqa.training.labels import Ints
from edge_fiqa.training.number_type import mixed_precision
from edge_fiqa.training.student import StateDict, Student
from edge_fiqa.types import Array, Bytes

MOST_FACES, AT_ONCE = 1024, 128
LEAST_FACES = 3  # held out, to say anything
LEAST_REPORTS = 30  # of an exit, to say how often they are right
STRONG, THERE = 0.5, 0.25  # strength of a degraded face's worst cause; of one that is there
NO_HEADS = "0" * 64  # limits that nobody keeps are of no heads

Shares = tuple[float | None, ...]


def validate(student: Student, average: StateDict, batches: Batches) -> dict[str, float]:
    """Rank correlation with the label on held-out identities: first, middle, last exit, FW; and of
    the causes with their strengths in degraded faces, the mean over causes. Empty if fewer than
    three faces are held out."""
    rows, faces = batches.held_out, batches.faces
    if len(rows) < LEAST_FACES:
        return {}
    rows = _even_sample(rows)
    trail, causes = judge(student, average, batches, faces.images[rows])
    quality, clean, depth = faces.quality[rows], faces.clean[rows], trail.shape[1]
    exits = sorted({1, max(1, depth // 3), max(1, depth // 2), depth})
    agreement = {f"exit {k}": _agree(trail[:, k - 1], quality) for k in exits}
    agreement["FW"] = _agree(fuse(trail, depth), quality)
    if clean.sum() > 2:
        agreement["FW clean"] = _agree(fuse(trail[clean], depth), quality[clean])
    if faces.causes is not None and causes.shape[2]:
        strengths = faces.causes[rows]
        agreement |= {f"causes {k}": _causes_agree(causes[:, k - 1], strengths) for k in exits}
    return agreement


def causes_right(
    student: Student, average: StateDict, batches: Batches, names: Sequence[str]
) -> Shares:
    """For each exit: of the clearly degraded held-out faces for which a cause is reported, the share
    whose first cause is there. Empty if nothing is known of any exit.

    names: D causes. Reported and put in order as records do it, with limits from the clean held-out
    faces: first at all exits, then at those that were right often enough.
    """
    faces, rows = batches.faces, batches.held_out
    if len(rows) < LEAST_FACES or faces.causes is None:
        return ()
    rows = _even_sample(rows)
    _, logits = judge(student, average, batches, faces.images[rows])
    clean, strengths = faces.clean[rows], faces.causes[rows]
    bad = ~clean & (np.nan_to_num(strengths).max(1) >= STRONG)
    right: Shares = ()
    for _ in range(2):
        limits = fit_limits(
            logits[clean],
            faces.quality[rows][clean],
            [str(person) for person in faces.identity[rows][clean]],
            names=names,
            exits=range(1, logits.shape[1] + 1),
            heads=NO_HEADS,
            right=right,
        )
        found = shares_right(logits[bad], strengths[bad], limits)
        right = tuple(
            new if exit in limits.reporting else old
            for exit, new, old in zip(limits.exits, found, right or found, strict=True)
        )
    return right if any(share is not None for share in right) else ()


def shares_right(logits: Array, strengths: Array, limits: CauseLimits) -> Shares:
    """Of the faces for which an exit reports a cause, the share whose first one is there.

    logits: (N, E, D); strengths: (N, D). A first cause whose strength is unknown (NaN) does not count.
    None where fewer than LEAST_REPORTS count.
    """
    shares: list[float | None] = []
    for exit in limits.exits:
        certain = limits.certain(logits[:, exit - 1], exit)
        of_first = strengths[np.arange(len(certain)), certain.argmax(1)]
        known = np.isfinite(certain).any(1) & ~np.isnan(of_first)
        right = (of_first[known] >= THERE).mean() if known.sum() >= LEAST_REPORTS else None
        shares.append(None if right is None else round(float(right), 3))
    return tuple(shares)


def judge(
    student: Student, average: StateDict, batches: Batches, images: Bytes
) -> tuple[Array, Array]:
    """Scores (N, E) and logits of the causes (N, E, D) of faces (N, 112, 112, 3), by the averaged
    weights. The student gets its own weights back."""
    current = {k: v.clone() for k, v in student.state_dict().items()}
    student.load_state_dict(average)
    student.eval()
    parts = []
    with torch.inference_mode(), mixed_precision(batches.device):
        for start in range(0, len(images), AT_ONCE):
            seen = student(batches.tensor(images[start : start + AT_ONCE]), None)
            parts.append([x.float().cpu().numpy() for x in (seen.scores, seen.causes)])
    student.load_state_dict(current)
    student.train()
    scores, causes = zip(*parts, strict=True)
    return np.concatenate(scores), np.concatenate(causes)


def _even_sample(rows: Ints) -> Ints:
    return rows[:: max(1, len(rows) // MOST_FACES)]


def _agree(scores: Array, quality: Array) -> float:
    """Spearman's rank correlation; 0 where one side is constant and it is undefined."""
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(quality) == 0:
        return 0.0
    return float(spearmanr(scores, quality).statistic)


def _causes_agree(logits: Array, strengths: Array) -> float:
    """Mean over the causes of the rank correlation, where a strength is known: (N, D) each."""
    known = ~np.isnan(strengths)
    each = [_agree(x[k], y[k]) for x, y, k in zip(logits.T, strengths.T, known.T, strict=True)]
    return float(np.mean(each))
