"""The Engine protocol: one quality model, cut at its exits, loaded by one backend on one device.

The contract in words, which `tests/engines/test_contract.py` holds every backend to:

- `run(segment, x)` executes one segment. The first segment takes images (N, 112, 112, 3) uint8 RGB;
  every other one takes the `Tokens` that the segment before it returned. A tail returns no tokens.
- `Tokens` are a handle. What is behind it (an OpenVINO tensor, an OrtValue, a CUDA address) belongs
  to the engine, stays on its device, and is valid until the same segment runs again.
- Scores come back as a fresh (N, blocks) float32 array that the caller owns. So do logits of causes,
  (N, D), where the bundle has heads that read `causes`: D names, else none.
- `keep(tokens, rows)` is compaction: the same tokens for a subset of the faces, in that order,
  without a visit to the host where the device can do it.
- `computed(faces)` is how many faces the device computes for a batch of that size: a static batch
  is filled up. Where it would stay the same, compaction saves nothing.
- `prepare(segments, faces)` does what takes long before the first face: those segments (None: all)
  for batches of those many faces (None: of any) are built and loaded. `run` needs no preparation.
- `release(segments)` frees the memory of segments that are not needed for now, with tokens that they
  gave out. A backend may do nothing; one that does loads them again when they next run.
- 1 <= N <= max_batch, and rows to keep are among the N; anything else is a ConfigError. Failures
  inside a backend are EngineFailed.
- One thread at a time, in the process that opened it. Whoever runs several segments for one result
  holds `turn` meanwhile, and so waits for others who do. A call from a second thread, of a closed
  engine or in a forked child is EngineFailed, and so is one with tokens that were overwritten.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Set
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np

from edge_fiqa.engines.turn import Turn
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.types import IMAGE, Array, Bytes, Rows, Segment, VitConfig


@dataclass(frozen=True)
class Tokens:
    """Tokens of `faces` faces, waiting behind block `block` on the engine's device.

    loan: of a buffer that the engine will write again. None: the buffer is the tokens' own.
    """

    faces: int
    block: int
    buffer: Any
    loan: Loan | None = None


class Loan:
    """A buffer of the engine holds these tokens until the same segment runs again."""

    def __init__(self, key: Hashable) -> None:
        self.key = key


class Outputs(NamedTuple):
    """What a segment gives for N faces.

    tokens: for the next segment; None of a tail. scores: (N, blocks), after each of its blocks.
    causes: (N, D) logits behind its last block, in the order of the engine's `causes`; None without.
    """

    tokens: Tokens | None
    scores: Array
    causes: Array | None


class Engine(Protocol):
    """See the module's docstring for the contract."""

    config: VitConfig
    segments: Set[Segment]
    backend: str
    device: str
    threads: int
    max_batch: int
    turn: Turn
    causes: tuple[str, ...]

    def run(self, segment: Segment, x: Bytes | Tokens) -> Outputs: ...

    def keep(self, tokens: Tokens, rows: Rows) -> Tokens: ...

    def computed(self, faces: int) -> int: ...

    def prepare(
        self, segments: Iterable[Segment] | None = None, faces: Iterable[int] | None = None
    ) -> None: ...

    def release(self, segments: Iterable[Segment]) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class EngineBase:
    """What every backend checks in the same way."""

    config: VitConfig
    segments: Set[Segment]
    max_batch: int
    causes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.turn = Turn()
        self._loans: dict[Hashable, Loan] = {}

    def lend(self, key: Hashable) -> Loan:
        """The buffer of that key has new tokens in it; those before are gone."""
        loan = self._loans[key] = Loan(key)
        return loan

    def check_loan(self, tokens: Tokens) -> None:
        """Raises EngineFailed if other tokens lie where these did."""
        loan = tokens.loan
        if loan is not None and self._loans.get(loan.key) is not loan:
            raise EngineFailed(
                "these tokens were overwritten: their segment ran again, for another thread or other "
                "faces; use tokens at once, and hold engine.turn where threads share an engine"
            )

    def faces_in(self, segment: Segment, x: Bytes | Tokens) -> int:
        """N, after checking that x is what `segment` takes. Raises ConfigError."""
        if segment not in self.segments:
            raise ConfigError(f"this engine has no segment {segment.name}")
        if isinstance(x, Tokens):
            if x.block != segment.first - 1:
                raise ConfigError(f"tokens behind block {x.block} cannot enter {segment.name}")
            self.check_loan(x)
            faces = x.faces
        elif segment.first != 1:
            raise ConfigError(f"segment {segment.name} takes tokens, not images")
        elif x.ndim != 4 or x.shape[1:] != (IMAGE, IMAGE, 3) or x.dtype != np.uint8:
            raise ConfigError(f"images must be (N, 112, 112, 3) uint8, got {x.shape} {x.dtype}")
        else:
            faces = len(x)
        if not 1 <= faces <= self.max_batch:
            raise ConfigError(f"a batch holds 1 to {self.max_batch} faces, got {faces}")
        return faces

    def rows_in(self, tokens: Tokens, rows: Rows) -> Rows:
        """`rows`, after checking that `keep` may take them out of these tokens. Raises ConfigError.

        A device that reads or writes out of bounds is lost to the whole process.
        """
        self.check_loan(tokens)
        rows, last = np.asarray(rows), tokens.faces - 1
        if not 1 <= len(rows) <= self.max_batch:
            raise ConfigError(f"1 to {self.max_batch} faces can be kept, got {len(rows)}")
        if rows.min() < 0 or rows.max() > last:
            raise ConfigError(f"rows to keep must lie in 0 to {last}")
        return rows

    def check_causes(self, what: object, logits: int) -> None:
        """Raises EngineFailed where a segment does not give a logit for each of the manifest's causes.

        what: its file or plan. logits: how many its output `causes` has; 0 without that output.
        """
        if logits != len(self.causes):
            raise EngineFailed(
                f"{what} gives {logits} logits of causes, where the manifest names "
                f"{len(self.causes)}; rebuild the bundle"
            )

    def computed(self, faces: int) -> int:
        return faces

    def prepare(
        self, segments: Iterable[Segment] | None = None, faces: Iterable[int] | None = None
    ) -> None:
        """Nothing: most backends load a segment in tens of milliseconds when it first runs."""

    def release(self, segments: Iterable[Segment]) -> None:
        """Nothing: on most backends segments share their weights, or take long to load."""

    def close(self) -> None:
        """Free what the backend holds, once a thread that uses it is done. Safe to call twice."""
        self.turn.end()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def require_tokens(tokens: Tokens | None) -> Tokens:
    """Return the tokens for the next segment. Raises EngineFailed after a tail, which has none."""
    if tokens is None:
        raise EngineFailed("no segment can follow a tail: it leaves no tokens")
    return tokens


def bucket_for(faces: int, max_batch: int) -> int:
    """The static batch size that serves `faces`: the next power of two, at most max_batch."""
    return min(1 << (faces - 1).bit_length(), max_batch)
