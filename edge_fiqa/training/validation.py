"""How good a run is so far: what its averaged weights say of persons that it never learned from."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import spearmanr

from edge_fiqa.exits.fusion import fuse
from edge_fiqa.training.batches import Batches
from edge_fiqa.training.student import StateDict, Student
from edge_fiqa.types import Array, Bytes

MOST_FACES, AT_ONCE = 1024, 128


def validate(student: Student, average: StateDict, batches: Batches) -> dict[str, float]:
    """Rank correlation with the label on held-out identities: first, middle, last exit, FW; and of
    the causes with their strengths in degraded faces, the mean over causes. Empty if fewer than
    three faces are held out."""
    rows, faces = batches.held_out, batches.faces
    if len(rows) < 3:
        return {}
    rows = rows[:: max(1, len(rows) // MOST_FACES)]
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


def judge(
    student: Student, average: StateDict, batches: Batches, images: Bytes
) -> tuple[Array, Array]:
    """Scores (N, E) and logits of the causes (N, E, D) of faces (N, 112, 112, 3), by the averaged
    weights. The student gets its own weights back."""
    current = {k: v.clone() for k, v in student.state_dict().items()}
    student.load_state_dict(average)
    student.eval()
    parts = []
    with torch.inference_mode(), torch.autocast(batches.device.type, torch.bfloat16):
        for start in range(0, len(images), AT_ONCE):
            seen = student(batches.tensor(images[start : start + AT_ONCE]), None)
            parts.append([x.float().cpu().numpy() for x in (seen.scores, seen.causes)])
    student.load_state_dict(current)
    student.train()
    scores, causes = zip(*parts, strict=True)
    return np.concatenate(scores), np.concatenate(causes)


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
