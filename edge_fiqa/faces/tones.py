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

LEVELS = (8, 10, 12, 14)
"""Bits of cameras and converters, whose values are often stored with 16 as they are."""
OUTLIERS = 0.0005  # share of the values that hot pixels may take; they say nothing of the level
OVERSHOOT = 1.05  # values above a level's white that sharpening and resizing leave
SRGB_GAMMA = 1 / 2.2
TRANSFERS = {8: "linear", 16: "HDR (PQ)", 18: "HDR (HLG)"}
HEADER_BYTES = 1 << 20  # of a file, where its colours are described
PIXELS_AT_ONCE = 16_000_000
VALUES_AT_ONCE = 4_000_000
CLEAR = 0.1  # root mean square of the transparency (0 to 1) that is worth a warning


def eight_bits(values: npt.NDArray[np.uint16]) -> tuple[Bytes, tuple[str, ...]]:
    """0..65535 -> 0..255, of any shape. Values that end at 8, 10, 12 or 14 bits have their white there.

    What uses fewer than 16 bits is said: it cannot be told from a dark scene.
    """
    brightest = _brightest(values)
    taken = next((bits for bits in LEVELS if brightest <= (2**bits - 1) * OVERSHOOT), 16)
    white, used = 2**taken - 1, min(taken, max(1, brightest.bit_length()))
    scaled = np.empty(values.shape, np.uint8)
    for row in range(len(values)):  # a picture of floats would take four times the memory
        scaled[row] = np.minimum(np.rint(values[row].astype(np.float32) * (255 / white)), 255)
    if used == 16:
        return scaled, ()
    return scaled, (
        f"16-bit picture uses only {used} bits: taken as {taken} bits, white is {white}; "
        "a dark scene looks the same",
    )


def _brightest(values: npt.NDArray[np.uint16]) -> int:
    """The largest value, once the few that may be hot pixels are set aside."""
    counts = np.zeros(65536, np.int64)
    rows = max(1, VALUES_AT_ONCE // (values.size // len(values)))
    for first in range(0, len(values), rows):
        counts += np.bincount(values[first : first + rows].ravel(), minlength=65536)
    at_least = counts[::-1].cumsum()[::-1]
    return int(np.flatnonzero(at_least > OUTLIERS * values.size)[-1])


def opaque_eight_bits(values: npt.NDArray[np.uint16]) -> tuple[Bytes, tuple[str, ...]]:
    """(H, W, 4) of 0..65535, the last channel alpha -> (H, W, 3) of 0..255 laid over black."""
    alpha = (values[..., 3] >> 8).astype(np.uint8)
    colours, depth = eight_bits(values[..., :3])
    laid, hidden = over_black(colours, alpha)
    return laid, (*depth, *hidden)


def over_black(colours: Bytes, alpha: Bytes) -> tuple[Bytes, tuple[str, ...]]:
    """(H, W, 3) with (H, W) of 0..255 laid over black; transparency that hides all is ignored.

    A warning depends on how far alpha is from opaque: a little everywhere or much in one place.
    """
    if not alpha.any():
        return colours, ("all of it is transparent; transparency ignored",)
    laid = np.empty_like(colours)
    clear = squares = 0.0
    for row in range(len(colours)):
        product = colours[row].astype(np.uint16) * alpha[row][:, None]
        laid[row] = (product + 127) // 255
        transparency = 1 - alpha[row].astype(np.float64) / 255
        clear += float(transparency.sum())
        squares += float(transparency @ transparency)
    if squares <= CLEAR**2 * alpha.size:
        return laid, ()
    return laid, (f"{clear / alpha.size:.0%} of it is transparent; taken as black",)


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


def transfer_warnings(data: bytes) -> tuple[str, ...]:
    """What is said of an encoded PNG, AVIF or HEIC whose values follow no curve like sRGB's.

    By the code of the transfer characteristics (ITU-T H.273, table 3) in a PNG's cICP chunk, or in the
    colour box of an ISO base media file.
    """
    head = data[:HEADER_BYTES]
    if head.startswith(b"\x89PNG"):
        at, size = head.find(b"cICP") + 5, 1
    elif head[4:8] == b"ftyp":
        at, size = head.find(b"colrnclx") + 10, 2
    else:
        return ()
    name = TRANSFERS.get(int.from_bytes(head[at : at + size], "big")) if at > 10 else None
    return () if name is None else (f"its values are {name}; taken as sRGB",)


@cache
def _transform(data: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    return ImageCms.ImageCmsTransform(
        profile, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), mode, "RGB"
    )
