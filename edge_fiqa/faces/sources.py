"""From what the user names to aligned faces: paths first, then the faces in each image."""

from __future__ import annotations

import codecs
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import cv2

from edge_fiqa.errors import ConfigError, FailureCode, ImageRefused
from edge_fiqa.faces.align import align, align_given
from edge_fiqa.faces.crop_check import crop_warnings
from edge_fiqa.faces.detector import YuNet
from edge_fiqa.faces.images import decode, printable
from edge_fiqa.faces.landmark_fit import fit_warnings
from edge_fiqa.faces.landmarks import Landmarks
from edge_fiqa.types import IMAGE, Box, Bytes, Point

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".ppm", ".pgm")
)
SMALLEST_SIDE = 80  # a square image from here on is taken for an aligned crop of another size
SPHEREFACE_WIDTH = 96
"""Of the 96x112 crops of SphereFace and CosFace; ArcFace's template is theirs moved by 8 pixels."""


@dataclass(frozen=True)
class FaceCrop:
    """One aligned face. crop: (112, 112, 3) uint8 RGB; box and landmarks: where it was found.

    person: faces of one person (a track of video) share a name, so that audits count them once.
    """

    id: str
    source: str
    crop: Bytes
    box: Box | None = None
    landmarks: tuple[Point, ...] | None = None
    warnings: tuple[str, ...] = ()
    person: str | None = None


@dataclass(frozen=True)
class RefusedFace:
    """One face, or a whole image, that cannot be scored, and why."""

    id: str
    source: str
    code: FailureCode
    reason: str
    box: Box | None = None
    landmarks: tuple[Point, ...] | None = None


def expand(inputs: Iterable[str], stdin: TextIO) -> Iterator[Path]:
    """Files as they are, images under folders in sorted order, and for `-` the lines of `stdin`.

    Each path once, however it is spelt. A path that does not exist is passed on: it becomes a
    record, not the run's end. Hidden entries and links to folders are not followed. Memory does not
    grow with the number of images where one folder is all there is to expand.
    """
    if isinstance(inputs, Sequence) and len(inputs) == 1 and inputs[0] != "-":
        yield from _images_under(Path(inputs[0]))
        return
    seen: set[str] = set()
    for entry in inputs:
        for line in _lines(stdin) if entry == "-" else (entry,):
            for path in _images_under(Path(line)):
                place = str(path.absolute())
                if place not in seen:
                    seen.add(place)
                    yield path


def _lines(stdin: TextIO) -> Iterator[str]:
    """Lines that are not empty. File names are bytes: those that are not UTF-8 pass unharmed.

    A byte order mark, as Windows' editors write it, is no part of the first name.
    """
    raw = getattr(stdin, "buffer", None)
    lines = (os.fsencode(line) for line in stdin) if raw is None else raw
    for number, line in enumerate(lines):
        name = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
        if number == 0 and name.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ConfigError("the list on standard input is UTF-16; save it as UTF-8")
        if name := name.rstrip(b"\r\n"):
            yield os.fsdecode(name)


def _images_under(path: Path) -> Iterator[Path]:
    if not os.path.isdir(path):  # noqa: PTH112, Path.is_dir raises for long and forbidden names
        yield path
        return
    try:
        with os.scandir(path) as entries:
            found = sorted(
                (e.name, e.is_dir(follow_symlinks=False))
                for e in entries
                if not e.name.startswith(".")
            )
    except OSError:
        yield path  # unreadable folder: decoding it will say so in a record
        return
    for name, is_folder in found:
        if is_folder:
            yield from _images_under(path / name)
        elif Path(name).suffix.lower() in SUFFIXES:
            yield path / name


