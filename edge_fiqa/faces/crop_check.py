"""Does a 112x112 picture look like a crop aligned to the template, in the right order of colours?

A small network on 40x40 brightness values, learnt from aligned crops and the same crops shifted,
scaled, turned, stretched and uncut (calibration/crop_check.py). It answers for every face by itself,
and estimates where the face lies. Colours are judged by one weighted sum over a grid of 7x7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from edge_fiqa.faces.border import FACE_CUT, FACE_WINDOW
from edge_fiqa.types import IMAGE, Array, Bytes, Floats

CONSTANTS: Final = Path(__file__).with_name("crop_check.npz")
SIDE: Final = 40  # pixels a side of the brightness values
DETAIL_SIDE: Final = 28  # the same where features of a face are looked for
COLOUR_GRID: Final = 7
UNITS: Final = np.array([8, 8, 0.2, 20, 0.2], np.float32)
"""Of the estimates: shift in x and in y (pixels), zoom (logarithm), degrees, width (logarithm)."""
MIRRORED: Final = np.array([1, 1, -1, 1, 1, -1, 1], np.float32)
"""What mirroring a crop does to moved, stretched and the estimates."""

UNALIGNED: Final = "does not look like an aligned crop"
TOO_WIDE: Final = "looks stretched in width: give the picture in its own proportions"
TOO_TALL: Final = "looks stretched in height: give the picture in its own proportions"
LEAST_STRETCH: Final = 1.1
"""Estimated width over height from which a crop that is blamed as stretched is said to be."""
FALSE_ALARMS: Final = 0.05
"""Share of a set of faces above which it is said to be unaligned: ten times that of aligned sets."""
FACE_DETAIL: Final = (slice(7, 26), slice(7, 21))
"""Rows and columns of those that hold the face."""
FEATURELESS: Final = "shows no features of a face"
LEAST_CONTRAST: Final = 0.8
"""Standard deviation of the brightness, 0 to 255, less a surface of second degree. Test faces in an
eighth of their light reach down to 1.1."""
LEAST_DETAIL: Final = 0.2
"""The same as a share of the standard deviation of all. Blurred test faces reach down to 0.31."""
OTHER_SIZE: Final = "looks like an aligned crop of another size; --aligned takes it as such"
ONE_THREAD_PRODUCTS: Final = 1 << 17
"""Multiplications of two matrices that OpenBLAS does not yet spread over threads, with a reserve."""
SWAPPED: Final = "channels look swapped (BGR for RGB)"


def crop_warnings(crop: Bytes) -> tuple[str, ...]:
    """What a record says of a crop (112, 112, 3) uint8 RGB that looks wrong; the texts are stable."""
    warnings = []
    if is_featureless(crop):
        return (FEATURELESS,)
    if (plain := plain_share(crop)) > FACE_CUT:
        warnings.append(f"{100 * plain:.0f} % of the face is one plain colour")
    place = _place_warnings(check_alignment(crop))
    if not place and colour_margin(crop) < 0:  # only where the skin is where it should be
        warnings.append(SWAPPED)
    return (*warnings, *place)


def _place_warnings(check: AlignmentCheck) -> tuple[str, ...]:
    stretch: tuple[str, ...] = ()
    if check.is_stretched and max(check.width, 1 / check.width) > LEAST_STRETCH:
        stretch = (TOO_WIDE if check.width > 1 else TOO_TALL,)
    unaligned = check.moved > 0 or (check.stretched > 0 and not stretch)
    return ((UNALIGNED,) if unaligned else ()) + stretch


def is_featureless(crop: Bytes) -> bool:
    """Whether there is hardly any contrast where the face is, or nothing but a gradual change."""
    contrast, detail = features_of(crop)
    return contrast < LEAST_CONTRAST or detail < LEAST_DETAIL


def features_of(crop: Bytes) -> tuple[float, float]:
    """Standard deviation of the brightness (0 to 255) where the face is, less a surface of second
    degree; and the same as a share of the standard deviation of all (0 for a plain crop)."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (DETAIL_SIDE, DETAIL_SIDE)
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)[FACE_DETAIL]
    values = small.ravel().astype(np.float64)
    surface = _surface_basis()
    rest, whole = float(np.std(values - surface @ (values @ surface))), float(values.std())
    return rest, rest / whole if whole > 0 else 0.0


@cache
def _surface_basis() -> Floats:
    """(266, 6) orthonormal basis of the surfaces of second degree over those rows and columns."""
    y, x = np.mgrid[-1:1:19j, -1:1:14j].reshape(2, -1)
    return np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))[0]


def plain_share(crop: Bytes) -> float:
    """Share of the face's window without any change around a pixel: blacked out, or never there."""
    window = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[FACE_WINDOW]
    darkest, brightest, _, _ = cv2.minMaxLoc(window)
    limit = min(2, int(0.02 * (brightest - darkest)))
    around = np.ones((5, 5), np.uint8)
    rows, columns = FACE_WINDOW
    wider = crop[rows.start - 2 : rows.stop + 2, columns.start - 2 : columns.stop + 2]
    change = cv2.subtract(cv2.dilate(wider, around), cv2.erode(wider, around))[2:-2, 2:-2]
    plain = cv2.inRange(change, (0, 0, 0), (limit, limit, limit))  # in all three colours
    return cv2.countNonZero(plain) / plain.size


