"""The picture of the gateway's page in README and docs, from a gateway that runs.

    python -m tests.gateway.outputs.page_picture docs/gateway.png [--model nano] [--seconds 45]

Three cameras see a public-domain portrait come and go: near, out of focus, and far away.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import yaml

from edge_fiqa.types import Bytes
from tests.gateway.outputs.browser import Browser
from tests.ports import port_to_keep
from tests.waiting import is_ready, until

PHOTO = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
HEIGHT, WIDTH, FRAMES, PAUSE = 540, 960, 100, 30
CAMERAS = {"door": (380, 0.0), "hall": (300, 3.2), "gate": (200, 0.0)}
"""The portrait's height in pixels, and how far it is out of focus: a standard deviation in pixels."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("picture", type=Path)
    options.add_argument("--model", default="nano", help="its name, or a bundle's folder")
    options.add_argument("--seconds", type=float, default=45.0)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        photograph(Path(place), arguments.model, arguments.seconds, arguments.picture)


def photograph(place: Path, model: str, seconds: float, picture: Path) -> None:
    for number, (name, (height, blur)) in enumerate(CAMERAS.items()):
        write_film(place / f"{name}.avi", height, blur, start=40 * number)
    port = port_to_keep()
    sources = {name: {"source": str(place / f"{name}.avi"), "loop": True} for name in CAMERAS}
    config = {
        "model": model,
        "cameras": sources,
        "http": {"port": port},
        "best_shot": {"gate": 50},
        "schedule": {"policy": "gate"},
    }
    (place / "gateway.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "edge_fiqa", "gateway", str(place / "gateway.yaml")]
    gateway = subprocess.Popen(command)
    try:
        until(lambda: is_ready(f"{address}/readyz"))
        browser = Browser(place / "profile")
        try:
            browser.size(1400, 900)
            browser.open(address)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.5)
                browser.run("document.title")  # what it says meanwhile must be read
            browser.until("document.querySelectorAll('.camera.live').length === 3", 60)
            browser.screenshot(picture)
        finally:
            browser.close()
    finally:
        gateway.terminate()
        try:
            gateway.wait(30)
        finally:
            gateway.kill()


def write_film(path: Path, height: int, blur: float, start: int) -> None:
    """The portrait crosses the picture, and then nobody is there for a while."""
    portrait = cv2.resize(cv2.imread(str(PHOTO)), (height * 5 // 6, height))
    background, edge = wall(), cv2.resize(soft_edge(), portrait.shape[1::-1])[..., None]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for number in range(start, start + FRAMES + PAUSE):
        frame, at = background.copy(), number % (FRAMES + PAUSE)
        if at < FRAMES:
            left, top = round((WIDTH - portrait.shape[1]) * at / FRAMES), (HEIGHT - height) // 2
            under = frame[top : top + height, left : left + portrait.shape[1]]
            under[:] = edge * portrait + (1 - edge) * under
        video.write(cv2.GaussianBlur(frame, (0, 0), blur) if blur else frame)
    video.release()


def wall() -> Bytes:
    """A background of slow changes of colour and brightness, (HEIGHT, WIDTH, 3) uint8 BGR."""
    coarse = np.random.default_rng(3).uniform(90, 200, (4, 6, 3)).astype(np.float32)
    coarse = 0.7 * coarse.mean(2, keepdims=True) + 0.3 * coarse
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def soft_edge() -> np.ndarray:
    inside = np.zeros((240, 200), np.float32)
    inside[8:-8, 8:-8] = 1
    return cv2.GaussianBlur(inside, (0, 0), 4)


if __name__ == "__main__":
    main()
