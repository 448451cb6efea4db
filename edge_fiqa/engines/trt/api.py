"""NVIDIA's two libraries as objects: TensorRT (`trt`) and TensorRT for RTX (`rtx`), and their log.

Written for the calls that TensorRT 10.3 to 11.4 and TensorRT for RTX 1.7 have in common. What holds for
one of them only is a fact of its object, never a question for a version number. Nothing that touches
the device may be made without a driver: TensorRT ends the process then.
Failures come back as None or False, and why is only in the log, so the log keeps the last errors for
the message that we raise.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from edge_fiqa.engines.trt.kernels import IN_LOG, PlanKernel, kernels_in_log
from edge_fiqa.errors import ConfigError, EngineFailed, one_line

KEPT_ERRORS = KEPT_WARNINGS = 8
logger = logging.getLogger("edge_fiqa.tensorrt")


@dataclass(frozen=True)
class Api:
    """One of the libraries. module: what its bindings offer. title: its name in messages.

    tunes: the builder times kernels on the device and keeps the times in a cache; so a plan belongs to
    one device, driver and power mode. Otherwise a plan is built without a device for listed compute
    capabilities, its kernels are compiled when it is loaded, and the library caches those.
    lean: plans that later versions run exist, in the form of a lean runtime.
    """

    backend: str
    title: str
    module: Any = field(repr=False)
    tunes: bool
    lean: bool

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def can_build(self) -> bool:
        return hasattr(self.module, "Builder") and hasattr(self.module, "OnnxParser")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The compute capabilities that it builds for without a device, as in "8.9"."""
        known = getattr(self.module, "ComputeCapability", None)
        numbers = [name[2:] for name in known.__members__ if name.startswith("SM")] if known else []
        return tuple(f"{number[:-1]}.{number[-1]}" for number in numbers)

    def capability(self, text: str) -> Any:
        """The library's constant for "8.9". Raises ConfigError where it has none."""
        if text not in self.capabilities:
            known = ", ".join(self.capabilities)
            raise ConfigError(f"{self} builds for compute capability {known}, not for {text!r}")
        return getattr(self.module.ComputeCapability, f"SM{text.replace('.', '')}")

    @property
    def folder(self) -> str:
        """Its folder in the cache."""
        return "tensorrt" if self.tunes else f"tensorrt-{self.backend}"

    def __str__(self) -> str:
        return f"{self.title} {self.version}"


def api_of(backend: str) -> Api:
    """The library of a backend. Raises ImportError where it is not installed."""
    return {"trt": trt_api, "rtx": rtx_api}[backend]()


@cache
def trt_api() -> Api:
    """TensorRT. Raises ImportError where it is not installed."""
    try:
        import tensorrt as module
    except ImportError as missing:
        try:  # a board with the lean runtime alone runs version-compatible plans
            import tensorrt_lean as module
        except ImportError:
            raise missing from None
    return Api("trt", "TensorRT", module, tunes=True, lean=True)


@cache
def rtx_api() -> Api:
    """TensorRT for RTX. Raises ImportError where it is not installed."""
    import tensorrt_rtx_libs  # loads the libraries, which the bindings find by their name then
    import tensorrt_rtx_bindings as module  # isort: skip

    del tensorrt_rtx_libs
    return Api("rtx", "TensorRT for RTX", module, tunes=False, lean=False)


class Log:
    """Keeps the errors of one call, and the last warnings. Called from any thread.

    kernels: those of the plan that was built last, where the builder lists them.
    native: the logger that the library is given, one for the whole process: the library keeps the first
    that it meets for part of its messages. What it says goes to the log that its thread used last.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.warnings: deque[str] = deque(maxlen=KEPT_WARNINGS)
        self.kernels: list[PlanKernel] = []
        self._errors: deque[str] = deque(maxlen=KEPT_ERRORS)
        self.native, self._in_use = _native_logger(api.module)
        self.clear()

    def error(self, text: str) -> None:
        self._errors.append(text.strip())
        logger.debug("%s", text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)
        logger.info("%s", text)

    @property
    def has_errors(self) -> bool:
        return bool(self._errors)

    def clear(self) -> None:
        """Forget the errors of a call that was handled: they explain no other."""
        self._errors.clear()
        self._in_use.put(self)

    def take(self) -> str:
        """What went wrong since the last `clear` or `take`, in one line."""
        errors = list(dict.fromkeys(self._errors))
        self._errors.clear()
        return one_line(" | ".join(errors)) or f"{self.api.title} gave no reason"


class _LogInUse:
    """The log of the call that a thread is in; of a thread of the library's own, that of the last."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._last: Log | None = None

    def put(self, log: Log) -> None:
        self._here.log = self._last = log

    def get(self) -> Log:
        log: Log | None = getattr(self._here, "log", self._last)
        assert log is not None  # the native logger is reached through a Log, which put itself here
        return log


@cache
def _native_logger(module: Any) -> tuple[Any, _LogInUse]:
    in_use = _LogInUse()

    class NativeLogger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (module.ILogger.Severity.ERROR, module.ILogger.Severity.INTERNAL_ERROR):
                in_use.get().error(msg)
            elif severity == module.ILogger.Severity.WARNING:
                in_use.get().warning(msg)
            elif msg.startswith(IN_LOG):
                in_use.get().kernels = kernels_in_log(msg)

    return NativeLogger(), in_use


def need(log: Log, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """`call(*arguments)`, or EngineFailed with what the log says of this call, and of no other.

    None and False mean failure. A native constructor that returns NULL arrives as a TypeError.
    """
    log.clear()
    try:
        result = call(*arguments)
    except TypeError as exc:
        raise EngineFailed(f"{log.api} {what}: {one_line(exc)}; {log.take()}") from exc
    if result is None or result is False:
        raise EngineFailed(f"{log.api} {what}: {log.take()}")
    return result
