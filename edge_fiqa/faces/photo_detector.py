"""Faces of photographs: tilted heads, upside-down pictures, panoramas, small faces.

One pass of YuNet over a picture of 640 pixels places the points of tilted and of small faces badly,
and each pixel of error costs quality. So every face is detected a second time on a crop of its own,
turned upright by its points and brought to one size. Pictures without a face are turned by quarters;
those with one are searched for lying faces at half the size.
Long pictures, and those with faces small enough that smaller ones may be missed, are searched in
tiles at a higher resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge_fiqa.faces.detector import LONGEST_SIDE, MIN_SCORE, DetectedFace, YuNet, check_picture
from edge_fiqa.types import Array, Bytes, Floats

CANVAS = 320  # pixels a side of the crop for the second detection
FACE = 210  # pixels of the longer side of the face's box in it; the most accurate of 60 to 280
TILT = 6.0  # degrees to either side of the upright; the mean of both detections is more accurate
STILL = 10.0  # degrees off the upright that call for another detection
CERTAIN = 0.9  # score of an upright detection that needs no other turn
TURNS = (0.0, 45.0, -45.0, 90.0, -90.0, 180.0, 135.0, -135.0)
LYING = (90.0, 270.0)  # turns in which faces are looked for beside upright ones
LYING_SIZE = (
    0.5  # of the first pass's size: a third of its cost for both turns; small faces are missed
)
CANDIDATE = 0.3  # score from which the first pass proposes a face; the second pass decides
SMALL = 40  # pixels, in the picture as searched: below it, smaller faces may have been missed
MOST_TILES = 40
OVERLAP = 0.25  # of a tile
SAME_FACE = 0.3  # intersection over union of two boxes


class PhotoDetector:
    """Several passes of a YuNet over one photograph. Threads may share it.

    all_turns: search the picture at full size in all turns even where a face is detected in the first.
    backend, threads: as of a YuNet.
    Raises ConfigError for a file that is no YuNet, and BackendMissing.
    """

    def __init__(
        self,
        model: Path | str,
        min_score: float = MIN_SCORE,
        longest_side: int = LONGEST_SIDE,
        *,
        all_turns: bool = False,
        backend: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.min_score, self.longest_side, self.all_turns = min_score, longest_side, all_turns
        self._yunet = YuNet(
            model, min(CANDIDATE, min_score), longest_side, backend=backend, threads=threads
        )

    def detect(self, image: Bytes) -> list[DetectedFace]:
        """Faces in (H, W, 3) uint8 RGB, the largest first.

        Raises ConfigError for anything else, and EngineFailed.
        """
        check_picture(image)
        faces = self._confirmed(image, self._search(image))
        if faces and not self.all_turns:
            faces += self._turned(image, LYING, self.longest_side * LYING_SIZE, faces)
        for turns in ((90, 180, 270), (45, 135, 225, 315)):
            if self.all_turns or not faces:
                faces += self._turned(image, turns, self.longest_side, faces)
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])

    def _turned(
        self, image: Bytes, turns: Sequence[float], side: float, faces: Sequence[DetectedFace]
    ) -> list[DetectedFace]:
        """More faces than these, in the picture reduced to `side` pixels and turned."""
        turned = [face for turn in turns for face in self._search_turned(image, turn, side)]
        others = [face for face in _distinct(turned) if not _is_known(face, faces)]
        return [face for face in self._confirmed(image, others) if not _is_known(face, faces)]

    def _confirmed(self, image: Bytes, faces: Sequence[DetectedFace]) -> list[DetectedFace]:
        refined = (self._refined(image, face) for face in faces)
        return _distinct(
            [face for face in refined if face is not None and face.score >= self.min_score]
        )

    def _search(self, image: Bytes) -> list[DetectedFace]:
        """At the lowest resolution, then at twice as much while faces are small."""
        side = self.longest_side
        height, width = image.shape[:2]
        faces: list[DetectedFace] = []
        # Of a long picture the whole would be reduced too much: its shorter side decides.
        longest = min(
            max(height, width),
            max(side, round(side * max(height, width) / (2 * min(height, width)))),
        )
        while True:
            scale = min(1.0, longest / max(height, width))
            faces = _distinct([*faces, *self._search_at(image, scale)])
            smallest = min((max(face.box[2:]) for face in faces), default=math.inf) * scale
            longest *= 2
            if scale == 1 or smallest >= SMALL or _tiles(image, longest, side) > MOST_TILES:
                return faces

    def _search_at(self, image: Bytes, scale: float) -> list[DetectedFace]:
        height, width = image.shape[:2]
        side = self.longest_side
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if scale < 1:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        back = np.array([width / size[0], height / size[1]])
        faces = []
        for top in _starts(size[1], side):
            for start in _starts(size[0], side):
                tile = np.ascontiguousarray(image[top : top + side, start : start + side])
                for face in self._yunet.detect(tile):
                    if not _cut_by(face, start, top, tile, size):
                        faces.append(_moved(face, np.diag(back), back * (start, top)))
        return faces

    def _search_turned(self, image: Bytes, turn: float, side: float) -> list[DetectedFace]:
        """Faces of the whole picture turned by `turn` degrees, in its own coordinates."""
        height, width = image.shape[:2]
        angle = math.radians(turn)
        cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
        extent = (width * cosine + height * sine, width * sine + height * cosine)
        scale = min(1.0, side / max(extent))
        size = (math.ceil(extent[0] * scale), math.ceil(extent[1] * scale))
        turned, back, shift = _view(image, (width / 2, height / 2), turn, scale, size)
        return [_moved(face, back, shift) for face in self._yunet.detect(turned)]

    def _refined(self, image: Bytes, face: DetectedFace) -> DetectedFace | None:
        """The face as detected on upright crops of one size, None where nothing is there."""
        best = self._best_turn(image, face)
        if best is None:
            return None
        tilted = [self._upright(image, best, tilt) for tilt in (-TILT, TILT)]
        seen = [face for face in tilted if face is not None]
        return _mean(seen) if seen else best

    def _best_turn(self, image: Bytes, face: DetectedFace) -> DetectedFace | None:
        """The most certain detection, turned by the face's points, and by other angles if need be."""
        best: DetectedFace | None = None
        for turn in TURNS:
            detected = self._upright(image, face, turn)
            if detected is not None and (best is None or detected.score > best.score):
                best = detected
            if best is not None and best.score >= CERTAIN:
                break
        return best

    def _upright(self, image: Bytes, face: DetectedFace, turn: float = 0.0) -> DetectedFace | None:
        """The face on a crop turned upright by its points and by `turn` more degrees.

        Where the head turns out to be tilted there, once more.
        """
        roll = _roll(face) + turn
        for _ in range(3):
            detected = self._on_crop(image, face, roll)
            if detected is None:
                return None
            off = (_roll(detected) - roll + 180) % 360 - 180
            face, roll = detected, roll + off
            if abs(off) < STILL:
                break
        return face

    def _on_crop(self, image: Bytes, face: DetectedFace, roll: float) -> DetectedFace | None:
        x, y, width, height = face.box
        centre, longer = (x + width / 2, y + height / 2), max(width, height)
        crop, back, shift = _view(image, centre, roll, FACE / longer, (CANVAS, CANVAS))
        near = [
            moved
            for moved in (_moved(other, back, shift) for other in self._yunet.detect(crop))
            if math.dist(moved.landmarks.mean(0), centre) < longer / 2
        ]
        return max(near, key=lambda other: other.score, default=None)


