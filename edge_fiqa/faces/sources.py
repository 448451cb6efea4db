"""From an image file to aligned faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from edge_fiqa.errors import ConfigError, FailureCode, ImageRefused
from edge_fiqa.faces.align import align, align_given
from edge_fiqa.faces.border import border_warnings
from edge_fiqa.faces.crop_check import OTHER_SIZE, crop_warnings, misaligned_by
from edge_fiqa.faces.detector import NO_DETECTOR, DetectedFace
from edge_fiqa.faces.images import (
    MAX_PIXELS,
    DecodedImage,
    path_of,
    printable,
    read_picture,
    read_picture_bytes,
)
from edge_fiqa.faces.landmark_fit import fit_warnings
from edge_fiqa.faces.landmarks import Landmarks
from edge_fiqa.faces.photo_detector import PhotoDetector
from edge_fiqa.types import IMAGE, Box, Bytes, Point

SMALLEST_SIDE = 80  # a square image from here on is taken for an aligned crop of another size
MUCH_LARGER = 2  # times the detector's size: small faces may be missed
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


def check_ways(*, aligned: bool, detector: bool, landmarks: bool) -> bool:
    """Say whether one way to the faces was asked for. Raises ConfigError if several were."""
    ways = {"--aligned": aligned, "--detector": detector, "--landmarks": landmarks}
    given = [flag for flag, value in ways.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} contradict each other; give one of them")
    return bool(given)


class FaceReader:
    """Image file -> aligned faces: by landmarks, by a detector, or as the crop that it already is.

    detector: the file of a YuNet, or one that is loaded already.
    crops_pass: a picture of 112x112 is an aligned crop; the detector gets all others.
    aligned: every square picture is an aligned crop of some size, and no face is looked for.
    largest: only the largest face of every picture. max_pixels: of a picture, see read_picture.

    May be shared between threads. Raises ConfigError for a detector that cannot be loaded, and for two
    ways to the faces at once.
    """

    def __init__(
        self,
        detector: Path | str | PhotoDetector | None = None,
        landmarks: Landmarks | None = None,
        min_eye_px: float = 10.0,
        *,
        crops_pass: bool = False,
        aligned: bool = False,
        largest: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        given = check_ways(
            aligned=aligned,
            detector=detector is not None and not crops_pass,
            landmarks=landmarks is not None,
        )
        if isinstance(detector, (Path, str)):
            detector = PhotoDetector(detector)
        if detector is not None and not hasattr(detector, "detect"):
            raise ConfigError(
                f"a detector is the path of a YuNet or a PhotoDetector, not a {_kind(detector)}"
            )
        if landmarks is not None and not hasattr(landmarks, "in_picture"):
            raise ConfigError(f"landmarks are what read_landmarks gives, not a {_kind(landmarks)}")
        self.detector = None if given and crops_pass else detector
        self.crops_pass, self.aligned, self.largest = crops_pass, aligned, largest
        self.landmarks, self.min_eye_px, self.max_pixels = landmarks, min_eye_px, max_pixels

    def faces_of(self, path: Path | str) -> list[FaceCrop | RefusedFace]:
        """Every face of one image; one refusal where there is none, or the image is unreadable."""
        if not isinstance(path, (Path, str)):
            raise ConfigError(f"an image is named by its path, not by a {_kind(path)}")
        path = Path(path)
        return self._faces(printable(path), path, lambda: read_picture(path, self.max_pixels))

    def faces_in(self, data: bytes, name: str) -> list[FaceCrop | RefusedFace]:
        """As `faces_of`, of an image's bytes. name: of the picture, as its records show it."""
        return self._faces(
            name, path_of(name), lambda: read_picture_bytes(data, name, self.max_pixels)
        )

    def _faces(
        self, name: str, path: Path, read: Callable[[], DecodedImage]
    ) -> list[FaceCrop | RefusedFace]:
        try:
            picture = read()
            if self.landmarks is not None:
                return self._by_landmarks(picture, name, path, self.landmarks)
            if self.detector is None or (self.crops_pass and _is_crop(picture)):
                crop = as_crop(picture.pixels, name)
                return [replace(crop, warnings=(*picture.warnings, *crop.warnings))]
            return self._by_detector(picture, name, self.detector)
        except ImageRefused as refusal:
            return [RefusedFace(f"{name}#0", name, refusal.code, str(refusal))]

    def _by_landmarks(
        self, picture: DecodedImage, source: str, path: Path, landmarks: Landmarks
    ) -> list[FaceCrop | RefusedFace]:
        if not (faces := landmarks.in_picture(path, *picture.size)):
            raise ImageRefused("no_face", f"{source}: {landmarks.file} has no landmarks for it")
        return [
            self._face(picture, f"{source}#{number}", source, None, points)
            for number, points in enumerate(faces)
        ]

    def _by_detector(
        self, picture: DecodedImage, source: str, detector: PhotoDetector
    ) -> list[FaceCrop | RefusedFace]:
        faces: list[DetectedFace] = detector.detect(picture.pixels)
        if not faces:
            raise ImageRefused("no_face", f"{source}: {_no_face(picture, detector)}")
        if _is_crop_of_another_size(picture, faces[0]):
            picture = replace(picture, warnings=(*picture.warnings, OTHER_SIZE))
        return [
            self._face(
                picture,
                f"{source}#{number}",
                source,
                picture.box_outside(face.box),
                picture.outside(face.landmarks),
            )
            for number, face in enumerate(faces[:1] if self.largest else faces)
        ]

    def _face(
        self,
        picture: DecodedImage,
        name: str,
        source: str,
        box: Box | None,
        points: tuple[Point, ...],
    ) -> FaceCrop | RefusedFace:
        """points: in pixels of the file, as records show them."""
        align_face = align if box is not None else align_given
        least = self.min_eye_px / picture.reduced
        try:
            crop = align_face(picture.pixels, picture.inside(points), least)
        except ImageRefused as refusal:
            return RefusedFace(name, source, refusal.code, f"{name}: {refusal}", box, points)
        height, width = picture.pixels.shape[:2]
        cut = border_warnings(picture.inside(points), width, height)
        return FaceCrop(name, source, crop, box, points, (*picture.warnings, *cut))


