"""Images that Pillow decodes: CMYK, palettes, transparency, and all formats but JPEG and PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.container_checks import check_size, refused, too_large
from edge_fiqa.faces.formats import is_avif, is_heif
from edge_fiqa.faces.images import DecodedImage, opencv_decode, reduction, smaller_by, to_rgb
from edge_fiqa.faces.part_counts import check_parts
from edge_fiqa.faces.tones import eight_bits, opaque_eight_bits, over_black, to_srgb
from edge_fiqa.types import Bytes

ANY_DEPTH = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
OTHER_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What Pillow may decode. Not EPS: reading one runs Ghostscript on it, whatever the file's name."""
MORE = "the file holds several pictures; only the first is taken"
TIFF_KIND, TIFF_BITS, TIFF_SAMPLES, DNG_VERSION = 254, 258, 277, 50706


def decode_with_pillow(data: bytes, name: str, max_pixels: int) -> DecodedImage:
    """As `picture_of`, of the uncommon kinds. Raises ImageRefused("unreadable")."""
    check_parts(data, name)
    try:
        image = _opened(data, name)
        check_size(*image.size, name, max_pixels)
        _check_whole(image, data, name)
        reduced = reduction(*image.size)
        image.draft(None, (image.width // reduced, image.height // reduced))  # a JPEG's
        picture = _decoded(image, data, reduced, name)
        return replace(picture, warnings=(*picture.warnings, MORE)) if _has_more(image) else picture
    except ImageRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        # Pillow's own limit, for frames that are larger than the picture's header says.
        pixels = re.search(r"\d+", str(exc))
        count = int(pixels[0]) if pixels else max_pixels + 1
        raise too_large("it is", count, name, max_pixels) from exc
    except UnidentifiedImageError as exc:
        raise refused(
            name, "it is not an image that can be read; convert it to JPEG or PNG"
        ) from exc
    except Exception as exc:  # Pillow raises what its many decoders raise
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise refused(name, f"it is damaged ({reason}); copy it again") from exc


def _decoded(image: Image.Image, data: bytes, reduced: int, name: str) -> DecodedImage:
    drafted = reduced if image.format in ("JPEG", "MPO") else 1
    if image.format == "TIFF" and _deep_colours(image):
        return _deep_tiff(data, image, name)
    image.load()
    if drafted != reduced:
        image = _reducible(image).reduce(reduced)
    return _as_rgb(ImageOps.exif_transpose(image), reduced, name)


def _reducible(image: Image.Image) -> Image.Image:
    """In a mode whose pixels Pillow can average: neither indices of a palette, nor bits, nor I;16."""
    if image.mode in ("1", "P", "PA"):
        has_alpha = image.mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if has_alpha else "RGB")
    return image.convert("I") if image.mode.startswith("I;") else image


def _has_more(image: Image.Image) -> bool:
    """Pages, frames or pictures after the first."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow raises what its decoders raise; the first picture has been read
        return False


def _opened(data: bytes, name: str) -> Image.Image:
    """By Pillow's plugins themselves: `Image.open` has a limit on pixels of its own, below ours."""
    if is_heif(data):
        try:
            from pillow_heif import HeifImageFile
        except ImportError as exc:
            raise refused(
                name, "HEIC needs another library; run pip install 'edge-fiqa[heic]'"
            ) from exc
        heic: Image.Image = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
        return heic
    if is_avif(data) and not features.check("avif"):
        raise refused(name, "AVIF needs Pillow 11.3 or later; run pip install -U pillow")
    Image.init()
    for form in OTHER_FORMATS:
        factory, accept = Image.OPEN.get(form, (None, None))
        if factory is not None and accept is not None and accept(data[:16]):
            return _by_plugin(factory, data, name)
    raise UnidentifiedImageError


def _by_plugin(
    factory: Callable[[io.BytesIO, str], Image.Image], data: bytes, name: str
) -> Image.Image:
    """Raises ImageRefused for pixels without a mode in Pillow: floats of three colours, for example."""
    try:
        return factory(io.BytesIO(data), "")
    except SyntaxError as exc:
        if "unknown pixel mode" not in str(exc):
            raise
        raise refused(
            name, "its kind of pixels is not supported; save it with 8 or 16 bits a colour"
        ) from exc


def _check_whole(image: Image.Image, data: bytes, name: str) -> None:
    """Raises ImageRefused for a JPEG 2000 cut short, and for raw files, which show a preview."""
    if image.format == "JPEG2000" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\x90"):
        raise refused(name, "the JPEG 2000 is cut short; copy it again")
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and (DNG_VERSION in tags or tags.get(TIFF_KIND, 0) & 1):
        raise refused(name, "it is raw data of a camera; convert it to JPEG or PNG")


def _deep_colours(image: Image.Image) -> bool:
    """A TIFF with colours of 16 bits, of which Pillow would keep the upper 8."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(TIFF_SAMPLES, 1) >= 3 and max(tags.get(TIFF_BITS, (8,))) == 16


def _deep_tiff(data: bytes, image: Image.Image, name: str) -> DecodedImage:
    reduced = reduction(*image.size)
    if image.mode == "RGBA":
        pixels, warnings = opaque_eight_bits(opencv_decode(data, cv2.IMREAD_UNCHANGED, name))
    else:
        pixels, warnings = eight_bits(opencv_decode(data, ANY_DEPTH, name))
    pixels, said = to_srgb(to_rgb(smaller_by(pixels, reduced)), image.info)
    return DecodedImage(pixels, reduced, (*warnings, *said))


def _as_rgb(image: Image.Image, reduced: int, name: str) -> DecodedImage:
    if image.mode.startswith(("I", "F")):
        grey, said = _known_white(np.asarray(image), name)
        return DecodedImage(np.repeat(grey[..., None], 3, axis=2), reduced, said)
    warnings: tuple[str, ...] = ()
    information = dict(image.info)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in information:
        values = np.asarray(image.convert("RGBA"))
        pixels, warnings = over_black(np.ascontiguousarray(values[..., :3]), values[..., 3])
    elif image.mode == "CMYK" and "icc_profile" in information:
        return _cmyk(image, information["icc_profile"], reduced)
    else:
        pixels = np.array(image.convert("RGB"))
    pixels, said = to_srgb(pixels, information)
    return DecodedImage(pixels, reduced, (*warnings, *said))


def _cmyk(image: Image.Image, profile: bytes, reduced: int) -> DecodedImage:
    try:
        converted = ImageCms.profileToProfile(
            image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert converted is not None  # it is not done in place
        return DecodedImage(np.array(converted), reduced)
    except ImageCms.PyCMSError as exc:
        said = f"its colour profile cannot be used ({exc}); converted without"
        return DecodedImage(np.array(image.convert("RGB")), reduced, (said,))


def _known_white(grey: npt.NDArray[np.generic], name: str) -> tuple[Bytes, tuple[str, ...]]:
    """(H, W) of 0..65535 -> 0..255. Values without a known white are refused."""
    if grey.dtype.kind not in "iu" or grey.min() < 0 or grey.max() > 65535:
        raise refused(
            name, f"its {grey.dtype} values have no known white; save it with 8 or 16 bits"
        )
    return eight_bits(grey.astype(np.uint16))
