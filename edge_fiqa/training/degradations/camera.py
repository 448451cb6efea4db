"""Degradations by the camera: optics, movement, sensor, white balance, codec.

Every function takes and returns (1, 3, 112, 112) float32 RGB in [0, 1]; strength 0 leaves the face as
it is. Random choices come from torch's generator.
"""

from __future__ import annotations

import cv2
import kornia.augmentation as K
import kornia.color as color
import kornia.filters as filters
import kornia.geometry.transform as geometry
import numpy as np
import torch
from torch import Tensor

from edge_fiqa.training.degradations.draws import random
from edge_fiqa.types import IMAGE


def defocus(face: Tensor, strength: float) -> Tensor:
    """Gaussian blur, sigma up to 7 pixels, or twice a box of the same deviation."""
    sigma = 7 * strength
    if sigma < 0.1:
        return face
    if sigma > 1 and random() < 0.3:
        side = 2 * round(sigma * 6**0.5 / 2) + 1
        return filters.box_blur(filters.box_blur(face, (side, side)), (side, side))
    size = 2 * min(55, max(1, round(3 * sigma))) + 1
    return filters.gaussian_blur2d(face, (size, size), (sigma, sigma))


def motion_blur(face: Tensor, strength: float) -> Tensor:
    """Linear motion blur up to 29 pixels long, at a random angle."""
    length = 1 + 2 * round(14 * strength)
    if length < 3:
        return face
    return filters.motion_blur(face, length, 180 * random(), 0.0, border_type="replicate")


def low_resolution(face: Tensor, strength: float) -> Tensor:
    """Reduced to as little as 10 pixels a side and enlarged again, in steps or smoothly."""
    size = round(IMAGE * (10 / IMAGE) ** strength)
    if size == IMAGE:
        return face
    small = geometry.resize(face, (size, size), antialias=True)
    kind = ("nearest", "bilinear", "bicubic", "bilinear")[int(torch.randint(4, ()))]
    return geometry.resize(small, (IMAGE, IMAGE), interpolation=kind).clamp(0, 1)


def noise(face: Tensor, strength: float) -> Tensor:
    """Of a sensor: standard deviation up to 75 of 255, in colour or grey, or growing with the light;
    or single pixels that are black or white, up to a seventh of all."""
    if strength <= 0:
        return face
    kind = int(torch.randint(5, ()))
    if kind == 4:
        share = 0.07 * strength
        dots = K.RandomSaltAndPepperNoise(amount=(share, 2 * share), salt_vs_pepper=0.5, p=1.0)
        return dots(face)
    grain = torch.randn(face.shape if kind != 1 else (1, 1, IMAGE, IMAGE))
    level = 75 / 255 * strength
    if kind == 2:
        grain = 1.5 * grain * face.clamp(0, 1).sqrt()
    return (face + level * grain).clamp(0, 1)


def colour(face: Tensor, strength: float) -> Tensor:
    """Wrong white balance: each channel shifted or multiplied, or a* and b* shifted by up to 60."""
    if strength <= 0:
        return face
    kind = int(torch.randint(3, ()))
    direction = torch.randn(1, 3, 1, 1)
    direction = (direction - direction.mean(1)) / direction.abs().max()
    if kind == 0:
        return (face + 0.4 * strength * direction).clamp(0, 1)
    if kind == 1:
        return (face * 2.0 ** (1.4 * strength * direction)).clamp(0, 1)
    lab = color.rgb_to_lab(face.clamp(0, 1))
    angle = torch.tensor(2 * torch.pi * random())
    lab[:, 1] += 60 * strength * torch.cos(angle)
    lab[:, 2] += 60 * strength * torch.sin(angle)
    return color.lab_to_rgb(lab).clamp(0, 1)


def low_contrast(face: Tensor, strength: float) -> Tensor:
    """Haze: contrast reduced by up to 95 %, around a random level."""
    level = (20 + 215 * random()) / 255
    return face * (1 - 0.95 * strength) + 0.95 * strength * level


def compression(face: Tensor, strength: float) -> Tensor:
    """JPEG of quality 95 down to 3, or WebP of 80 down to 0; a quarter of them coded twice."""
    if strength <= 0:
        return face
    webp = random() < 0.25
    quality = round(80 * (1 - strength)) if webp else round(95 * (3 / 95) ** strength)
    for _ in range(2 if random() < 0.25 else 1):
        face = _coded(face, quality, webp)
    return face


def _coded(face: Tensor, quality: int, webp: bool) -> Tensor:
    picture = (face[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    flag = cv2.IMWRITE_WEBP_QUALITY if webp else cv2.IMWRITE_JPEG_QUALITY
    bgr = np.ascontiguousarray(picture[..., ::-1])
    data = cv2.imencode(".webp" if webp else ".jpg", bgr, [flag, max(quality, 1)])[1]
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1].copy()
    return torch.from_numpy(decoded).permute(2, 0, 1)[None].float() / 255
