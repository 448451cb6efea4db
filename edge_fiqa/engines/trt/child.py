"""A plan built in a child process, whose memory goes back to the system when it ends.

The job goes there as a file, and the plan or the error comes back as one. Progress comes line by line
through a pipe of its own, since libraries may print to the standard ones.
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

from edge_fiqa.engines.owner import Owner
from edge_fiqa.engines.trt.api import Api, Log, api_of
from edge_fiqa.engines.trt.build import PlanJob, build_plan
from edge_fiqa.engines.trt.build_monitor import OnProgress
from edge_fiqa.errors import EdgeFiqaError, EngineFailed, one_line

CANCEL_CHECK_S = 0.2  # between two checks of whether the build was cancelled
STOP_TIMEOUT_S = 30.0  # for a cancelled builder to reach its next step, before it is killed
REPORT_EVERY_S = 0.1  # between two lines from the child
JOB, PLAN, ERROR, STDERR = "job.json", "plan", "error", "stderr"


def build_in_child(
    job: PlanJob, api: Api, cancelled: threading.Event, on_progress: OnProgress
) -> bytes:
    """`build_plan` in a process of its own. Raises EngineFailed with the child's error."""
    with tempfile.TemporaryDirectory(prefix="edge_fiqa.") as name:
        folder = Path(name)
        (folder / JOB).write_bytes(msgspec.json.encode(job))
        status = _run(folder, api.backend, cancelled, on_progress)
        if status == 0 and (folder / PLAN).exists():
            return (folder / PLAN).read_bytes()
        reason = _reason(folder) or f"exit status {status}"
    if cancelled.is_set():
        raise EngineFailed(f"building {job.name} was stopped")
    if status == -signal.SIGKILL:
        raise EngineFailed(
            f"building {job.name} was killed, most likely for want of memory: add swap, "
            "stop other programs, or lower workspace_mb"
        )
    raise EngineFailed(f"building {job.name} in a child process failed: {reason}")


def _reason(folder: Path) -> str:
    """The error that the child wrote; of one that crashed, its last line."""
    if (folder / ERROR).exists():
        return (folder / ERROR).read_text(encoding="utf-8")
    lines = (folder / STDERR).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _run(folder: Path, backend: str, cancelled: threading.Event, on_progress: OnProgress) -> int:
    """The child's exit status."""
    read_end, write_end = os.pipe()
    try:
        try:
            child = _start(folder, backend, write_end)
        finally:
            os.close(write_end)
        try:
            return _attend(child, read_end, cancelled, on_progress)
        finally:
            child.kill()  # does nothing where it has ended
            child.wait()
    finally:
        os.close(read_end)


def _start(folder: Path, backend: str, write_end: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edge_fiqa.engines.trt.child"]
    command += [str(folder), backend, str(write_end)]
    with (folder / STDERR).open("wb") as stderr:
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=stderr, pass_fds=[write_end]
        )


def _attend(
    child: subprocess.Popen[bytes],
    read_end: int,
    cancelled: threading.Event,
    on_progress: OnProgress,
) -> int:
    """Pass on what the child reports until it ends; ask it to stop when the build is cancelled."""
    reports, kill_at = _Reports(read_end, on_progress), float("inf")
    while True:
        if not reports.pass_on(CANCEL_CHECK_S):
            status = _status(child, CANCEL_CHECK_S if reports.ended else 0)
            if status is not None:
                return status
        if cancelled.is_set() and kill_at == float("inf"):
            child.terminate()
            kill_at = time.monotonic() + STOP_TIMEOUT_S
        if time.monotonic() > kill_at:
            child.kill()


class _Reports:
    """Lines of progress from the pipe. ended: the child has closed it."""

    def __init__(self, read_end: int, on_progress: OnProgress) -> None:
        self._read_end, self._on_progress = read_end, on_progress
        self._partial_line, self.ended = b"", False

    def pass_on(self, seconds: float) -> bool:
        """Wait for reports and hand them on. False if none came in time, or none will come."""
        if self.ended or not select.select([self._read_end], [], [], seconds)[0]:
            return False
        data = os.read(self._read_end, 65536)
        self.ended = not data
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        for line in lines:
            self._on_progress(*msgspec.json.decode(line, type=tuple[str, float]))
        return True


def _status(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, or None if the child still runs after so many seconds."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def main(arguments: list[str]) -> int:
    """What the child process runs: FOLDER BACKEND PIPE."""
    folder, backend, write_end = Path(arguments[0]), arguments[1], int(arguments[2])
    cancelled = threading.Event()
    # Ctrl-C reaches the terminal's whole group: this process too ends at the builder's next step.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: cancelled.set())
    owner = Owner("edge_fiqa-build")  # the main thread only waits: so it hears signals at once
    try:
        job = msgspec.json.decode((folder / JOB).read_bytes(), type=PlanJob)
        report = _reporter(write_end, cancelled)
        (folder / PLAN).write_bytes(owner.call(_build, job, backend, cancelled, report))
    except (EdgeFiqaError, OSError) as exc:
        (folder / ERROR).write_text(one_line(exc), encoding="utf-8")
        return 1
    return 0


def _build(
    job: PlanJob, backend: str, cancelled: threading.Event, on_progress: OnProgress
) -> bytes:
    api = api_of(backend)
    if not api.tunes:
        return build_plan(job, Log(api), cancelled, on_progress)
    from edge_fiqa.engines.trt.device import CudaDevice

    with CudaDevice():
        return build_plan(job, Log(api), cancelled, on_progress)


def _reporter(write_end: int, cancelled: threading.Event) -> OnProgress:
    """Writes lines into the pipe. Cancels the build once no parent reads them."""
    last_report_s = 0.0

    def report(phase: str, share: float) -> None:
        nonlocal last_report_s
        now_s = time.monotonic()
        if now_s - last_report_s < REPORT_EVERY_S and share < 1:
            return
        last_report_s = now_s
        try:
            os.write(write_end, msgspec.json.encode((phase, share)) + b"\n")
        except BrokenPipeError:
            cancelled.set()

    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
