"""From a file's values to sRGB with 8 bits: more bits, transparency, colour profiles, gamma."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_fiqa.types import Bytes

if TYPE_CHECKING:
    from PIL import ImageCms

WHITES = (1023, 4095)
"""Of cameras with 10 and 12 bits, whose values are often stored with 16 as they are."""
SRGB_GAMMA = 1 / 2.2
PIXELS_AT_ONCE = 16_000_000
HIDDEN = 0.05  # share of transparent pixels that is worth a warning


def eight_bits(values: npt.NDArray[np.uint16]) -> tuple[Bytes, tuple[str, ...]]:
    """0..65535 -> 0..255, of any shape. Values that end at 10 or 12 bits have their white there."""
    brightest = int(values.max())
    white = next((white for white in WHITES if 255 < brightest <= white), 65535)
    scaled = np.empty(values.shape, np.uint8)
    for row in range(len(values)):  # a picture of floats would take four times the memory
        scaled[row] = np.rint(values[row].astype(np.float32) * (255 / white))
    if white == 65535:
        return scaled, ()
    bits = white.bit_length()
    return scaled, (f"16-bit values end at {brightest}: taken as {bits} bits, white is {white}",)


def over_black(colours: Bytes, alpha: Bytes) -> tuple[Bytes, tuple[str, ...]]:
    """(H, W, 3) with (H, W) of 0..255 laid over black; transparency that hides all is ignored."""
    if not alpha.any():
        return colours, ("all of it is transparent; transparency ignored",)
    laid = np.empty_like(colours)
    for row in range(len(colours)):
        product = colours[row].astype(np.uint16) * alpha[row][:, None]
        laid[row] = (product + 127) // 255
    hidden = float((alpha < 128).mean())
    return laid, (f"{hidden:.0%} of it is transparent; taken as black",) if hidden > HIDDEN else ()


def to_srgb(pixels: Bytes, information: Mapping[Any, Any]) -> tuple[Bytes, tuple[str, ...]]:
    """(H, W, 3) RGB in the colours that Pillow's `information` names -> sRGB, with what was done.

    A profile is converted by its definition (ICC.1), perceptual intent. Where there is none, a PNG's
    gAMA other than 1/2.2 is evened out (PNG specification, 13.13).
    """
    if profile := information.get("icc_profile"):
        return _by_profile(pixels, profile)
    gamma = information.get("gamma")
    if gamma and "srgb" not in information and abs(gamma - SRGB_GAMMA) > 0.05:
        table = np.rint(255 * (np.arange(256) / 255) ** (SRGB_GAMMA / gamma)).astype(np.uint8)
        return table[pixels], (f"gamma {gamma:g} converted to sRGB",)
    return pixels, ()


def _by_profile(pixels: Bytes, data: bytes) -> tuple[Bytes, tuple[str, ...]]:
    from PIL import Image, ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = " ".join(ImageCms.getProfileDescription(profile).split())
        if "srgb" in name.lower().replace(" ", ""):
            return pixels, ()
        grey = profile.profile.xcolor_space.strip() == "GRAY"
        transform = _transform(data, "L" if grey else "RGB")
        converted = np.empty_like(pixels)
        rows = max(1, PIXELS_AT_ONCE // pixels.shape[1])
        for first in range(0, len(pixels), rows):
            part = np.ascontiguousarray(pixels[first : first + rows, :, 0 if grey else slice(3)])
            image = Image.fromarray(part)
            converted[first : first + rows] = np.asarray(transform.apply(image))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as exc:
        return pixels, (f"its colour profile cannot be used ({exc}); taken as sRGB",)
    return converted, (f"colour profile {name} converted to sRGB",)


@cache
def _transform(data: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    return ImageCms.ImageCmsTransform(
        profile, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), mode, "RGB"
    )
