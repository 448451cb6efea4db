"""What the heads of causes learn: how strong each cause is in a picture, as far as that is known."""

from __future__ import annotations

import numpy as np

from edge_fiqa.training.degradations.table import DEGRADATIONS
from edge_fiqa.training.labels import Bools
from edge_fiqa.types import Array

TURNS = ("yaw", "pitch")


def cause_targets(strengths: Array, turns: Array, own_defects: Bools) -> Array:
    """(M, D) strengths in [0, 1] of every cause; NaN where it is unknown.

    strengths: (M, D) of the degradations that were added, 0 for none. turns: (M, 2) of yaw and pitch
    that a detector saw in the picture before, NaN without points: a head is turned as far as it was or
    was made to be, and where the first is unknown so is the turn, unless it was made to turn.
    own_defects: (M,) whether the picture may have other causes than the added ones. A mask in a
    photograph is no degradation of ours, and it is not nothing either.
    """
    causes, names = np.array(strengths, np.float32), list(DEGRADATIONS)
    causes[own_defects[:, None] & (strengths == 0)] = np.nan
    for name, natural in zip(TURNS, turns.T, strict=True):
        column = names.index(name)
        made = strengths[:, column]
        known = np.where(np.isnan(natural) & (made > 0), 0, natural)
        causes[:, column] = np.maximum(made, known)
    return causes
