"""A picture of one face as a file that says what it is: the record of the face is in its metadata.

PNG keeps the pixels as they are, so an aligned crop that is scored again gets the same quality. JPEG
is smaller, for crops with some of their surroundings. Faces are personal data: files are 0600, in
folders that others cannot enter.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import ONLY_OWNER, private_folder, write_new
from edge_fiqa.record import SCHEMA, Record, to_json
from edge_fiqa.types import Bytes

CropSuffix = Literal[".png", ".jpg"]

JPEG_QUALITY: Final = 95
LONGEST_STEM: Final = 50  # characters, of up to 4 bytes; names of files have 255
UNSAFE: Final = re.compile(r"[^\w.+=@-]+")


def write_crop(path: Path, pixels: Bytes, record: Record) -> bool:
    """Writes (H, W, 3) uint8 RGB and its record into a new file, whole or not at all.

    path: ends in .png or .jpg. Folders that are missing are made, 0700; the file is 0600.
    False if there is a file of this name already: it stays as it is. Raises ConfigError if the file
    cannot be written.
    """
    data = encode_crop(pixels, record, path.suffix)
    try:
        private_folder(path.parent)
        write_new(path, data, ONLY_OWNER)
    except FileExistsError:
        if path.is_file():
            return False
        raise ConfigError(f"{path} cannot be written: there is something that is no file") from None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    return True


def encode_crop(pixels: Bytes, record: Record, suffix: str) -> bytes:
    """The bytes of the file. suffix: .png, or .jpg. Raises ConfigError for another one."""
    if suffix not in (".png", ".jpg"):
        raise ConfigError(f"a crop is a .png or a .jpg, not {suffix or 'a file without a suffix'}")
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    out = io.BytesIO()
    image, text = Image.fromarray(pixels), to_json(record)
    if suffix == ".png":
        metadata = PngInfo()
        metadata.add_itxt(SCHEMA, text.decode())
        image.save(out, "PNG", pnginfo=metadata)
        return out.getvalue()
    image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0, comment=text)
    return out.getvalue()


def read_crop_record(path: Path) -> Record | None:
    """The record that `write_crop` put into a file; None where there is none. Raises OSError."""
    from PIL import Image  # here, since commands that write no crop should start without it

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            text = image.info.get(SCHEMA) or image.info.get("comment")
    except (ValueError, SyntaxError):  # Pillow's, of damaged files
        return None
    except OSError as exc:
        if exc.errno is None:  # Pillow's as well: no picture, or one cut short
            return None
        raise
    try:
        # What Pillow gives for PNG is a class of its own, which msgspec does not read.
        return msgspec.json.decode(str(text) if isinstance(text, str) else text, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def crop_name(record: Record, suffix: CropSuffix = ".png") -> str:
    """`STEM-DIGEST-NUMBER.png`: of the source's name, of its whole path, and which of its faces.

    Two sources never share one, a second run gives the same.
    """
    source = record.source
    stem = UNSAFE.sub("_", Path(source).stem)[:LONGEST_STEM].lstrip(".-") or "face"
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    number = record.id.rpartition("#")[2]
    return f"{stem}-{digest}-{UNSAFE.sub('_', number)}{suffix}"
