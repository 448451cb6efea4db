"""A calibration of made-up numbers, where no network is needed."""

from functools import cache

import numpy as np

from edge_fiqa.calibration.fit import fit_calibration

EXITS = (1, 2, 3, 4)


def trails(faces, seed=0):
    """(faces, 4): what an exit says of a face gets truer with its depth."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(faces, len(EXITS))) * [1.0, 0.5, 0.3, 0.2]
    return (rng.normal(size=(faces, 1)) + noise).astype(np.float32)


@cache
def calibration_of_numbers():
    return fit_calibration(
        trails(3000),
        [str(row) for row in range(3000)],
        model="m",
        fingerprint="f",
        exits=EXITS,
        images="numbers",
        risks=[0.02],
    )
