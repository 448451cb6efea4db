"""What goes wrong on purpose while `gateway_cameras.py --faults` runs.

    python benchmarks/gateway_faults.py FOLDER gateway FILE.yaml

Runs `edge-fiqa` on a disk that is slow while FOLDER holds a file `slow`, and full while it holds
`full`.
"""

import argparse
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from edge_fiqa.cli import main as command

# Seconds from one fault to the next, and how long each lasts.
CAMERA_DOWN, BROKER_DOWN, DISK_SLOW, DISK_FULL = (240, 30), (300, 60), (360, 60), (420, 20)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("command", nargs=argparse.REMAINDER, help="of edge-fiqa")
    options = arguments.parse_args()
    break_disk(options.folder)
    return command(options.command)


def break_disk(flags: Path) -> None:
    """Calls of this process from now on are slow, or fail, while a file in the folder says so."""
    fsync, write = os.fsync, os.write

    def slow_fsync(file: int) -> None:
        if (flags / "slow").exists():
            time.sleep(2.0)
        fsync(file)

    def full_write(file: int, data: bytes) -> int:
        if file > 2 and (flags / "full").exists():
            raise OSError(28, "No space left on device")
        return write(file, data)

    os.fsync, os.write = slow_fsync, full_write


class Fault:
    """Something that goes wrong every so often, for a while."""

    def __init__(
        self,
        name: str,
        when: tuple[float, float],
        begin: Callable[[], object],
        end: Callable[[], object],
    ) -> None:
        self.name, (self.every_s, self.lasts_s) = name, when
        self.begin, self.end, self.times = begin, end, 0
        self.down_until: float | None = None
        self.next = self.every_s / 2

    def update(self, now: float) -> None:
        """Begins or ends what is due, `now` seconds after the start."""
        if self.down_until is None and now >= self.next:
            self.begin()
            self.times += 1
            self.down_until, self.next = now + self.lasts_s, self.next + self.every_s
        elif self.down_until is not None and now >= self.down_until:
            self.over()

    def over(self) -> None:
        if self.down_until is not None:
            self.down_until = None
            self.end()


def damage(file: Path, share: float = 0.05) -> None:
    """Overwrite the middle of every twentieth JPEG of a MJPG video."""
    data, at, rng = bytearray(file.read_bytes()), 0, random.Random(0)
    while (at := data.find(b"\xff\xd8\xff", at + 1)) != -1:
        if rng.random() < share:
            end = data.find(b"\xff\xd9", at)
            for place in range(at + (end - at) // 3, at + 2 * (end - at) // 3):
                data[place] = rng.randrange(256)
    file.write_bytes(data)


if __name__ == "__main__":
    raise SystemExit(main())
