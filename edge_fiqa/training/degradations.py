"""Degradations of an aligned face, each with one strength in [0, 1]; 0 leaves the face as it is.

The operations are kornia's (Apache-2.0); this table fixes their parameters, which are thereby
published. Every function takes and returns (1, 3, 112, 112) float32 RGB in [0, 1]. Random choices
inside (an angle, a place) come from torch's generator, which `degrade` and `random_mixture` seed.
"""

from __future__ import annotations

from collections.abc import Callable

import kornia.augmentation as K
import kornia.enhance as enhance
import kornia.filters as filters
import kornia.geometry.transform as geometry
import numpy as np
import torch
from torch import Tensor

from edge_fiqa.types import IMAGE, Bytes

Degradation = Callable[[Tensor, float], Tensor]
EYE_ROW = 52  # where the ArcFace template puts the eyes


def defocus(face: Tensor, strength: float) -> Tensor:
    """Gaussian blur, sigma up to 6 pixels."""
    sigma = 6 * strength
    if sigma < 0.1:
        return face
    size = 2 * min(55, max(1, round(3 * sigma))) + 1
    return filters.gaussian_blur2d(face, (size, size), (sigma, sigma))


def motion(face: Tensor, strength: float) -> Tensor:
    """Linear motion blur up to 25 pixels long, at a random angle."""
    length = 1 + 2 * round(12 * strength)
    if length < 3:
        return face
    angle = 180 * float(torch.rand(()))
    return filters.motion_blur(face, length, angle, 0.0, border_type="replicate")


def noise(face: Tensor, strength: float) -> Tensor:
    """Gaussian sensor noise, standard deviation up to 60 of 255."""
    return K.RandomGaussianNoise(std=60 / 255 * strength, p=1.0)(face) if strength > 0 else face


def downsample(face: Tensor, strength: float) -> Tensor:
    """Reduced to as little as 10 pixels a side and enlarged again."""
    size = round(IMAGE * (10 / IMAGE) ** strength)
    small = geometry.resize(face, (size, size), antialias=True)
    return geometry.resize(small, (IMAGE, IMAGE))


def jpeg(face: Tensor, strength: float) -> Tensor:
    """JPEG quality from 95 down to 3."""
    if strength <= 0:
        return face
    return enhance.jpeg_codec_differentiable(face, torch.tensor([95 * (3 / 95) ** strength]))


def exposure(face: Tensor, strength: float) -> Tensor:
    """Over- or under-exposure by up to 3.5 stops, clipped as a sensor clips."""
    sign = 1 if torch.rand(()) < 0.5 else -1
    return enhance.adjust_brightness_accumulative(face, 2.0 ** (sign * 3.5 * strength))


def contrast(face: Tensor, strength: float) -> Tensor:
    """Haze: contrast reduced by up to 95 %, around a random level."""
    level = (20 + 215 * float(torch.rand(()))) / 255
    return face * (1 - 0.95 * strength) + 0.95 * strength * level


def colour_cast(face: Tensor, strength: float) -> Tensor:
    """Each channel shifted by its own amount, up to 0.4 of the range."""
    reach = 0.4 * strength
    return K.RandomRGBShift(reach, reach, reach, p=1.0)(face) if strength > 0 else face


def occlusion(face: Tensor, strength: float) -> Tensor:
    """A flat block: over the lower face (mask), across the eyes (bar of glasses), or anywhere."""
    if strength <= 0:
        return face
    kind, out = int(torch.randint(3, ())), face.clone()
    if kind == 0:  # grows upward from the chin
        top, bottom, left, right = IMAGE - round(72 * strength), IMAGE, 0, IMAGE
    elif kind == 1:
        half = max(1, round(20 * strength))
        top, bottom, left, right = EYE_ROW - half, EYE_ROW + half, 16, 96
    else:
        side = max(1, round(90 * strength))
        top, left = torch.randint(0, IMAGE - side + 1, (2,)).tolist()
        bottom, right = top + side, left + side
    out[..., top:bottom, left:right] = torch.rand(1, 3, 1, 1)
    return out


def misalignment(face: Tensor, strength: float) -> Tensor:
    """Rotation up to 45 degrees, shift up to 28 pixels, scale within a factor of 1.6."""
    if strength <= 0:
        return face
    angle, shift_x, shift_y, zoom = ((2 * torch.rand(4) - 1) * strength).tolist()
    centre = torch.full((1, 2), (IMAGE - 1) / 2)
    scale = torch.full((1, 2), 1.6**zoom)
    move = geometry.get_rotation_matrix2d(centre, torch.tensor([45 * angle]), scale)
    move[..., 2] += torch.tensor([28 * shift_x, 28 * shift_y])
    return geometry.warp_affine(face, move, (IMAGE, IMAGE))


DEGRADATIONS: dict[str, Degradation] = {
    function.__name__: function
    for function in (
        misalignment,
        occlusion,
        exposure,
        contrast,
        colour_cast,
        defocus,
        motion,
        downsample,
        noise,
        jpeg,
    )
}
"""In the order in which a camera would apply them: pose, scene, light, optics, sensor, codec."""


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


def random_mixture(face: Bytes, seed: int, most: int = 3) -> Bytes:
    """None to `most` degradations of random kind and strength (weaker ones more often), on a face
    that may be cut by its photograph's border (1 in 4) and without colour (1 in 4)."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = _tensor(face)
        if rng.random() < 0.25:
            x = frame(x)
        if rng.random() < 0.25:
            x = K.RandomGrayscale(p=1.0)(x)
        names = list(DEGRADATIONS)
        many = int(rng.choice(most + 1, p=_shares(most)))
        for index in sorted(rng.choice(len(names), many, replace=False)):
            x = DEGRADATIONS[names[index]](x, float(rng.beta(1.2, 1.8))).clamp(0, 1)
        return _bytes(x)


def _shares(most: int) -> list[float]:
    """How often 0, 1, ..., `most` degradations: none in one face of ten, the others equally."""
    return [0.1] + [0.9 / most] * most if most else [1.0]


def _tensor(face: Bytes) -> Tensor:
    return torch.from_numpy(np.array(face)).permute(2, 0, 1)[None].float() / 255


def _bytes(x: Tensor) -> Bytes:
    return (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
