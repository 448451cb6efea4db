"""Degradations of what is in front of the camera: something before the face, and the light on it.

Every function takes and returns (1, 3, 112, 112) float32 RGB in [0, 1]; strength 0 leaves the face as
it is. Random choices come from torch's generator.
"""

from __future__ import annotations

import kornia.filters as filters
import torch
from torch import Tensor

from edge_fiqa.training.degradations.draws import random
from edge_fiqa.types import IMAGE

EYE_ROW, MOUTH_ROW = 52, 92  # where the ArcFace template puts them
LEFT_EYE, RIGHT_EYE = 38, 74  # columns


def occlusion_upper(face: Tensor, strength: float) -> Tensor:
    """Eyes or forehead behind a bar, glasses, a hat, or something of no certain form."""
    if strength <= 0:
        return face
    kind = int(torch.randint(4, ()))
    if kind == 0:
        row = EYE_ROW + 6 * (random() - 0.5)
        mask = _box(row, IMAGE / 2, 4 + 18 * strength, 30 + 26 * random())
    elif kind == 1:
        size = 4 + 13 * strength
        lenses = [_ellipse(EYE_ROW, column, size, 1.25 * size) for column in (LEFT_EYE, RIGHT_EYE)]
        mask = torch.maximum(*lenses)
        mask = torch.maximum(mask, _box(EYE_ROW, IMAGE / 2, 2, RIGHT_EYE - LEFT_EYE))
    elif kind == 2:
        mask = _box(0, IMAGE / 2, 18 + 48 * strength, IMAGE)
    else:
        size = 8 + 26 * strength
        mask = _ellipse(20 + 34 * random(), 24 + 64 * random(), size, size * (0.6 + random()))
        mask[..., MOUTH_ROW - 18 :, :] = 0
    return _cover(face, mask, dark=kind == 1 and random() < 0.7)


def occlusion_lower(face: Tensor, strength: float) -> Tensor:
    """Mouth or chin behind a mask, a bar, a hand, or something of no certain form."""
    if strength <= 0:
        return face
    kind = int(torch.randint(3, ()))
    if kind == 0:  # grows upward from the chin, a little narrower than the face or as wide
        top = IMAGE - 14 - 40 * strength
        mask = _box(IMAGE, IMAGE / 2, IMAGE - top, 36 + 24 * random())
        if random() < 0.5:
            mask = mask * _ellipse(MOUTH_ROW - 6, IMAGE / 2, 46, 48)
    elif kind == 1:
        mask = _box(
            MOUTH_ROW + 8 * (random() - 0.5), IMAGE / 2, 5 + 17 * strength, 30 + 26 * random()
        )
    else:
        size = 8 + 24 * strength
        mask = _ellipse(82 + 20 * random(), 24 + 64 * random(), size, size * (0.6 + random()))
        mask[..., : EYE_ROW + 10, :] = 0
    return _cover(face, mask)


def uneven_light(face: Tensor, strength: float) -> Tensor:
    """Light from one side, a shadow with an edge, or a spot: down to a tenth of the light elsewhere."""
    if strength <= 0:
        return face
    rows, columns = _places()
    angle = torch.tensor(torch.pi * (2 * random() - 1) * (0.25 if random() < 0.6 else 1.0))
    along = (columns - IMAGE / 2) * torch.cos(angle) + (rows - IMAGE / 2) * torch.sin(angle)
    kind = int(torch.randint(3, ()))
    if kind == 0:
        dark = (along / IMAGE + 0.5).clamp(0, 1)
    elif kind == 1:
        dark = torch.sigmoid((along + 24 * (random() - 0.5)) / (1 + 9 * random()))
    else:
        row, column = 30 + 52 * random(), 20 + 72 * random()
        away = ((rows - row) ** 2 + (columns - column) ** 2).sqrt()
        dark = (away / (50 + 40 * random())).clamp(0, 1)
    if random() < 0.5:
        dark = 1 - dark
    light = 1 - 0.9 * strength * dark
    return face * light * (1 + 0.3 * strength * random())


def under_exposure(face: Tensor, strength: float) -> Tensor:
    """Too little light: by up to 4 stops, or by a gamma of up to 5."""
    if random() < 0.5:
        return face * 2.0 ** (-4 * strength)
    return face.clamp(0, 1) ** (1 + 4 * strength)


def over_exposure(face: Tensor, strength: float) -> Tensor:
    """Too much light: clipped after up to 2.2 stops, or washed out by a gamma and a veil of white."""
    if random() < 0.5:
        return (face * 2.0 ** (2.2 * strength)).clamp(0, 1)
    veil = 0.6 * strength * random()
    bright = face.clamp(0, 1) ** (1 / (1 + 2 * strength))
    return ((1 - veil) * bright * (1 + 0.15 * strength) + veil).clamp(0, 1)


def _cover(face: Tensor, mask: Tensor, dark: bool = False) -> Tensor:
    """The face behind a flat, shaded or patterned thing of any colour, with a hard or a soft edge."""
    colour = torch.rand(1, 3, 1, 1) * (0.25 if dark else 1.0)
    thing = colour.expand_as(face)
    kind = int(torch.randint(4, ()))
    rows, columns = _places()
    if kind == 1:
        thing = thing * (0.6 + 0.6 * (rows / IMAGE if random() < 0.5 else columns / IMAGE))
    elif kind == 2:
        thing = thing + 0.15 * torch.randn(1, 1, IMAGE, IMAGE)
    elif kind == 3:
        thing = thing + 0.2 * torch.sin((rows + columns * (2 * random() - 1)) / (1 + 4 * random()))
    if random() < 0.4:
        mask = filters.gaussian_blur2d(mask, (7, 7), (1.5, 1.5))
    return (face * (1 - mask) + thing.clamp(0, 1) * mask).clamp(0, 1)


def _box(row: float, column: float, half_height: float, half_width: float) -> Tensor:
    """(1, 1, 112, 112), 1 inside."""
    rows, columns = _places()
    inside = ((rows - row).abs() <= half_height) & ((columns - column).abs() <= half_width)
    return inside.float()


def _ellipse(row: float, column: float, half_height: float, half_width: float) -> Tensor:
    rows, columns = _places()
    away = ((rows - row) / half_height) ** 2 + ((columns - column) / half_width) ** 2
    return (away <= 1).float()


def _places() -> tuple[Tensor, Tensor]:
    """Row and column of every pixel, each (1, 1, 112, 112)."""
    places = torch.arange(IMAGE, dtype=torch.float32)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    return rows[None, None], columns[None, None]
