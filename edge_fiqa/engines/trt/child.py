"""A plan built in a child process, whose memory goes back to the system when it ends.

The job goes there as a file and the plan comes back as one. How far it is comes line by line through
a pipe of its own: libraries may print to the standard ones, where a parent's records go.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from edge_fiqa.engines.trt.build import Heard, PlanJob, build_plan
from edge_fiqa.errors import EngineFailed

LOOK_S = 0.2  # between two looks at whether the build was cancelled
STOP_S = 30.0  # for the builder to reach its next step, once it was
SAY_S = 0.1  # between two lines from the child


def build_in_child(job: PlanJob, cancelled: threading.Event, heard: Heard) -> bytes:
    """`build_plan` in a process of its own. Raises EngineFailed with the child's last words."""
    with tempfile.TemporaryDirectory(prefix="edge_fiqa.") as name:
        folder = Path(name)
        answer, words = folder / "plan", folder / "stderr"
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        status = _run(folder, answer, words, cancelled, heard)
        if status == 0 and answer.exists():
            return answer.read_bytes()
        said = words.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if cancelled.is_set():
        raise EngineFailed(f"building {job.name} was stopped")
    if status == -signal.SIGKILL:
        raise EngineFailed(
            f"building {job.name} was killed, most likely for want of memory: add swap, "
            "stop other programs, or lower workspace_mb"
        )
    last = said[-1:] or [f"exit status {status}"]
    raise EngineFailed(f"building {job.name} in a child process failed: {last[0]}")


def _run(folder: Path, answer: Path, words: Path, cancelled: threading.Event, heard: Heard) -> int:
    """The child's exit status."""
    ear, mouth = os.pipe()
    try:
        with words.open("wb") as stderr:
            command = [sys.executable, "-m", "edge_fiqa.engines.trt.child"]
            command += [str(folder / "job.json"), str(answer), str(mouth)]
            child = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=stderr, pass_fds=[mouth]
            )
        os.close(mouth)
        mouth = -1
        try:
            return _attend(child, ear, cancelled, heard)
        finally:
            child.kill()  # nothing where it has ended
            child.wait()
    finally:
        for end in (ear, mouth):
            if end >= 0:
                os.close(end)


def _attend(
    child: subprocess.Popen[bytes], ear: int, cancelled: threading.Event, heard: Heard
) -> int:
    """Pass on what the child says until it ends; ask it to stop when the build is cancelled."""
    rest, kill_at, open_ = b"", float("inf"), True
    while True:
        if open_ and select.select([ear], [], [], LOOK_S)[0]:
            data = os.read(ear, 65536)
            open_ = bool(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                phase, share = msgspec.json.decode(line, type=tuple[str, float])
                heard(phase, share)
        elif not open_:
            try:
                return child.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                pass
        elif child.poll() is not None:
            return child.returncode
        if cancelled.is_set() and kill_at == float("inf"):
            child.terminate()
            kill_at = time.monotonic() + STOP_S
        if time.monotonic() > kill_at:
            child.kill()


def main(arguments: list[str]) -> int:
    """What the child process runs: JOB.json PLAN PIPE."""
    from edge_fiqa.engines.trt.api import Log
    from edge_fiqa.engines.trt.device import CudaDevice
    from edge_fiqa.errors import EdgeFiqaError

    cancelled = threading.Event()
    # Ctrl-C reaches the terminal's whole group: this process too ends at the builder's next step.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: cancelled.set())
    pipe, said_at = int(arguments[2]), 0.0

    def heard(phase: str, share: float) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at < SAY_S and share < 1:
            return
        said_at = now
        try:
            os.write(pipe, msgspec.json.encode((phase, share)) + b"\n")
        except BrokenPipeError:  # the parent is gone: nobody wants the plan
            cancelled.set()

    try:
        job = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=PlanJob)
        with CudaDevice() as _:
            Path(arguments[1]).write_bytes(build_plan(job, Log(), cancelled, heard))
    except (EdgeFiqaError, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
