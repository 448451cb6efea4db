"""Crops to learn from: aligned, moved, stretched and uncut, each as it is or degraded.

Every function takes and returns grey crops (112, 112) uint8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_fiqa.faces.crop_check import UNITS
from edge_fiqa.types import IMAGE

BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
CENTRE = (IMAGE - 1) / 2
GEOMETRY = 5  # shift in x and y, enlargement, angle, stretch
UNKNOWN = np.nan  # a label that this example does not teach


@dataclass(frozen=True)
class Place:
    """Where a face lies in a crop, against where it should.

    shift: (x, y) pixels. zoom: enlargement. angle: degrees. stretch: width over height, 1 for none.
    upright: degrees by which the face was tilted in the picture that was stretched.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    angle: float = 0.0
    stretch: float = 1.0
    upright: float = 0.0

    @property
    def geometry(self) -> np.ndarray:
        """(5,) in UNITS."""
        values = [*self.shift, np.log(self.zoom), self.angle, np.log(self.stretch)]
        return np.array(values) / UNITS


@dataclass(frozen=True)
class Example:
    """A crop and what it teaches. misaligned, stretched: 0, 1 or UNKNOWN."""

    crop: np.ndarray
    misaligned: float
    stretched: float
    geometry: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """(7,) float32."""
        return np.float32([self.misaligned, self.stretched, *self.geometry])


def draw(crops: Sequence[np.ndarray], rng: np.random.Generator) -> Example:
    """One example of a random kind. crops: aligned, RGB or grey."""
    face = grey(crops[rng.integers(len(crops))])
    if rng.random() < 0.5:
        face = face[:, ::-1]
    kind = rng.random()
    if kind < 0.42:
        return aligned(face, rng)
    if kind < 0.50:
        return between(face, rng)
    if kind < 0.62:
        return stretched(face, rng)
    return misaligned(face, crops, rng)


def grey(crop: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) if crop.ndim == 3 else crop


def aligned(face: np.ndarray, rng: np.random.Generator) -> Example:
    """As another detector would align it: about a pixel off; half of them degraded."""
    place = Place()
    if rng.random() < 0.6:
        place = Place(pair(rng.normal(0, 0.7, 2)), 1 + rng.normal(0, 0.012), rng.normal())
        face = move(face, place, cv2.BORDER_REPLICATE)
    for _number in range(rng.choice([0, 1, 2], p=[0.5, 0.37, 0.13])):
        face = degrade(face, rng)
    if rng.random() < 0.3:
        face = banded(face, rng)
    return Example(face, 0, 0, place.geometry)


