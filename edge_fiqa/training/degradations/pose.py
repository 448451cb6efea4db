"""Degradations of how the face stands in the crop: turned head, turned picture, shifted or wrong size.

Every function takes and returns (1, 3, 112, 112) float32 RGB in [0, 1]; strength 0 leaves the face as
it is. Random choices come from torch's generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import kornia.filters as filters
import kornia.geometry.transform as geometry
import torch
from torch import Tensor

from edge_fiqa.training.degradations.draws import random, sign
from edge_fiqa.types import IMAGE

BORDERS = ("zeros", "border", "reflection", "blurred")


def yaw(face: Tensor, strength: float) -> Tensor:
    """Head turned to one side, as a plane in perspective: that side narrows to half its height, and the
    face to 55 % of its width. Or the picture turned before the camera, or the camera before it."""
    if strength <= 0:
        return face
    if (matrix := _turn(strength, vertical_axis=True)) is not None:
        return _warped(face, matrix)
    left, right, narrow = _narrowing(strength)
    corners = [
        (narrow / 2, left / 2),
        (1 - narrow / 2, right / 2),
        (1 - narrow / 2, 1 - right / 2),
        (narrow / 2, 1 - left / 2),
    ]
    return _perspective(face, corners)


def pitch(face: Tensor, strength: float) -> Tensor:
    """Head raised or lowered: one end narrows to half its width, and the face to 55 % of its height. Or
    the picture turned before the camera, or the camera before it."""
    if strength <= 0:
        return face
    if (matrix := _turn(strength, vertical_axis=False)) is not None:
        return _warped(face, matrix)
    top, bottom, low = _narrowing(strength)
    corners = [
        (top / 2, low / 2),
        (1 - top / 2, low / 2),
        (1 - bottom / 2, 1 - low / 2),
        (bottom / 2, 1 - low / 2),
    ]
    return _perspective(face, corners)


def _turn(strength: float, vertical_axis: bool) -> Tensor | None:
    """Homography (3, 3) of a picture turned by up to 55 degrees before a pinhole camera, or seen by one
    turned by up to 40 degrees; None, in one case of three, for neither. The centre stays in its place.

    With a camera K of focal length f these are K [r1 r2 f z] and K R K^-1, where r1 and r2 are the
    first columns of the turn R and z is the axis of view.
    """
    kind = int(torch.randint(3, ()))
    if kind == 0:
        return None
    degrees, shortest = (55, 1.0) if kind == 1 else (40, 0.9)
    turn = _rotation(degrees * strength * (0.7 + 0.3 * random()) * sign(), vertical_axis)
    middle = (IMAGE - 1) / 2
    focal = IMAGE * (shortest + 1.5 * random())
    camera = torch.tensor([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    if kind == 1:
        plane = torch.stack([turn[:, 0], turn[:, 1], torch.tensor([0.0, 0.0, focal])], dim=1)
        seen = camera @ plane @ torch.tensor([[1, 0, -middle], [0, 1, -middle], [0, 0, 1]])
    else:
        seen = camera @ turn @ torch.linalg.inv(camera)
    centre = seen @ torch.tensor([middle, middle, 1])
    back = torch.eye(3)
    back[:2, 2] = middle - centre[:2] / centre[2]
    return back @ seen


def _rotation(degrees: float, vertical_axis: bool) -> Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if vertical_axis:
        return torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]])


def _narrowing(strength: float) -> tuple[float, float, float]:
    """Of the near end, the far end, and along the turn: shares of the picture's side."""
    first = sign() < 0
    along = 0.45 * strength * (0.6 + 0.4 * random())
    end = 0.5 * strength
    return (end, 0.0, along) if first else (0.0, end, along)


def roll(face: Tensor, strength: float) -> Tensor:
    """Turned in the picture's plane by up to 45 degrees."""
    if strength <= 0:
        return face
    return _affine(face, 45 * strength * sign(), 1.0, 0.0, 0.0)


def crop(face: Tensor, strength: float) -> Tensor:
    """Off the template: shifted by up to 45 pixels, or enlarged up to 2.5 times, or as much smaller."""
    if strength <= 0:
        return face
    kind, zoom = int(torch.randint(3, ())), 1.0
    angle = 2 * math.pi * random()
    reach = (45 if kind == 0 else 10 * random()) * strength
    if kind:
        zoom = 2.5 ** (strength if kind == 1 else -strength)
    return _affine(face, 0.0, zoom, reach * math.cos(angle), reach * math.sin(angle))


def _perspective(face: Tensor, corners: list[tuple[float, float]]) -> Tensor:
    """The picture's corners, clockwise from the top left, moved to these shares of its side."""
    last = IMAGE - 1
    before = torch.tensor([[(0.0, 0.0), (last, 0.0), (last, last), (0.0, last)]])
    after = torch.tensor([[(x * last, y * last) for x, y in corners]])
    return _warped(face, geometry.get_perspective_transform(before, after)[0])


def _warped(face: Tensor, matrix: Tensor) -> Tensor:
    """By a homography (3, 3) of pixels."""
    border = BORDERS[int(torch.randint(len(BORDERS), ()))]
    return _filled(
        face,
        border,
        lambda image, mode: geometry.warp_perspective(
            image, matrix[None], (IMAGE, IMAGE), padding_mode=mode
        ),
    )


def _affine(face: Tensor, degrees: float, zoom: float, right: float, down: float) -> Tensor:
    centre = torch.full((1, 2), (IMAGE - 1) / 2)
    move = geometry.get_rotation_matrix2d(
        centre, torch.tensor([float(degrees)]), torch.full((1, 2), zoom)
    )
    move[..., 2] += torch.tensor([right, down])
    border = BORDERS[int(torch.randint(len(BORDERS), ()))]
    return _filled(
        face,
        border,
        lambda image, mode: geometry.warp_affine(image, move, (IMAGE, IMAGE), padding_mode=mode),
    )


def _filled(face: Tensor, border: str, warp: Callable[[Tensor, str], Tensor]) -> Tensor:
    """The warped face; beyond its photograph black, its edge drawn out, its mirror image, or a blur."""
    if border != "blurred":
        return warp(face, border)
    inside = warp(torch.ones_like(face), "zeros")
    around = filters.gaussian_blur2d(face, (51, 51), (15.0, 15.0))
    return inside * warp(face, "zeros") + (1 - inside) * around
