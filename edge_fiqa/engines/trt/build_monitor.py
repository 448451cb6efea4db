"""The builder's progress, passed on; what stops a build; and errors that its callbacks raise."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from edge_fiqa.engines.build_progress import BuildPhases

OnProgress = Callable[[str, float], None]
"""Called with the builder's phase, and with the share of its steps that is done, 0 to 1."""


class BuildMonitor:
    """Says how far a build is, and cancels it once `cancelled` is set. Called from any thread.

    The bindings print what a callback raises, and the build counts as cancelled. So it is kept: `error`
    is the first such exception, for the caller of the build to raise. Ctrl-C in a build on the main
    thread is one.
    """

    def __init__(self, on_progress: OnProgress, cancelled: threading.Event) -> None:
        self._on_progress, self._cancelled, self._phases = on_progress, cancelled, BuildPhases()
        self._reporting = threading.Lock()
        self.error: BaseException | None = None

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        with self._kept_errors():
            self._phases.start(phase_name, parent_phase, num_steps)
            self._report()

    def step_complete(self, phase_name: str, step: int) -> bool:
        """False cancels the build."""
        with self._kept_errors():
            self._phases.step(phase_name)
            self._report()
            return self.error is None and not self._cancelled.is_set()
        return False

    def phase_finish(self, phase_name: str) -> None:
        with self._kept_errors():
            self._phases.finish(phase_name)
            self._report()

    @contextlib.contextmanager
    def _kept_errors(self) -> Iterator[None]:
        try:
            yield
        except BaseException as exc:
            self.error = self.error or exc

    def _report(self) -> None:
        # A closed terminal, or a parent process that has ended, is no reason for the build to fail.
        with self._reporting, contextlib.suppress(OSError, ValueError):
            self._on_progress(*self._phases.now())


def native_monitor(module: Any, monitor: BuildMonitor) -> Any:
    """What the library calls. `module`: its bindings. It must live until the build ends."""

    class NativeMonitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            monitor.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return monitor.step_complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            monitor.phase_finish(phase_name)

    return NativeMonitor()
