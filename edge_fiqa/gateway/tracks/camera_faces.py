"""The faces before one camera: looked for where the motion gate says so, else carried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.tracks.face_finder import FindFaces, SeenFace
from edge_fiqa.gateway.tracks.motion_gate import Look, MotionGate
from edge_fiqa.gateway.tracks.regions import touches
from edge_fiqa.types import Box, Bytes


class CameraFaces:
    """Of one camera. Not thread-safe."""

    def __init__(self, config: MotionConfig) -> None:
        self.config = config
        self._gate = MotionGate(config)
        self._faces: list[SeenFace] = []
        self._scale = 1.0, 1.0

    def find(self, finder: FindFaces, image: Bytes, now: float) -> Sequence[SeenFace] | None:
        """The faces of a frame at `now` seconds; None: nothing was looked at, all is as before.

        A face that was not looked at again is there without a crop. Raises EngineFailed.
        """
        if not self.config.gate:
            return finder.find(image)
        size = finder.searched_size(image)
        self._scale = size[0] / image.shape[1], size[1] / image.shape[0]
        look = self._gate.plan(image, size, self._searched(self._faces), now)
        if look is None:
            return None
        try:
            faces = finder.find(image, look.regions)
        except EdgeFiqaError:
            self._gate.forget()
            raise
        # Where a region cut a face, the whole frame was searched: what was seen anew is not carried.
        carried = [
            old
            for old in self._carried(look)
            if not any(touches(new.box, old.box) for new in faces)
        ]
        self._faces = [*faces, *carried]
        return self._faces

    def carried_on(self) -> tuple[list[Box], list[float]]:
        """Boxes and scores of the faces in a frame that was not looked at."""
        return [face.box for face in self._faces], [face.score for face in self._faces]

    def look_again(self, faces: Sequence[SeenFace]) -> None:
        """These were seen for the first time, and nobody knows whether they are faces."""
        if self.config.gate:
            changed = [face for face in faces if face.skip != "unchanged"]
            self._gate.look_again(self._searched(changed))

    def _carried(self, look: Look) -> list[SeenFace]:
        boxes = self._searched(self._faces)
        return [
            replace(face, crop=None, skip="unchanged")
            for face, box in zip(self._faces, boxes, strict=True)
            if not look.covers(box)
        ]

    def _searched(self, faces: Sequence[SeenFace]) -> list[Box]:
        """Their boxes in pixels of the frame as it is searched."""
        across, down = self._scale
        return [
            (x * across, y * down, width * across, height * down)
            for x, y, width, height in (face.box for face in faces)
        ]
