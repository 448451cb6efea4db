"""Statistics of the calibration's faces, which later faces are compared with."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Floats

SIDE = 28  # pixels a side of the mean face
CUES = ("chroma", "saturation", "brightness", "contrast", "sharpness", "fit", "zoom")


class Moments(Struct, frozen=True, forbid_unknown_fields=True):
    """Of single faces."""

    mean: float
    deviation: Annotated[float, Meta(gt=0)]

    @classmethod
    def of(cls, values: Floats) -> Moments:
        deviation = max(float(values.std()), 1e-6)
        return cls(round(float(values.mean()), 5), round(deviation, 6))

    def shift(self, mean: float) -> float:
        """How far another mean lies from this one, in deviations."""
        return (mean - self.mean) / self.deviation


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """mean_face: brightness 0..255, row by row. cues: cheap measures of each face, by name.

    quality: 0-100 at full depth. histogram: of those, counts in 20 bins of 5.
    """

    mean_face: tuple[Annotated[int, Meta(ge=0, le=255)], ...]
    cues: dict[str, Moments]
    quality: Moments
    histogram: tuple[int, ...]

    def __post_init__(self) -> None:
        if set(self.cues) != set(CUES) or len(self.mean_face) != SIDE * SIDE:
            raise ConfigError(f"a reference has the cues {', '.join(CUES)} and a mean face")
