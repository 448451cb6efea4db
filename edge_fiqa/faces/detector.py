"""Faces in a picture, one pass: YuNet (Wu et al., MIR 2023).

The network runs on OpenVINO, ONNX Runtime or OpenCV (engines/detector). What it says about places of
the picture becomes faces in `yunet_decoding`, for all of them alike.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa.engines import cores
from edge_fiqa.engines.detector import DetectorNetwork, default_backend, open_network
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.faces.yunet_decoding import decode_faces, padded, padded_width
from edge_fiqa.files import no_descriptors
from edge_fiqa.types import Array, Box, Bytes, Region

log = logging.getLogger("edge_fiqa.faces")
LONGEST_SIDE = 640
"""Larger pictures are reduced for detection: YuNet detects faces of about 10 to 300 pixels."""
MIN_SCORE = 0.6
CUT = 2  # pixels from a border at which it cuts a face
NO_DETECTOR = (
    "run pip install 'edge-fiqa[detector]', or edge-fiqa detector --download, "
    "or name the file of a YuNet with --detector FILE"
)


@dataclass(frozen=True)
class DetectedFace:
    """box: (x, y, width, height) in pixels of the picture; landmarks: (5, 2), template's order."""

    box: Box
    landmarks: Array
    score: float


class YuNet:
    """A loaded detector. Threads may share it: each computes with a network of its own.

    longest_side: pixels to which larger pictures are reduced.
    backend: `ov`, `ort` or `cv2`; None: OpenVINO, or OpenCV where that is missing or too old.
    threads: of one network; None: all processors.
    Raises ConfigError for a file that is no YuNet, and BackendMissing.
    """

    def __init__(
        self,
        model: Path | str,
        min_score: float = MIN_SCORE,
        longest_side: int = LONGEST_SIDE,
        *,
        backend: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.model, self.min_score, self.longest_side = Path(model), min_score, longest_side
        self.backend, self.threads = backend or default_backend(), threads or cores()
        try:
            self._content = self.model.read_bytes()
        except OSError as exc:
            if (reason := no_descriptors()) is not None:
                raise ConfigError(f"detector {model}: {reason}") from exc
            reason = "no such file" if isinstance(exc, FileNotFoundError) else exc.strerror
            raise ConfigError(f"detector {model}: {reason}; {NO_DETECTOR}") from exc
        self._free: list[DetectorNetwork] = []
        self._process, self._backend = os.getpid(), self.backend
        try:
            self._try(backend is None)
        except (ConfigError, EngineFailed) as exc:
            if (reason := no_descriptors()) is not None:
                raise ConfigError(f"detector {model}: {reason}") from exc
            raise

    def _try(self, may_change: bool) -> None:
        """Detect once. An old OpenVINO does not know every operator of a file that OpenCV runs."""
        try:
            self.detect(np.zeros((64, 64, 3), np.uint8))
        except ConfigError as exc:
            if not may_change or self.backend == "cv2":
                raise
            log.debug("%s; taking OpenCV", exc)
            self.backend = self._backend = "cv2"
            self.detect(np.zeros((64, 64, 3), np.uint8))

    def detect(self, image: Bytes, regions: Sequence[Region] | None = None) -> list[DetectedFace]:
        """Faces in (H, W, 3) uint8 RGB, the largest first.

        regions: search only there, in pixels of the picture as it is searched (`searched_size`). Where
        the border of a region cuts a face, the whole picture is searched. None: the whole picture.
        Raises ConfigError for anything else than a picture, and EngineFailed.
        """
        check_picture(image)
        height, width = image.shape[:2]
        size = self.searched_size(width, height)
        if size != (width, height):
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rows = None if regions is None else self._rows_in(image, regions)
        if rows is None:
            rows = self._rows_of(image)
        back = np.array([width / size[0], height / size[1]], np.float32)
        return [_face(row, back) for row in sorted(rows, key=lambda row: -row[2] * row[3])]

    def searched_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which a picture is reduced before it is searched."""
        scale = min(1.0, self.longest_side / max(height, width))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _rows_of(self, image: Bytes) -> Array:
        with self._network() as network:
            outputs = network.run(padded(image))
            return decode_faces(outputs, padded_width(image.shape[1]), self.min_score)

    def _rows_in(self, image: Bytes, regions: Sequence[Region]) -> Array | None:
        """As `_rows_of`, of parts; None where a part cuts a face."""
        rows = [np.zeros((0, 15), np.float32)]
        for left, top, width, height in regions:
            part = self._rows_of(image[top : top + height, left : left + width])
            part[:, [0, *range(4, 14, 2)]] += left
            part[:, [1, *range(5, 14, 2)]] += top
            if any(_cut_by((left, top, width, height), row, image) for row in part):
                return None
            rows.append(part)
        return np.concatenate(rows)

    @contextmanager
    def _network(self) -> Iterator[DetectorNetwork]:
        """One that no other thread uses, opened where none is free.

        The threads of a library do not exist in a forked process: there others are opened, of OpenCV
        where OpenVINO was used before the fork, which cannot run again.
        """
        if os.getpid() != self._process:
            self._free, self._process = [], os.getpid()
            self._backend = "cv2" if self._backend == "ov" else self._backend
        try:
            network = self._free.pop()
        except IndexError:
            network = open_network(self.model, self._content, self._backend, self.threads)
        yield network
        self._free.append(network)


def check_picture(image: object) -> None:
    """Raises ConfigError for what is not a picture of (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        given = f"a {type(image).__name__}"
    elif image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return
    else:
        given = f"{image.shape} {image.dtype}"
    raise ConfigError(f"a picture to detect faces in is (H, W, 3) uint8 RGB, not {given}")


def _cut_by(region: Region, row: Array, image: Bytes) -> bool:
    """Whether a border of the region, that is none of the picture, cuts the face."""
    (left, top, width, height), (x, y, w, h) = region, row[:4]
    return bool(
        (left > 0 and x < left + CUT)
        or (top > 0 and y < top + CUT)
        or (left + width < image.shape[1] and x + w > left + width - CUT)
        or (top + height < image.shape[0] and y + h > top + height - CUT)
    )


def _face(row: Array, back: Array) -> DetectedFace:
    x, y, w, h = (float(v) for v in row[:4] * np.tile(back, 2))
    return DetectedFace((x, y, w, h), row[4:14].reshape(5, 2) * back, float(row[14]))
