"""Scenes for the motion gate: faces before a still background, as a compressed stream shows them.

Every scene has one kind of trouble for a gate: nobody, people who stand still or come nearer slowly,
small faces, noise, light that changes, a crowd.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from gateway_scene import identities

WIDTH, HEIGHT, FPS = 640, 360, 10
KINDS = ("empty", "quiet", "standing", "nearer", "small", "noise", "light", "drift", "crowd")
EDGE = 0.12  # of a crop's side, over which it fades into the background


@dataclass(frozen=True)
class Visit:
    """One person's face: crops shown one after the other, and keyframes (second, x, y, side)."""

    identity: str
    crops: tuple[str, ...]
    keys: tuple[tuple[float, float, float, float], ...]
    shown_s: float

    def at(self, now: float) -> tuple[float, float, float] | None:
        """Middle and side in pixels at that second; None where the person is not there."""
        times = [key[0] for key in self.keys]
        if not times[0] <= now < times[-1]:
            return None
        x, y, side = (np.interp(now, times, [key[n] for key in self.keys]) for n in (1, 2, 3))
        return float(x), float(y), float(side)


@dataclass(frozen=True)
class Scene:
    kind: str
    seconds: float
    visits: tuple[Visit, ...]
    noise: float
    seed: int


def scene(kind: str, people: dict[str, list[str]], seed: int, seconds: float = 20.0) -> Scene:
    """One scene of a kind; another seed gives other people, places and times."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    counts = {"empty": 0, "quiet": 1, "crowd": 10}
    names = rng.choice(list(people), counts.get(kind, 3), replace=False)
    starts = np.sort(rng.uniform(0.5, seconds - 8, len(names)))
    visits = tuple(
        _visit(str(name), people[str(name)], kind, float(start), rng)
        for name, start in zip(names, starts, strict=True)
    )
    return Scene(kind, seconds, visits, 8.0 if kind == "noise" else 2.5, seed)


def _visit(name: str, crops: list[str], kind: str, start: float, rng: np.random.Generator) -> Visit:
    lasts = float(rng.uniform(4, 7))
    end = start + lasts
    y = float(rng.uniform(90, HEIGHT - 90))
    side = float(rng.uniform(34, 50) if kind == "small" else rng.uniform(60, 130))
    x0, x1 = (float(rng.uniform(40, 200)), float(rng.uniform(440, 600)))
    if rng.random() < 0.5:
        x0, x1 = x1, x0
    if kind == "standing":
        stop = float(rng.uniform(150, 490))
        keys = (
            (start, x0, y, side),
            (start + 1, stop, y, side),
            (end - 1, stop, y, side),
            (end, x1, y, side),
        )
    elif kind == "nearer":
        middle = float(rng.uniform(200, 440))
        keys = ((start, middle, y, 30.0), (end, middle + 40, y, 120.0))
    else:
        keys = ((start, x0, y, side), (end, x1, y, side))
    shown_s = 2.0 if kind == "standing" else 0.5
    return Visit(name, tuple(crops[:8]), keys, shown_s)


def frames(data: Path, scene: Scene) -> Iterator[tuple[float, np.ndarray]]:
    """(second, (360, 640, 3) uint8 RGB), after MPEG-4 compressed and decoded them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.mp4"
        video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
        for image in painted(data, scene):
            video.write(image)
        video.release()
        yield from clip(file, FPS)


def clip(file: Path, fps: float) -> Iterator[tuple[float, np.ndarray]]:
    """(second, RGB) of a video's frames, `fps` of them a second."""
    video = cv2.VideoCapture(str(file))
    own = video.get(cv2.CAP_PROP_FPS) or fps
    number, due = 0, 0.0
    while True:
        ok, image = video.read()
        if not ok:
            video.release()
            return
        now = number / own
        if now >= due - 1e-6:
            due += 1 / fps
            yield now, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        number += 1


def painted(data: Path, scene: Scene) -> Iterator[np.ndarray]:
    """(360, 640, 3) uint8 BGR, before any compression."""
    rng = np.random.default_rng([scene.seed, 99])
    small = rng.integers(50, 170, (9, 16, 3), dtype=np.uint8)
    background = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    background = background.astype(np.float32)
    noise = rng.normal(0, scene.noise, (HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    for number in range(round(scene.seconds * FPS)):
        now = number / FPS
        image = background.copy()
        for visit in scene.visits:
            if (place := visit.at(now)) is not None:
                shown = int((now - visit.keys[0][0]) / visit.shown_s) % len(visit.crops)
                _paste(image, data / visit.crops[shown], *place)
        start = int(rng.integers(WIDTH))
        image = image * _light(scene.kind, now) + noise[:, start : start + WIDTH]
        yield np.clip(image, 0, 255).astype(np.uint8)


def _light(kind: str, now: float) -> float:
    if kind == "light":
        return 0.55 if int(now / 3.5) % 2 else 1.0
    return 1.0 + 0.25 * np.sin(now / 3) if kind == "drift" else 1.0


_crops: dict[Path, np.ndarray] = {}


def _paste(image: np.ndarray, file: Path, x: float, y: float, side: float) -> None:
    """A crop with its middle at (x, y), between pixels as well, fading out at its edge."""
    if file not in _crops:
        _crops[file] = cv2.imread(str(file)).astype(np.float32)
    crop, scale = _crops[file], side / 112
    smooth = cv2.GaussianBlur(crop, (0, 0), 0.5 / scale) if scale < 0.7 else crop
    move = np.array([[scale, 0, x - 55.5 * scale], [0, scale, y - 55.5 * scale]])
    ramp = np.clip((np.arange(112) + 0.5) / (EDGE * 112), 0, 1)
    fade = np.minimum(ramp, ramp[::-1])
    alpha = cv2.warpAffine((fade[:, None] * fade[None]).astype(np.float32), move, (WIDTH, HEIGHT))
    pasted = cv2.warpAffine(smooth, move, (WIDTH, HEIGHT))
    image += alpha[..., None] * (pasted - image)


def people_of(data: Path, split: str) -> dict[str, list[str]]:
    """Identities with four crops or more."""
    return {name: crops for name, crops in identities(data, split).items() if len(crops) >= 4}
