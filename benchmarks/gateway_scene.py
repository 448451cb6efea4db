"""Moving scenes from face crops: people walk through a picture, several at once, as video files.

    python benchmarks/gateway_scene.py DATA -o FOLDER [--cameras 4] [--seconds 60]

Every person shows the crops of one identity, one after the other, enlarged or reduced, on a noisy
background. The video says when people come and go in a JSON file beside it.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from common import add_data, read_split

WIDTH, HEIGHT = 1280, 720
MARGIN = 8  # pixels over which a pasted crop fades into the background
SHOWN_S = 0.4  # one crop of the identity, before the next one


@dataclass(frozen=True)
class Walk:
    """One person: the crops, from and to (x, y) of the face's centre, and its size in pixels."""

    identity: str
    crops: list[str]
    start_s: float
    seconds: float
    begin: tuple[float, float]
    end: tuple[float, float]
    side: int


def identities(data: Path, split: str = "test") -> dict[str, list[str]]:
    """Crops of each identity of a split, by name; grey faces are left out."""
    crops: dict[str, list[str]] = {}
    for row in read_split(data, split, grey=False):
        crops.setdefault(row["identity"], []).append(row["path"])
    return {name: sorted(paths) for name, paths in sorted(crops.items())}


def plan(
    people: dict[str, list[str]], rng: np.random.Generator, seconds: float, lanes: int
) -> list[Walk]:
    """In each of `lanes` rows one person after the other, with gaps of some seconds."""
    walks, names = [], list(people)
    height = HEIGHT / lanes
    for lane in range(lanes):
        now = float(rng.uniform(0, 3))
        while now < seconds - 3:
            name = names[rng.integers(len(names))]
            lasts = float(rng.uniform(3, 8))
            side = int(rng.uniform(0.45, 0.9) * height)
            y = height * (lane + 0.5)
            x0, x1 = (
                (WIDTH * 0.12, WIDTH * 0.88) if rng.random() < 0.5 else (WIDTH * 0.88, WIDTH * 0.12)
            )
            walks.append(
                Walk(name, people[name], now, min(lasts, seconds - now), (x0, y), (x1, y), side)
            )
            now += lasts + float(rng.uniform(3, 6))
    return walks


class Painter:
    """Frames of a scene at any time. Crops are read once."""

    def __init__(self, data: Path, walks: list[Walk], rng: np.random.Generator) -> None:
        self.data, self.walks = data, walks
        small = rng.integers(60, 160, (9, 16, 3), dtype=np.uint8)
        self.background = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        self.noise = rng.normal(0, 3, (HEIGHT, WIDTH, 3)).astype(np.float32)
        self._crops: dict[tuple[str, int], np.ndarray] = {}

    def frame(self, now: float) -> np.ndarray:
        """(720, 1280, 3) uint8 BGR."""
        image = self.background.astype(np.float32) + np.roll(self.noise, int(37 * now * 10), 1)
        for walk in self.walks:
            if walk.start_s <= now < walk.start_s + walk.seconds:
                self._paste(image, walk, now - walk.start_s)
        return np.clip(image, 0, 255).astype(np.uint8)

    def _paste(self, image: np.ndarray, walk: Walk, at: float) -> None:
        share = at / walk.seconds
        x, y = (a + share * (b - a) for a, b in zip(walk.begin, walk.end, strict=True))
        crop = self._crop(walk.crops[int(at / SHOWN_S) % len(walk.crops)], walk.side)
        left, top = round(x - walk.side / 2), round(y - walk.side / 2)
        ramp = np.clip((np.arange(walk.side) + 1) / MARGIN, 0, 1)
        fade = np.minimum(ramp, ramp[::-1])
        alpha = (fade[:, None] * fade[None, :])[..., None]
        target = image[top : top + walk.side, left : left + walk.side]
        target += alpha[: target.shape[0], : target.shape[1]] * (
            crop[: target.shape[0], : target.shape[1]] - target
        )

    def _crop(self, name: str, side: int) -> np.ndarray:
        if (name, side) not in self._crops:
            crop = cv2.imread(str(self.data / name))
            way = cv2.INTER_AREA if side < 112 else cv2.INTER_CUBIC
            self._crops[name, side] = cv2.resize(crop, (side, side), interpolation=way).astype(
                np.float32
            )
        return self._crops[name, side]


def write_scene(
    data: Path, file: Path, seconds: float, *, fps: float = 10, lanes: int = 3, seed: int = 0
) -> list[Walk]:
    """A MJPG video, and beside it the people in it as JSON."""
    rng = np.random.default_rng(seed)
    walks = plan(identities(data), rng, seconds, lanes)
    painter = Painter(data, walks, rng)
    video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    for number in range(round(seconds * fps)):
        video.write(painter.frame(number / fps))
    video.release()
    file.with_suffix(".json").write_text(json.dumps([asdict(walk) for walk in walks]))
    return walks


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(arguments)
    arguments.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    arguments.add_argument("--cameras", type=int, default=4)
    arguments.add_argument("--seconds", type=float, default=60)
    options = arguments.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for camera in range(options.cameras):
        file = options.output / f"camera{camera}.avi"
        walks = write_scene(options.data, file, options.seconds, seed=camera)
        print(f"{file}: {len(walks)} people, {file.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
