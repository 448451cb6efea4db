"""Does a 112x112 picture look like a crop aligned to the template, in the right order of colours?

Two small networks on 28x28 brightness values, learnt from aligned crops and the same crops shifted,
scaled, turned and uncut (calibration/crop_check.py); the mean of their answers counts. They answer
for every face by itself. Colours are judged by one weighted sum over a grid of 7x7.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edge_fiqa.faces.border import FACE_CUT, FACE_WINDOW
from edge_fiqa.types import IMAGE, Array, Bytes

CONSTANTS: Final = Path(__file__).with_name("crop_check.npz")
SIDE: Final = 28  # pixels a side of the brightness values
COLOUR_GRID: Final = 7

UNALIGNED: Final = "does not look like an aligned crop"
FALSE_ALARMS: Final = 0.05
"""Share of a set of faces above which it is said to be unaligned: ten times that of aligned sets."""
FEATURELESS: Final = "shows no features of a face"
LEAST_CONTRAST: Final = 0.8
"""Standard deviation of the brightness, 0 to 255, less a surface of second degree. Test faces in an
eighth of their light reach down to 1.1."""
LEAST_DETAIL: Final = 0.2
"""The same as a share of the standard deviation of all. Blurred test faces reach down to 0.38."""
OTHER_SIZE: Final = "looks like an aligned crop of another size; --aligned takes it as such"
SWAPPED: Final = "channels look swapped (BGR for RGB)"


def crop_warnings(crop: Bytes) -> tuple[str, ...]:
    """What a record says of a crop (112, 112, 3) uint8 RGB that looks wrong; the texts are stable."""
    warnings = []
    if is_featureless(crop):
        return (FEATURELESS,)
    if (plain := plain_share(crop)) > FACE_CUT:
        warnings.append(f"{100 * plain:.0f} % of the face is one plain colour")
    if misaligned_by(crop) > 0:
        warnings.append(UNALIGNED)
    elif colour_margin(crop) < 0:  # only where the skin is where it should be
        warnings.append(SWAPPED)
    return tuple(warnings)


def is_featureless(crop: Bytes) -> bool:
    """Whether there is hardly any contrast where the face is, or nothing but a gradual change."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[7:26, 7:21]
    y, x = np.mgrid[-1:1:19j, -1:1:14j].reshape(2, -1)
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    values = small.ravel().astype(np.float64)
    coefficients = np.linalg.lstsq(surface, values, rcond=None)[0]
    rest = float(np.std(values - surface @ coefficients))
    return rest < LEAST_CONTRAST or rest < LEAST_DETAIL * float(values.std())


def plain_share(crop: Bytes) -> float:
    """Share of the face's window without any change around a pixel: blacked out, or never there."""
    window = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[FACE_WINDOW]
    limit = min(2, int(0.02 * np.ptp(window.astype(int))))
    around = np.ones((5, 5), np.uint8)
    change = cv2.subtract(cv2.dilate(crop, around), cv2.erode(crop, around)).max(axis=2)
    return float((change[FACE_WINDOW] <= limit).mean())


def unaligned_note(unaligned: int, faces: int) -> str | None:
    """What is said of a set of aligned faces of which so many do not look aligned, if anything."""
    if unaligned <= FALSE_ALARMS * faces:
        return None
    return f"{unaligned} of {faces} faces do not look like aligned crops"


def misaligned_by(crop: Bytes) -> float:
    """How far the networks' answer lies above the limit: positive means not aligned.

    The mean over both networks, the crop and its mirror image. Unit: natural logarithm of odds.
    """
    constants = _constants()
    values = alignment_input(crop)
    pair = np.stack([values, values[:, ::-1]])
    answers = (_convolutional(pair, constants), _fully_connected(pair, constants))
    return float(np.mean(answers) - constants["limit"])


def colour_margin(crop: Bytes) -> float:
    """How far the weighted sum of red minus blue lies above its limit: negative means swapped."""
    constants = _constants()
    return float(colour_input(crop) @ constants["colour"] + constants["colour_limit"])


def alignment_input(crop: Bytes) -> Array:
    """(28, 28) brightness of a crop, freed of light and contrast around each place."""
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


def _convolutional(inputs: Array, constants: dict[str, Array]) -> Array:
    """(N,) logits of (N, 28, 28): two convolutions of stride 2, two full layers, ReLU between."""
    maps = _convolve(inputs[..., None], constants["conv1"], constants["conv1_bias"], 5)
    maps = _convolve(maps, constants["conv2"], constants["conv2_bias"], 3)
    flat = maps.reshape(len(maps), -1)
    hidden = np.maximum(flat @ constants["full1"] + constants["full1_bias"], 0)
    return np.asarray(hidden @ constants["full2"] + constants["full2_bias"])


def _convolve(maps: Array, weights: Array, bias: Array, side: int) -> Array:
    """(N, H, W, C) maps, (C * side * side, K) weights -> (N, H', W', K) after ReLU, stride 2."""
    windows = sliding_window_view(maps, (side, side), axis=(1, 2))[:, ::2, ::2]
    count, height, width = windows.shape[:3]
    product = windows.reshape(count * height * width, -1) @ weights + bias
    return np.asarray(np.maximum(product, 0).reshape(count, height, width, -1))


def _fully_connected(inputs: Array, constants: dict[str, Array]) -> Array:
    """(N,) logits of (N, 28, 28): three full layers, ReLU between."""
    hidden = inputs.reshape(len(inputs), -1)
    for layer in ("dense1", "dense2"):
        hidden = np.maximum(hidden @ constants[layer] + constants[f"{layer}_bias"], 0)
    return np.asarray(hidden @ constants["dense3"] + constants["dense3_bias"])


@cache
def _constants() -> dict[str, Array]:
    with np.load(CONSTANTS, allow_pickle=False) as file:
        return {name: file[name].astype(np.float32) for name in file.files}
