"""Degradations of an aligned face by the cause that they stand for, each with one strength in [0, 1].

Most operations are kornia's (Apache-2.0); this package fixes their parameters, which are thereby
published. Every cause comes in several forms, so that a network learns the cause and not our way of
making it. Random choices inside (a form, an angle, a place) come from torch's generator, which
`degrade` and `random_mixture` seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import kornia.augmentation as K
import kornia.geometry.transform as geometry
import numpy as np
import torch
from torch import Tensor

from edge_fiqa.training.degradations.camera import (
    colour,
    compression,
    defocus,
    low_contrast,
    low_resolution,
    motion_blur,
    noise,
)
from edge_fiqa.training.degradations.pose import crop, pitch, roll, yaw
from edge_fiqa.training.degradations.scene import (
    occlusion_lower,
    occlusion_upper,
    over_exposure,
    under_exposure,
    uneven_light,
)
from edge_fiqa.types import IMAGE, Array, Bytes

Degradation = Callable[[Tensor, float], Tensor]

DEGRADATIONS: dict[str, Degradation] = {
    function.__name__: function
    for function in (
        yaw,
        pitch,
        roll,
        crop,
        occlusion_upper,
        occlusion_lower,
        uneven_light,
        under_exposure,
        over_exposure,
        low_contrast,
        colour,
        defocus,
        motion_blur,
        low_resolution,
        noise,
        compression,
    )
}
"""In the order in which a camera would apply them: pose, scene, light, optics, sensor, codec."""


class Mixture(NamedTuple):
    """pixels: (112, 112, 3) uint8 RGB; strengths: (C,) float32 of every degradation, 0 for none."""

    pixels: Bytes
    strengths: Array


def frame(face: Tensor) -> Tensor:
    """Black where the face reaches out of its photograph: a turned rectangle of it remains.

    No degradation by itself, since recognisers hardly mind. It is shown in training so that a black
    border is not taken for misalignment.
    """
    angle = 30 * (float(torch.rand(())) - 0.5)
    centre = torch.full((1, 2), (IMAGE - 1) / 2)
    turn = geometry.get_rotation_matrix2d(centre, torch.tensor([angle]), torch.ones(1, 2))
    inside = torch.ones_like(face)
    left, top, right, bottom = (22 * torch.rand(4)).int().tolist()
    inside[..., :top, :] = 0
    inside[..., IMAGE - bottom :, :] = 0
    inside[..., :left] = 0
    inside[..., IMAGE - right :] = 0
    return face * geometry.warp_affine(inside, turn, (IMAGE, IMAGE), padding_mode="border")


def degrade(face: Bytes, name: str, strength: float, seed: int) -> Bytes:
    """One degradation of the table at one strength: (112, 112, 3) uint8 RGB in and out."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _bytes(DEGRADATIONS[name](_tensor(face), strength))


def random_mixture(face: Bytes, seed: int, most: int = 3) -> Mixture:
    """None to `most` degradations of random kind and strength (weaker ones more often), on a face
    that may be cut by its photograph's border (1 in 4) and without colour (1 in 4)."""
    rng = np.random.default_rng(seed)
    strengths = np.zeros(len(DEGRADATIONS), np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = _tensor(face)
        if rng.random() < 0.25:
            x = frame(x)
        if rng.random() < 0.25:
            x = K.RandomGrayscale(p=1.0)(x)
        functions = list(DEGRADATIONS.values())
        many = int(rng.choice(most + 1, p=_shares(most)))
        for index in sorted(rng.choice(len(functions), many, replace=False)):
            strengths[index] = rng.beta(1.2, 1.8)
            x = functions[index](x, float(strengths[index])).clamp(0, 1)
        return Mixture(_bytes(x), strengths)


def _shares(most: int) -> list[float]:
    """How often 0, 1, ..., `most` degradations: none in one face of ten, the others equally."""
    return [0.1] + [0.9 / most] * most if most else [1.0]


def _tensor(face: Bytes) -> Tensor:
    return torch.from_numpy(np.array(face)).permute(2, 0, 1)[None].float() / 255


def _bytes(x: Tensor) -> Bytes:
    return (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