def unaligned_note(unaligned: int, faces: int) -> str | None:
    """What is said of a set of aligned faces of which so many do not look aligned, if anything."""
    if unaligned <= FALSE_ALARMS * faces:
        return None
    return f"{unaligned} of {faces} faces do not look like aligned crops"


def misaligned_by(crop: Bytes) -> float:
    """How far the network's answers lie above their limits: positive means not aligned.

    The larger of the answers to "moved" and "stretched". Unit: natural logarithm of odds.
    """
    check = check_alignment(crop)
    return max(check.moved, check.stretched)


@dataclass(frozen=True)
class AlignmentCheck:
    """moved, stretched: logarithm of odds above the limit; positive means that the crop is blamed.

    shift: (x, y) pixels by which the face lies too far right and down. zoom: its size, degrees: by
    which it is turned counter-clockwise, width: over its height, each against an aligned face. These
    are estimates, for crops that show most of a face.
    """

    moved: float
    stretched: float
    shift: tuple[float, float]
    zoom: float
    degrees: float
    width: float

    @property
    def is_stretched(self) -> bool:
        """Rather than moved, whose estimates mean little."""
        return self.stretched > max(0.0, self.moved)


def check_alignment(crop: Bytes) -> AlignmentCheck:
    """Where the face of a crop (112, 112, 3) uint8 RGB lies: mean over it and its mirror image."""
    constants = _constants()
    values = alignment_input(crop)
    answers, mirrored = _network(np.stack([values, values[:, ::-1]]), constants)
    moved, stretched, *geometry = (answers + mirrored * MIRRORED) / 2
    x, y, zoom, degrees, width = np.array(geometry) * UNITS
    return AlignmentCheck(
        float(moved - constants["limits"][0]),
        float(stretched - constants["limits"][1]),
        (float(x), float(y)),
        float(np.exp(zoom)),
        float(degrees),
        float(np.exp(width)),
    )


def colour_margin(crop: Bytes) -> float:
    """How far the weighted sum of red minus blue lies above its limit: negative means swapped."""
    constants = _constants()
    return float(colour_input(crop) @ constants["colour"] + constants["colour_limit"])


def alignment_input(crop: Bytes) -> Array:
    """(40, 40) brightness of a crop, freed of light and contrast around each place."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    replicate = cv2.BORDER_REPLICATE
    high = small - cv2.GaussianBlur(small, (0, 0), SIDE / 7, borderType=replicate)
    spread = np.sqrt(cv2.GaussianBlur(high * high, (0, 0), SIDE / 5, borderType=replicate))
    return np.asarray(high / (spread + 0.15 * high.std() + 0.5), np.float32)


def colour_input(crop: Bytes) -> Array:
    """(49,) red minus blue as a share of the brightness, on a grid over the middle of a crop."""
    inner = crop[IMAGE // 4 : -IMAGE // 8, IMAGE // 4 : -IMAGE // 4]
    small = cv2.resize(inner, (COLOUR_GRID, COLOUR_GRID), interpolation=cv2.INTER_AREA)
    values = small.astype(np.float32)
    return np.asarray((values[..., 0] - values[..., 2]) / (values.sum(axis=2) + 30)).ravel()


def _network(inputs: Array, constants: dict[str, Array]) -> Array:
    """(N, 7) answers for (N, 40, 40): three convolutions of stride 2, two full layers, ReLU between."""
    maps = inputs[..., None]
    for layer, side in (("conv1", 5), ("conv2", 3), ("conv3", 3)):
        maps = _convolve(maps, constants[layer], constants[f"{layer}_bias"], side)
    flat = maps.reshape(len(maps), -1)
    hidden = np.maximum(_product(flat, constants["full1"]) + constants["full1_bias"], 0)
    return np.asarray(_product(hidden, constants["full2"]) + constants["full2_bias"])


def _convolve(maps: Array, weights: Array, bias: Array, side: int) -> Array:
    """(N, H, W, C) maps, (C * side * side, K) weights -> (N, H', W', K) after ReLU, stride 2."""
    places = _places(maps.shape[1:], side)
    windows = maps.reshape(len(maps), -1).take(places, axis=1)
    product = _product(windows.reshape(-1, len(weights)), weights)
    product += bias
    np.maximum(product, 0, out=product)
    return product.reshape(len(maps), *places.shape[:2], -1)


@cache
def _places(shape: tuple[int, ...], side: int) -> npt.NDArray[np.intp]:
    """(H', W', C * side * side) places in one flat map (H, W, C) that a convolution reads."""
    flat = np.arange(np.prod(shape)).reshape(shape)
    windows = sliding_window_view(flat, (side, side), axis=(0, 1))[::2, ::2]
    return windows.reshape(*windows.shape[:2], -1)


def _product(a: Array, b: Array) -> Array:
    """a @ b in blocks that OpenBLAS computes in this thread.

    A fork stops the threads of OpenBLAS, and whoever waits for one of them then waits for ever.
    Products of matrices are spread from 2^18 multiplications on, one row by a matrix much earlier.
    """
    rows = max(1, ONE_THREAD_PRODUCTS // b.size)
    product = np.empty((len(a), b.shape[1]), np.float32)
    for start in range(0, len(a), rows):
        block = a[start : start + rows]
        product[start : start + rows] = (
            block @ b if len(block) > 1 else (block.repeat(2, axis=0) @ b)[:1]
        )
    return product


@cache
def _constants() -> dict[str, Array]:
    with np.load(CONSTANTS, allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in file.files}
