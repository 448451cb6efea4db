"""Whether a part of the gateway works now: said in the log when it begins to fail, and when it ends."""

from __future__ import annotations

import logging

from edge_fiqa.files import no_descriptors

log = logging.getLogger("edge_fiqa.gateway")


class Health:
    """Of one part, for one thread that writes and others that read.

    problem: what is wrong now, in one line; None while it works.
    failures: how often it failed since the start.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self.problem: str | None = None
        self.failures = 0

    def failed(self, exc: Exception) -> None:
        self.failures += 1
        problem = f"{self.part} fails: {no_descriptors() or exc}"
        if problem != self.problem:
            log.warning("%s; it is tried again with what comes next", problem)
        self.problem = problem

    def works(self) -> None:
        if self.problem is not None:
            log.info("%s works again", self.part)
        self.problem = None