def _roll(face: DetectedFace) -> float:
    """Degrees by which the head is turned clockwise: from the eyes' middle to the mouth's."""
    across = face.landmarks[1] - face.landmarks[0] + face.landmarks[4] - face.landmarks[3]
    return math.degrees(math.atan2(across[1], across[0]))


def _view(
    image: Bytes, centre: Sequence[float], roll: float, scale: float, size: tuple[int, int]
) -> tuple[Bytes, Floats, Floats]:
    """What lies around `centre`, turned upright by `roll` degrees and scaled.

    Returns the view (height, width, 3) of `size` (width, height), and the matrix (2, 2) and shift (2,)
    that bring its points back to the picture.
    """
    angle, (width, height) = math.radians(roll), size
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    back = turn / scale
    shift = np.array(centre) - back @ ((width - 1) / 2, (height - 1) / 2)
    half = math.hypot(width, height) / scale / 2
    left, top = (max(0, math.floor(c - half)) for c in centre)
    right, bottom = (max(0, math.ceil(c + half)) for c in centre)
    part = image[top:bottom, left:right]
    if not part.size:
        return np.zeros((height, width, 3), np.uint8), back, shift
    reduced = np.ones(2)
    if scale < 0.5:
        smaller = [max(1, round(side * scale)) for side in part.shape[1::-1]]
        reduced = np.array(part.shape[1::-1]) / smaller
        part = cv2.resize(part, smaller, interpolation=cv2.INTER_AREA)
    # Pixel centres: part = (picture - corner + 0.5) / reduced - 0.5.
    move = np.column_stack([back / reduced[:, None], (shift - (left, top) + 0.5) / reduced - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, move, size, flags=flags), back, shift


def _mean(faces: Sequence[DetectedFace]) -> DetectedFace:
    """The mean of several detections of one face."""
    x, y, width, height = np.mean([face.box for face in faces], axis=0).tolist()
    landmarks: Array = np.mean([face.landmarks for face in faces], axis=0, dtype=np.float32)
    score = float(np.mean([face.score for face in faces]))
    return DetectedFace((x, y, width, height), landmarks, score)


def _moved(face: DetectedFace, matrix: Floats, shift: Floats) -> DetectedFace:
    """Points p become matrix @ p + shift; the box is the smallest upright one around its corners."""
    x, y, w, h = face.box
    corners = np.array([[x, y], [x + w, y], [x, y + h], [x + w, y + h]]) @ matrix.T + shift
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    points: Array = (face.landmarks @ matrix.T + shift).astype(np.float32)
    return replace(face, box=box, landmarks=points)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of `side` begin that cover `length` and overlap."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side * (1 - OVERLAP))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def _tiles(image: Bytes, longest: float, side: int) -> int:
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return len(_starts(round(height * scale), side)) * len(_starts(round(width * scale), side))


def _cut_by(face: DetectedFace, start: int, top: int, tile: Bytes, size: Sequence[int]) -> bool:
    """Whether a border of the tile, that is none of the picture, cuts the face."""
    x, y, w, h = face.box
    return (
        (start > 0 and x < 1)
        or (top > 0 and y < 1)
        or (start + tile.shape[1] < size[0] and x + w > tile.shape[1] - 1)
        or (top + tile.shape[0] < size[1] and y + h > tile.shape[0] - 1)
    )


def _is_known(face: DetectedFace, faces: Sequence[DetectedFace]) -> bool:
    """Whether its middle lies in one of these, or the middle of one of these in it."""
    return any(_holds(known, face) or _holds(face, known) for known in faces)


def _holds(face: DetectedFace, other: DetectedFace) -> bool:
    """Whether the middle of the other's box lies in this one's."""
    left, top, width, height = face.box
    x, y = other.box[0] + other.box[2] / 2, other.box[1] + other.box[3] / 2
    return left <= x <= left + width and top <= y <= top + height


def _distinct(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
    """One of each group that overlaps: the most certain."""
    boxes = [face.box for face in faces]
    scores = [face.score for face in faces]
    return [faces[int(i)] for i in np.ravel(cv2.dnn.NMSBoxes(boxes, scores, 0.0, SAME_FACE))]