class FaceReader:
    """Image file -> aligned faces: by landmarks, by a detector, or as the crop that it already is.

    aligned: every square picture is an aligned crop of some size, and no face is looked for.

    May be shared between threads; each gets its own detector. Raises ConfigError for a detector that
    cannot be loaded, and for two ways to the faces at once.
    """

    def __init__(
        self,
        detector: Path | None = None,
        landmarks: Landmarks | None = None,
        min_eye_px: float = 10.0,
        *,
        aligned: bool = False,
    ) -> None:
        given = [
            flag
            for flag, value in (
                ("--aligned", aligned),
                ("--detector", detector is not None),
                ("--landmarks", landmarks is not None),
            )
            if value
        ]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} contradict each other; give one of them")
        self.aligned = aligned
        self.detector, self.landmarks, self.min_eye_px = detector, landmarks, min_eye_px
        self._local = threading.local()
        if detector is not None:
            self._local.yunet = YuNet(detector)

    def faces_of(self, path: Path) -> list[FaceCrop | RefusedFace]:
        """Every face of one image; one refusal where there is none, or the image is unreadable."""
        try:
            image = decode(path)
            if self.landmarks is None and self.detector is None:
                return [as_crop(image, printable(path))]
            return [
                self._aligned(image, path, number, box, points)
                for number, (box, points) in enumerate(self._found(image, path))
            ]
        except ImageRefused as refusal:
            name = printable(path)
            return [RefusedFace(f"{name}#0", name, refusal.code, str(refusal))]

    def _found(self, image: Bytes, path: Path) -> list[tuple[Box | None, tuple[Point, ...]]]:
        if self.landmarks is not None:
            height, width = image.shape[:2]
            if not (known := self.landmarks.in_picture(path, width, height)):
                file = self.landmarks.file
                raise ImageRefused("no_face", f"{printable(path)}: {file} has no landmarks for it")
            return [(None, points) for points in known]
        if not (faces := self._yunet().detect(image)):
            raise ImageRefused("no_face", f"{printable(path)}: no face found")
        return [
            (face.box, tuple((float(x), float(y)) for x, y in face.landmarks)) for face in faces
        ]

    def _yunet(self) -> YuNet:
        if not hasattr(self._local, "yunet"):
            assert self.detector is not None  # callers have checked
            self._local.yunet = YuNet(self.detector)
        yunet: YuNet = self._local.yunet
        return yunet

    def _aligned(
        self, image: Bytes, path: Path, number: int, box: Box | None, points: tuple[Point, ...]
    ) -> FaceCrop | RefusedFace:
        source = printable(path)
        name = f"{source}#{number}"
        align_face = align if self.landmarks is None else align_given
        try:
            crop = align_face(image, points, self.min_eye_px)
        except ImageRefused as refusal:
            return RefusedFace(name, source, refusal.code, f"{name}: {refusal}", box, points)
        return FaceCrop(name, source, crop, box, points)


def face_warnings(face: FaceCrop) -> tuple[str, ...]:
    """What its record says of a face whose landmarks or whose crop look wrong."""
    poor = fit_warnings(face.landmarks) if face.landmarks is not None else ()
    return (*poor, *crop_warnings(face.crop))


def as_crop(image: Bytes, name: str) -> FaceCrop:
    """An image that is an aligned face already, resized if need be. Raises ImageRefused.

    A 96x112 picture is a crop by the template of SphereFace and CosFace (arXiv:1704.08063), which
    is ArcFace's less 8 columns on either side.
    """
    height, width = image.shape[:2]
    warnings: tuple[str, ...] = ()
    if (width, height) == (SPHEREFACE_WIDTH, IMAGE):
        side = (IMAGE - SPHEREFACE_WIDTH) // 2
        image = cv2.copyMakeBorder(image, 0, 0, side, side, cv2.BORDER_REPLICATE)
        return FaceCrop(f"{name}#0", name, image, warnings=("mapped from a 96x112 crop",))
    if height != width or height < SMALLEST_SIDE:
        raise ImageRefused(
            "no_face",
            f"{name} is {width}x{height}, not an aligned {IMAGE}x{IMAGE} face; "
            "give --detector YUNET.onnx or --landmarks FILE",
        )
    if height != IMAGE:
        method = cv2.INTER_AREA if height > IMAGE else cv2.INTER_LINEAR
        image = cv2.resize(image, (IMAGE, IMAGE), interpolation=method)
        warnings = (f"resized from {width}x{height}",)
    return FaceCrop(f"{name}#0", name, image, warnings=warnings)
