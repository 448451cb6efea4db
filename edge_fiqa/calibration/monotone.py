"""Monotone maps: a fused score at some depth onto the scale of the full fused score.

Fitted by isotonic regression, kept as the knots of a line that never falls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge_fiqa.errors import BackendMissing, ConfigError
from edge_fiqa.types import Floats

KNOTS = 48
DIGITS = 6  # significant ones that are kept
LARGEST = 1e30  # a float32 holds it, and its differences


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """Through the points (x, y), straight between them and level outside. x rises."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.x or len(self.x) != len(self.y) or not (np.diff(self.x) > 0).all():
            raise ConfigError("a line needs as many y as x, at least one, and x must rise")
        if not np.abs((self.x, self.y)).max() < LARGEST:
            raise ConfigError(f"a line ends at {LARGEST:g}")

    @classmethod
    def through(cls, x: npt.ArrayLike, y: npt.ArrayLike) -> Line:
        """Points of equal x are replaced by their mean."""
        unique, inverse = np.unique(rounded(x), return_inverse=True)
        mean = np.bincount(inverse, np.asarray(y, np.float64)) / np.bincount(inverse)
        return cls(tuple(unique.tolist()), tuple(rounded(mean).tolist()))


def fit_monotone(
    x: npt.NDArray[np.floating], y: npt.NDArray[np.floating], knots: int = KNOTS
) -> Line:
    """(N,) scores and what they should become -> the line through isotonic regression at quantiles.

    Raises BackendMissing without scikit-learn.
    """
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as exc:
        raise BackendMissing(
            "calibrating needs scikit-learn; run pip install 'edge-fiqa[calibrate]'"
        ) from exc
    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    knots_x = np.quantile(x, np.linspace(0, 1, knots))
    line = Line.through(knots_x, fitted.predict(knots_x))
    # Predictions are rounded float32 numbers: on a level part the last digit may fall.
    return Line(line.x, tuple(np.maximum.accumulate(line.y).tolist()))


def fit_spread(
    estimate: npt.NDArray[np.floating], residual: npt.NDArray[np.floating], bins: int = 12
) -> Line:
    """Root mean square of residuals (N,) as a function of the estimate (N,), by equal counts."""
    order = np.argsort(estimate, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    centres = np.array([estimate[part].mean() for part in parts])
    rms = np.array(
        [np.sqrt(np.mean(np.square(residual[part], dtype=np.float64))) for part in parts]
    )
    floor = 1e-3 * max(float(np.std(estimate)), 1e-6)  # no spread is 0
    return Line.through(centres, np.maximum(rms, floor))


def rounded(values: npt.ArrayLike) -> Floats:
    """To DIGITS significant digits, so that files are short."""
    flat = np.asarray(values, np.float64)
    return np.array([float(f"{v:.{DIGITS}g}") for v in flat.ravel()]).reshape(flat.shape)
