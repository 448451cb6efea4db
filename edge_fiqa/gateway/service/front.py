"""What the outside sees from the first moment: a gateway that is starting, then the gateway.

Starting takes minutes where an engine has to build. A client that asks meanwhile is told so, instead of
finding nobody there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from edge_fiqa.errors import Overloaded
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.view import CameraView, Totals, TrackView, View
from edge_fiqa.record import Record
from edge_fiqa.types import Bytes, Point


class Front:
    """Implements View: by the gateway once it is there, until then by saying what is built."""

    def __init__(self, model: str, backend: str, building: BuildWatch) -> None:
        self.model, self.backend, self._building = model, backend, building
        self._started = time.time()
        self._behind: View | None = None

    def open(self, view: View) -> None:
        """The gateway is there."""
        self.model, self.backend, self._behind = view.model, view.backend, view

    def ready(self) -> str | None:
        if self._behind is None:
            return self._building.now or "the gateway is starting"
        return self._behind.ready()

    def cameras(self) -> Sequence[CameraView]:
        return () if self._behind is None else self._behind.cameras()

    def frame(self, camera: str) -> bytes | None:
        return None if self._behind is None else self._behind.frame(camera)

    def tracks(self) -> Sequence[TrackView]:
        return () if self._behind is None else self._behind.tracks()

    def snapshot(self, track: str) -> bytes | None:
        return None if self._behind is None else self._behind.snapshot(track)

    def totals(self) -> Totals:
        if self._behind is not None:
            return self._behind.totals()
        return Totals(
            started=self._started,
            faces_found=0,
            faces_scored=0,
            skipped={},
            depths=(),
            misses=0,
            events={},
            load=0.0,
            latency_s=None,
        )

    def push(
        self, image: Bytes, landmarks: Sequence[Point] | None, deadline_s: float | None
    ) -> list[Record]:
        if self._behind is None:
            raise Overloaded(str(self.ready()))
        return self._behind.push(image, landmarks, deadline_s)
