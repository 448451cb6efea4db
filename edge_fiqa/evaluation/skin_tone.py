"""How light the skin of an aligned crop looks: the individual typology angle (ITA) of its cheeks.

ITA = atan((L* - 50) / b*) in degrees, on CIELAB under D65 (Chardon, Cretois and Hourseau, Skin colour
typology and suntanning pathways, Int. J. Cosmetic Science 13(4), 1991). It was made for an instrument
on the skin. On a photograph, the light, the exposure and the white balance move it by whole bands, so
compare many faces, never label one person by one picture.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.template import TEMPLATE
from edge_fiqa.types import IMAGE, Bytes, Floats

CHEEK: Final = 12
"""Pixels a side of the two squares that are read, each between an eye and its corner of the mouth."""
LEAST_YELLOW: Final = 2.3
"""b* below which skin has no tone: a grey picture, or a blue one. The just noticeable difference in
CIELAB (Mahy, Van Eycken and Oosterlinck, Color Research and Application 19(2), 1994)."""
TONES: Final = (
    ("very light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -90.0),
)
"""Bands of Chardon et al., lightest first: each holds the ITA above this many degrees."""


def cheeks() -> tuple[tuple[slice, slice], ...]:
    """Rows and columns of the two squares, the image's left one first."""
    left_eye, right_eye, _, left_mouth, right_mouth = TEMPLATE
    return tuple(
        _square((a + b) / 2) for a, b in ((left_eye, left_mouth), (right_eye, right_mouth))
    )


def _square(centre: Floats) -> tuple[slice, slice]:
    x, y = (int(value) for value in np.rint(centre - CHEEK / 2))
    return slice(y, y + CHEEK), slice(x, x + CHEEK)


def cheek_ita(crop: Bytes) -> float:
    """ITA in degrees of an aligned crop (112, 112, 3) uint8 RGB; NaN where it shows no skin colour.

    Of the median L* and the median b* of the pixels of both cheeks, so neither a highlight nor a
    strand of hair counts. Raises ConfigError for another shape or type.
    """
    if crop.shape != (IMAGE, IMAGE, 3) or crop.dtype != np.uint8:
        raise ConfigError(
            f"skin tone is read from an aligned crop ({IMAGE}, {IMAGE}, 3) of uint8 RGB, got "
            f"{crop.shape} of {crop.dtype}"
        )
    pixels = np.concatenate([crop[cheek].reshape(-1, 3) for cheek in cheeks()])
    lab = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    lightness, _, yellow = (float(value) for value in np.median(lab, axis=0))
    if yellow < LEAST_YELLOW:
        return float("nan")
    return float(np.degrees(np.arctan((lightness - 50) / yellow)))


def tone_of(ita: float) -> str | None:
    """The band of Chardon et al. that an ITA lies in, a limit being in the darker one; None of NaN."""
    return None if np.isnan(ita) else next(name for name, above in TONES if ita > above)


def tones_of(ita: npt.ArrayLike, least: int) -> list[str | None]:
    """(N,) ITA -> the band of each; neighbours are joined until each holds `least`, or one remains.

    The smallest band joins its smaller neighbour, and is called `light to tan`. None of NaN.
    """
    tones = [tone_of(value) for value in np.asarray(ita, np.float64)]
    bands = [[name] for name, _ in TONES if name in tones]
    sizes = [tones.count(name) for (name,) in bands]
    while len(bands) > 1 and min(sizes) < least:
        smallest = sizes.index(min(sizes))
        beside = [place for place in (smallest - 1, smallest + 1) if 0 <= place < len(bands)]
        first, second = sorted((smallest, min(beside, key=lambda place: sizes[place])))
        bands[first] += bands.pop(second)
        sizes[first] += sizes.pop(second)
    name_of = {
        tone: band[0] if len(band) == 1 else f"{band[0]} to {band[-1]}"
        for band in bands
        for tone in band
    }
    return [None if tone is None else name_of[tone] for tone in tones]
