"""Arrays of a checkpoint against the names and shapes that they must have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_fiqa.errors import CheckpointError
from edge_fiqa.types import Array

MOST_LISTED = 4  # problems in one message


def checked(
    arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], what: str
) -> dict[str, Array]:
    """The arrays as float32, in the order of `shapes`.

    Raises CheckpointError: `what`, and each key that is missing, unexpected, of a wrong shape, or holds
    a number that is not finite.
    """
    problems = _shape_problems(arrays, shapes)
    if not problems:
        kept = {key: np.ascontiguousarray(arrays[key], np.float32) for key in shapes}
        problems = [
            f"{key} holds NaN or infinity"
            for key, array in kept.items()
            if not np.isfinite(array).all()
        ]
    if problems:
        listed = "; ".join(problems[:MOST_LISTED])
        more = f"; and {len(problems) - MOST_LISTED} more" if problems[MOST_LISTED:] else ""
        raise CheckpointError(f"{what}: {listed}{more}")
    return kept


def _shape_problems(
    arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> list[str]:
    problems = [f"missing {key} {shape}" for key, shape in shapes.items() if key not in arrays]
    problems += [f"unexpected {key}" for key in sorted(arrays.keys() - shapes.keys())]
    problems += [
        f"{key} has shape {arrays[key].shape}, expected {shape}"
        for key, shape in shapes.items()
        if key in arrays and arrays[key].shape != shape
    ]
    return problems
