"""One batch on its way through an engine, step by step; the device may have gone ahead.

An engine with `run_ahead` runs all steps in one go, until by the exit table no face needs more. The
loop that asks the policies then goes through the same steps and is handed what was recorded. Where it
wants to go on after the device stopped, the engine goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_fiqa.engines.base import Engine, Ran, Rows, Tokens
from edge_fiqa.exit_table import ExitTable
from edge_fiqa.types import Array, Bytes, Segment


class Steps:
    """An engine for one pass. table None: every step runs when it is asked for."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        steps: Sequence[Segment],
        faces: Bytes,
        table: ExitTable | None,
    ) -> None:
        self._engine, self._clock, self._next = engine, clock, 0
        self._ran: Ran = []
        if table is not None and engine.run_ahead is not None:
            start = clock()
            self._ran = engine.run_ahead(steps, table, faces)
            self._ms = 1e3 * (clock() - start)
            self._blocks = sum(s.last - s.first + 1 for s in steps[: len(self._ran)])

    def run(self, segment: Segment, x: Bytes | Tokens) -> tuple[Tokens | None, Array, float]:
        """As the engine's, and what it took in ms: by its blocks, of what was run in one go."""
        if self._next < len(self._ran):
            tokens, scores = self._ran[self._next]
            self._next += 1
            if self._ahead:  # the tokens behind it are gone, and nobody needs them
                tokens = Tokens(len(scores), segment.last, None)
            return tokens, scores, self._ms * scores.shape[1] / self._blocks
        start = self._clock()
        tokens, scores = self._engine.run(segment, x)
        return tokens, scores, 1e3 * (self._clock() - start)

    def shrinks(self, faces: int, kept: int) -> bool:
        """Whether the next step would be less work without the other faces."""
        engine = self._engine
        return not self._ahead and engine.computed(kept) < engine.computed(faces)

    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        return self._engine.keep(tokens, rows)

    @property
    def _ahead(self) -> bool:
        return self._next < len(self._ran)