def banded(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black beyond the border of a tight picture, on one to three sides, turned as its face was."""
    left, top, right, bottom = rng.uniform(1, 24, 4) * (rng.random(4) < (0.6, 0.25, 0.6, 0.15))
    inside = np.zeros((IMAGE, IMAGE), np.uint8)
    inside[round(top) : IMAGE - round(bottom), round(left) : IMAGE - round(right)] = 255
    inside = move(inside, Place(angle=rng.normal(0, 4)), cv2.BORDER_REPLICATE)
    return (face.astype(np.uint16) * inside // 255).astype(np.uint8)


def between(face: np.ndarray, rng: np.random.Generator) -> Example:
    """Moved too little to be blamed and too much to be called aligned: teaches the geometry alone."""
    place = Place(
        pair(rng.normal(0, 3, 2)), np.exp(rng.normal(0, 0.07)), rng.normal(0, 6),
        np.exp(rng.normal(0, 0.08)),
    )  # fmt: skip
    return Example(move(face, place, *border(rng)), UNKNOWN, UNKNOWN, place.geometry)


def stretched(face: np.ndarray, rng: np.random.Generator) -> Example:
    """Of a picture whose width and height were scaled differently, then aligned, or not."""
    stretch = np.exp(rng.uniform(0.15, 0.5) if rng.random() < 0.8 else rng.uniform(0.5, 0.8))
    stretch = stretch if rng.random() < 0.6 else 1 / stretch
    zoom, shift = np.exp(rng.normal(0, 0.02)), rng.normal(0, 0.7, 2)
    if rng.random() < 0.4:  # one side of a crop alone was scaled
        zoom *= stretch ** rng.choice([-0.5, 0.5])
    place = Place(pair(shift), zoom, rng.normal(0, 2), stretch, rng.normal(0, 8))
    face = move(face, place, *border(rng))
    sure = UNKNOWN if 1 / 1.2 < zoom < 1.2 else 1.0
    return Example(degrade_some(face, rng, 0.3), sure, 1, place.geometry)


def misaligned(face: np.ndarray, others: Sequence[np.ndarray], rng: np.random.Generator) -> Example:
    """Shifted, scaled, turned, small over another picture, or several of these."""
    kind = rng.random()
    if kind < 0.24:
        return uncut(face, others, rng)
    place = moved_place(kind, rng)
    face = degrade_some(move(face, place, *border(rng)), rng, 0.25)
    geometry = place.geometry
    if np.abs(geometry).max() > 2.5:  # too far off to be measured
        geometry = np.full(GEOMETRY, UNKNOWN)
    return Example(face, 1, UNKNOWN, geometry)


def moved_place(kind: float, rng: np.random.Generator) -> Place:
    zoom, angle, shift = 1 + rng.normal(0, 0.03), rng.normal(0, 2), pair(rng.normal(0, 1.2, 2))
    sign = rng.choice([-1, 1])
    if kind < 0.60:
        distance = rng.uniform(6.3, 10) if rng.random() < 0.7 else rng.uniform(10, 45)
        direction = rng.uniform(0, 2 * np.pi)
        if rng.random() < 0.6:  # along x more often: turned heads look much like it
            direction = rng.choice([0, 0, 1, 2, 3, 4, 4, 5, 6, 7]) * np.pi / 4
        shift = (distance * np.cos(direction), distance * np.sin(direction))
    elif kind < 0.80:
        zoom = np.exp(
            sign * (rng.uniform(0.17, 0.3) if rng.random() < 0.75 else rng.uniform(0.3, 0.7))
        )
    elif kind < 0.93:
        angle = sign * (rng.uniform(16, 25) if rng.random() < 0.7 else rng.uniform(25, 180))
    else:
        zoom = np.exp(rng.normal(0, 0.2)) * rng.choice([0.8, 1.22])
        shift, angle = pair(rng.normal(0, 7, 2)), rng.normal(0, 12)
    return Place(shift, zoom, angle)


def pair(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def border(rng: np.random.Generator) -> tuple[int, int]:
    """What moves into a crop from outside, and its grey level where that is plain."""
    return BORDERS[rng.integers(3)], int(rng.choice([0, 0, 127, 255]))


def move(face: np.ndarray, place: Place, mode: int, fill: int = 0) -> np.ndarray:
    """The picture stretched, enlarged and turned around its centre, then shifted."""
    tilt, narrow = rotation(place.upright), np.sqrt(place.stretch)
    linear = rotation(place.angle) * place.zoom @ tilt.T @ np.diag([narrow, 1 / narrow]) @ tilt
    centre = np.array([CENTRE, CENTRE])
    matrix = np.column_stack([linear, centre - linear @ centre + place.shift])
    if place.zoom < 0.7:  # no aliasing
        face = cv2.GaussianBlur(face, (0, 0), 0.5 / place.zoom)
    size = (IMAGE, IMAGE)
    return cv2.warpAffine(face, matrix, size, borderMode=mode, borderValue=fill)


def rotation(degrees: float) -> np.ndarray:
    """(2, 2), counter-clockwise on the screen, as OpenCV turns."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def uncut(face: np.ndarray, others: Sequence[np.ndarray], rng: np.random.Generator) -> Example:
    """A face at 15 to 78 % of its size, over its own surroundings or others, real or made up."""
    zoom = rng.uniform(0.15, 0.78) if rng.random() < 0.5 else rng.uniform(0.55, 0.78)
    free = (1 - zoom) * IMAGE / 2
    shift = pair(np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, 0.5)]) * free)
    place = Place(shift, zoom, rng.normal(0, 8))
    mask = np.zeros((IMAGE, IMAGE), np.float32)
    cv2.ellipse(mask, (IMAGE // 2, IMAGE // 2), (46, 62), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(3, 8))
    moved = move(face, place, cv2.BORDER_REPLICATE)
    weight = move(mask, place, cv2.BORDER_CONSTANT)
    around = backdrop(moved, others, rng)
    crop = (moved * weight + around * (1 - weight)).astype(np.uint8)
    unknown = np.full(GEOMETRY, UNKNOWN)
    return Example(degrade_some(crop, rng, 0.2), 1, UNKNOWN, unknown)


def backdrop(
    moved: np.ndarray, others: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    kind = rng.integers(6)
    if kind <= 1:
        other = moved if kind == 0 else grey(others[rng.integers(len(others))])
        top, left = rng.integers(0, 188, 2)
        part = cv2.resize(other, (300, 300))[top : top + IMAGE, left : left + IMAGE]
        return cv2.GaussianBlur(part, (0, 0), rng.uniform(1, 12))
    if kind == 2:
        return moved  # its last pixels go on to the edge
    if kind == 3:
        return np.full((IMAGE, IMAGE), rng.integers(256), np.uint8)
    if kind == 4:
        return np.clip(rng.uniform(0, 255) + 90 * slope(rng), 0, 255)
    spots = rng.integers(0, 256, (rng.integers(2, 12),) * 2).astype(np.uint8)
    return cv2.resize(spots, (IMAGE, IMAGE), interpolation=cv2.INTER_CUBIC)


def slope(rng: np.random.Generator) -> np.ndarray:
    """(112, 112) from about -1 to 1 in a random direction."""
    line = np.linspace(-1, 1, IMAGE)
    return line[None] * rng.uniform(-1, 1) + line[:, None] * rng.uniform(-1, 1)


def degrade_some(face: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    return degrade(face, rng) if rng.random() < share else face


def degrade(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of: blur, low resolution, exposure, haze, noise, a block, side light, motion, a border."""
    kind = rng.integers(9)
    if kind == 0:
        return cv2.GaussianBlur(face, (0, 0), rng.uniform(0.8, 5))
    if kind == 1:
        size = (int(rng.uniform(12, 60)),) * 2
        small = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (IMAGE, IMAGE))
    if kind == 2:
        return clipped(face * 2.0 ** rng.uniform(-3.5, 2.5))
    if kind == 3:
        contrast, level = rng.uniform(0.05, 0.8), rng.uniform(20, 235)
        return clipped(face * contrast + level * (1 - contrast))
    if kind == 4:
        return clipped(face + rng.normal(0, rng.uniform(5, 60), face.shape))
    if kind == 5:
        return blocked(face, rng)
    if kind == 6:
        return clipped(face * 2.0 ** (2 * slope(rng)))
    if kind == 7:
        return smeared(face, rng)
    return bordered(face, rng)


def clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def blocked(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A plain block: over chin, eyes, forehead, or anywhere."""
    face, kind, value = face.copy(), rng.integers(4), rng.integers(256)
    if kind == 0:
        face[IMAGE - int(rng.uniform(10, 64)) :] = value
    elif kind == 1:
        half = int(rng.uniform(3, 18))
        face[52 - half : 52 + half, 16:96] = value
    elif kind == 2:
        face[: int(rng.uniform(10, 40))] = value
    else:
        side = int(rng.uniform(20, 75))
        top, left = rng.integers(0, IMAGE - side, 2)
        face[top : top + side, left : left + side] = value
    return face


def smeared(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Motion blur of 3 to 25 pixels at a random angle."""
    length = int(rng.uniform(3, 25))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    centre = (length / 2 - 0.5,) * 2
    turned = cv2.getRotationMatrix2D(centre, rng.uniform(0, 180), 1)
    kernel = cv2.warpAffine(kernel, turned, (length, length))
    kernel /= max(float(kernel.sum()), 1e-3)
    return cv2.filter2D(face, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def bordered(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black on one side, as at the edge of a picture."""
    turns, width = int(rng.integers(4)), int(rng.uniform(1, 26))
    turned = np.rot90(face, turns).copy()
    turned[:width] = 0
    return np.ascontiguousarray(np.rot90(turned, -turns))
