"""An engine whose scores the caller plans: for tests, documents and gateway development."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge_fiqa.engines.base import EngineBase, Outputs, Tokens
from edge_fiqa.engines.turn import in_turn
from edge_fiqa.types import IMAGE, Bytes, Rows, Segment, VitConfig


class FakeEngine(EngineBase):
    """Face i scores `scores[i][k - 1]` at exit k. The faces to feed it are `engine.faces`.

    causes: its logits by name, `causes["yaw"][i][k - 1]`, if it shall read any.

    Each face carries its row number in its first pixels, so the right scores follow it through
    batching and compaction. `calls` records every segment run and its batch size; `on_run`, if
    given, is called before each (to advance a test's clock, or to fail).
    """

    backend, device, threads = "fake", "nowhere", 1

    def __init__(
        self,
        scores: Sequence[Sequence[float]],
        boundaries: Sequence[int] | None = None,
        on_run: Callable[[Segment, int], None] | None = None,
        max_batch: int = 64,
        tails: bool = True,
        causes: Mapping[str, Sequence[Sequence[float]]] | None = None,
    ) -> None:
        super().__init__()
        self.scores = np.atleast_2d(np.asarray(scores, np.float32))
        self.causes = tuple(causes or ())
        self._logits = np.array([*(causes or {}).values()], np.float32)  # (D, N, E)
        depth = self.scores.shape[1]
        ends = list(boundaries or range(1, depth + 1))
        starts = [1, *(end + 1 for end in ends[:-1])]
        bodies = [Segment(first, last) for first, last in zip(starts, ends, strict=True)]
        self.segments = frozenset(
            bodies + [Segment(body.first, body.last, tail=True) for body in bodies if tails]
        )
        self.config = VitConfig(mode="token" if tails else "crfiqa", width=8, depth=depth, heads=1)
        self.on_run, self.max_batch = on_run, max_batch
        self.calls: list[tuple[str, int]] = []

    @property
    def faces(self) -> Bytes:
        """(N, 112, 112, 3): images that this engine recognises as its rows."""
        images = np.zeros((len(self.scores), IMAGE, IMAGE, 3), np.uint8)
        number = np.arange(len(images))
        images[:, 0, 0, 0], images[:, 0, 0, 1] = number % 256, number // 256
        return images

    @in_turn
    def run(self, segment: Segment, x: Bytes | Tokens) -> Outputs:
        faces = self.faces_in(segment, x)
        self.calls.append((segment.name, faces))
        if self.on_run is not None:
            self.on_run(segment, faces)
        if isinstance(x, Tokens):
            rows = x.buffer
        else:
            rows = x[:, 0, 0, 0].astype(np.intp) + 256 * x[:, 0, 0, 1].astype(np.intp)
        tokens = None if segment.tail else Tokens(faces, segment.last, rows)
        causes = self._logits[:, rows, segment.last - 1].T.copy() if self.causes else None
        return Outputs(tokens, self.scores[rows, segment.exits].copy(), causes)

    @in_turn
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        rows = self.rows_in(tokens, rows)
        return Tokens(len(rows), tokens.block, tokens.buffer[rows])
