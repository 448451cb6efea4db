"""Cameras that play what a test plans, and people who are easy to find: white squares."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge_fiqa.gateway.config.camera import CameraConfig
from edge_fiqa.gateway.config.gateway import GatewayConfig
from edge_fiqa.gateway.events.event import Event
from edge_fiqa.gateway.tracks.face_finder import SeenFace
from edge_fiqa.gateway.video.source_lost import SourceLost
from edge_fiqa.types import IMAGE
from tests.published import ARCFACE

HEIGHT, WIDTH, SIDE = 120, 400, 40


def picture(*left: int) -> np.ndarray:
    """(120, 400, 3): a white square for every person, its left edge at that pixel."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for x in left:
        image[40 : 40 + SIDE, x : x + SIDE] = 255
    return image


def walk(frames: int, start: int = 10, step: int = 6) -> list[np.ndarray]:
    """One person, from left to right."""
    return [picture(start + step * number) for number in range(frames)]


class FindSquares:
    """White squares are faces. Their crop tells where they were: its brightness is x / 2."""

    def find(self, image: np.ndarray) -> Sequence[SeenFace]:
        count, _, squares, _ = cv2.connectedComponentsWithStats(
            (image[..., 0] > 128).astype(np.uint8)
        )
        faces = []
        for x, y, width, height, _area in squares[1:count]:
            points = ARCFACE / IMAGE * (width, height) + (x, y)
            crop = np.full((IMAGE, IMAGE, 3), x // 2, np.uint8)
            faces.append(
                SeenFace(
                    (float(x), float(y), float(width), float(height)),
                    tuple(map(tuple, points.tolist())),
                    0.9,
                    crop,
                )
            )
        return faces


@dataclass
class Script:
    """What a source does each time it is opened: the frames of one list, then the end of that list.

    A str in the list: the source fails with that message. "hang": until the test sets `go_on`.
    """

    plays: list[Sequence[np.ndarray | str | None]]
    fps: float = 50.0
    go_on: threading.Event = field(default_factory=threading.Event)
    opened: int = 0

    def open(self) -> Played:
        self.opened += 1
        if self.opened > len(self.plays):
            raise SourceLost("nobody answers")
        return Played(self, iter(self.plays[self.opened - 1]))


@dataclass
class Played:
    script: Script
    frames: Iterator[np.ndarray | str | None]
    image: np.ndarray | None = None

    def grab(self) -> bool:
        time.sleep(1 / self.script.fps)
        for item in self.frames:
            if isinstance(item, str) and item == "hang":
                self.script.go_on.wait(20)
                continue
            if isinstance(item, str):
                raise SourceLost(item)
            self.image = item
            return True
        return False

    def retrieve(self) -> np.ndarray | None:
        return self.image

    def close(self) -> None:
        """Nothing is held."""


def open_script(scripts: dict[str, Script]):
    """An opener whose cameras' sources are names of scripts."""
    return lambda config: scripts[config.address].open()


def configured(
    *cameras: str,
    lost_s: float = 0.3,
    stale_s: float = 0.4,
    fps: float = 50,
    camera: dict | None = None,
    **more,
) -> GatewayConfig:
    """camera: more keys of every camera."""
    return GatewayConfig.model_validate(
        {
            "detector": "squares.onnx",
            "cameras": {
                name: {"source": name, "fps": fps, "stale_s": stale_s, **(camera or {})}
                for name in cameras
            },
            "best_shot": {"lost_s": lost_s, **more.pop("best_shot", {})},
            "schedule": {"deadline_s": 5.0, **more.pop("schedule", {})},
            "motion": {"gate": False, **more.pop("motion", {})},
            **more,
        }
    )


def camera_config(source: str = "x", **more) -> CameraConfig:
    return CameraConfig.model_validate({"source": source, **more})


class Collected:
    """A sink that keeps everything."""

    name, problem = "collected", None
    dropped = waiting = 0

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.snapshots: list[bytes | None] = []

    @property
    def delivered(self) -> int:
        return len(self.events)

    def publish(self, event: Event, snapshot: bytes | None) -> None:
        self.events.append(event)
        self.snapshots.append(snapshot)

    def close(self, timeout_s: float) -> None:
        """Nothing waits."""

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.type == kind]
