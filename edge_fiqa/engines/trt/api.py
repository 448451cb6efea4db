"""The TensorRT library: its module, its log, and the rule that nothing of it is made without a driver.

Written for the calls that TensorRT 10.3 to 11.4 have in common; what differs is found by name
(`hasattr`), never by version number. Failures come back as None or False, and why is only in the
log, so the log keeps the last errors for the message that we raise.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from edge_fiqa.errors import EngineFailed

try:
    import tensorrt as trt
except ImportError as missing:
    try:  # a board with the lean runtime alone runs version-compatible plans
        import tensorrt_lean as trt
    except ImportError:
        raise missing from None

__all__ = ["CAN_BUILD", "VERSION", "Log", "logger", "make", "need", "trt"]
KEPT_ERRORS = 8
logger = logging.getLogger("edge_fiqa.tensorrt")
VERSION = str(trt.__version__)
CAN_BUILD = hasattr(trt, "Builder") and hasattr(trt, "OnnxParser")


class Log(trt.ILogger):  # type: ignore[misc]
    """Keeps the last errors; hands warnings and errors to `logging`. Called from any thread."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=KEPT_ERRORS)

    def log(self, severity: Any, msg: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._errors.append(msg.strip())
            logger.debug("%s", msg)
        elif severity == trt.ILogger.Severity.WARNING:
            logger.info("%s", msg)

    def take(self) -> str:
        """What went wrong since the last call, in one line."""
        errors = list(dict.fromkeys(self._errors))
        self._errors.clear()
        return " ".join(" | ".join(errors).split()) or "TensorRT gave no reason"


def need(result: Any, what: str, log: Log) -> Any:
    """`result`, unless it is None or False: then EngineFailed with the last errors of the log."""
    if result is None or result is False:
        raise EngineFailed(f"TensorRT {VERSION} {what}: {log.take()}")
    return result


def make(factory: Any, what: str, log: Log, *arguments: Any) -> Any:
    """`factory(*arguments)`. A native factory that returns NULL arrives as a TypeError."""
    try:
        return factory(*arguments)
    except TypeError as exc:
        raise EngineFailed(f"TensorRT {VERSION} cannot make {what}: {exc}; {log.take()}") from exc