def _kind(value: object) -> str:
    return type(value).__name__


def _is_crop(picture: DecodedImage) -> bool:
    """Of the size of ours, or of SphereFace's (see as_crop)."""
    return picture.size in ((IMAGE, IMAGE), (SPHEREFACE_WIDTH, IMAGE))


def _is_crop_of_another_size(picture: DecodedImage, largest: DetectedFace) -> bool:
    """A square filled by its largest face that, resized to ours, passes the check of aligned crops."""
    height, width = picture.pixels.shape[:2]
    if width != height or height < SMALLEST_SIDE or height == IMAGE:
        return False
    if max(largest.box[2:]) < width / 2:
        return False
    return misaligned_by(_resized(picture.pixels)) <= 0


def _no_face(picture: DecodedImage, detector: PhotoDetector) -> str:
    """What is said of a picture without a face; how to search it for small ones."""
    width, height = picture.size
    if max(width, height) < MUCH_LARGER * detector.longest_side:
        return "no face found"
    return (
        f"no face found in {width}x{height} pixels searched at {detector.longest_side}; "
        "small faces need a larger --detector-size"
    )


def _resized(image: Bytes) -> Bytes:
    """(112, 112, 3) of a square picture."""
    method = cv2.INTER_AREA if len(image) > IMAGE else cv2.INTER_LINEAR
    resized: Bytes = cv2.resize(image, (IMAGE, IMAGE), interpolation=method)
    return resized


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
            f"{name} is {width}x{height}, not an aligned {IMAGE}x{IMAGE} face; to detect its faces "
            f"{NO_DETECTOR}, or give --landmarks FILE",
        )
    if height != IMAGE:
        image = _resized(image)
        warnings = (f"resized from {width}x{height}",)
    return FaceCrop(f"{name}#0", name, image, warnings=warnings)
