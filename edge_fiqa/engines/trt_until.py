"""A whole pass as one CUDA graph that stops by itself: an experiment, which has not run on a GPU.

After each segment the kernel `decide` sets the condition of the next one. One launch, one copy of all
scores to the host, one wait. The host then asks its policies as ever (see `edge_fiqa.steps`).

A graph is proved before it is used: it must stop behind every segment when told so, and give the scores
that the segments give one by one. Anything else is Refused, as is what the driver does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_fiqa.engines.base import Ran, Tokens
from edge_fiqa.engines.lease import TokenPool
from edge_fiqa.engines.trt_conditional import Conditionals, Refused
from edge_fiqa.engines.trt_device import KERNEL_ROWS, Device, Staging
from edge_fiqa.engines.trt_graph import Graphs
from edge_fiqa.engines.trt_scratch import Scratch
from edge_fiqa.engines.trt_stage import WARM_UP, Context, Stage
from edge_fiqa.errors import EngineFailed
from edge_fiqa.exit_table import ExitTable
from edge_fiqa.types import Array, Segment

EXITS = 32  # that fit the kernel's structs
PLACE = np.dtype([("at", np.uint32), ("stride", np.uint32)])
DECISION = np.dtype(
    [("low", np.float32), ("high", np.float32), ("exits", np.uint32), ("weight", np.float32, EXITS)]
)
CONTROL = np.dtype([("faces", np.uint32), ("place", PLACE, EXITS), ("decision", DECISION, EXITS)])
"""As in decide.cu."""
LINE = 64  # floats in 256 bytes, to which TensorRT wants every address aligned

StageOf = Callable[[Segment, int], Stage]


def round_up(floats: int) -> int:
    return -(-floats // LINE) * LINE


@dataclass
class Pass:
    """A graph of these steps, and what it was made of.

    at: where each step's scores lie among all of them, in floats, and where the last one's end.
    """

    graph: Any
    made_of: Any
    generation: int
    steps: tuple[Segment, ...]
    batch: int
    at: list[int]

    def scores(self, all_scores: Array, number: int) -> Array:
        """(batch, exits) view of what a step left."""
        exits = self.steps[number].last - self.steps[number].first + 1
        start = self.at[number]
        return all_scores[start : start + self.batch * exits].reshape(self.batch, exits)


class Until:
    """Conditional graphs by steps and batch size, and the memory that all of them share."""

    def __init__(
        self,
        device: Device,
        graphs: Graphs,
        scratch: Scratch,
        pool: TokenPool[int],
        images: int,
        exits: int,
        max_batch: int,
        stage_of: StageOf,
    ) -> None:
        if exits > EXITS or max_batch > KERNEL_ROWS:
            raise Refused(f"exits are decided on the device for {EXITS} exits, {KERNEL_ROWS} faces")
        self._device, self._graphs, self._scratch = device, graphs, scratch
        self._images, self._stage_of = images, stage_of
        self._conditionals = Conditionals(device.handle, graphs)
        self._control = Staging(device, (CONTROL.itemsize,), np.uint8)
        # How many segments ran, in a line of its own, and then their scores.
        self._out = Staging(device, (LINE + exits * round_up(max_batch),), np.float32)
        self._tokens = [pool.lend(), pool.lend()]  # of even and of odd steps
        self._passes: dict[tuple[tuple[Segment, ...], int], Pass] = {}

    def run(self, steps: Sequence[Segment], table: ExitTable, faces: int, batch: int) -> Ran:
        """What ran of these steps, from the images that were uploaded. Raises Refused."""
        key = tuple(steps), batch
        made = self._passes.get(key)
        if made is None or made.generation != self._scratch.generation:
            self._forget(key)
            made = self._passes[key] = self._make(*key)
        self._launch(made, faces, table)
        ran, scores = self._ran, self._scores
        if not 1 <= ran <= len(steps):
            raise Refused(f"a conditional CUDA graph ran {ran} of {len(steps)} segments")
        found: Ran = [(None, made.scores(scores, n)[:faces].copy()) for n in range(ran)]
        last = steps[ran - 1]
        if not last.tail:
            tokens = Tokens(faces, last.last, self._tokens[(ran - 1) % 2])
            found[-1] = tokens, found[-1][1]
        return found

    def close(self) -> None:
        with suppress(EngineFailed):  # of a device that failed, whoever used it has heard
            self._device.synchronise()  # a copy may be on its way from memory that goes with this
        for key in list(self._passes):
            self._forget(key)

    def _forget(self, key: tuple[tuple[Segment, ...], int]) -> None:
        if (made := self._passes.pop(key, None)) is not None:
            self._drop(made)

    def _drop(self, made: Pass) -> None:
        self._graphs.destroy(made.graph)
        self._graphs.drop(made.made_of)

    # ---- making a graph

    def _make(self, steps: tuple[Segment, ...], batch: int) -> Pass:
        sizes = [round_up(batch * (step.last - step.first + 1)) for step in steps]
        at = np.cumsum([0, *sizes]).tolist()
        contexts = self._contexts(steps, batch, at)
        self._out.host[...] = np.nan
        self._out.upload(self._out.host.size)
        for _ in range(WARM_UP):
            for context in contexts:
                context.bind()
                if not context.execute():
                    raise Refused("TensorRT cannot enqueue a segment")
            self._decide(0, 0)  # loads the kernel, which must not happen in a capture
        self._out.download(self._out.host.size)
        self._device.synchronise()
        plain = self._scores.copy()
        parts = [partial(self._part, context, step) for step, context in enumerate(contexts)]
        made = Pass(*self._conditionals.build(parts), self._scratch.generation, steps, batch, at)
        try:
            self._prove(made, plain)
        except BaseException:
            self._drop(made)
            raise
        return made

    def _contexts(self, steps: Sequence[Segment], batch: int, at: Sequence[int]) -> list[Context]:
        stages = [self._stage_of(step, batch) for step in steps]  # all of them: scratch may move
        contexts, source = [], self._images
        for number, (step, stage) in enumerate(zip(steps, stages, strict=True)):
            target = None if step.tail else self._tokens[number % 2].memory
            scores = self._out.address + 4 * (LINE + at[number])
            contexts.append(stage.context(source, scores, target))
            source = target or 0
        return contexts

    def _part(self, context: Context, step: int, handle: int) -> bool:
        if not context.execute():
            return False
        self._decide(handle, step)
        return True

    def _decide(self, handle: int, step: int) -> None:
        ran, scores = self._out.address, self._out.address + 4 * LINE
        try:
            self._device.decide(self._control.address, scores, ran, handle, step)
        except EngineFailed as exc:
            raise Refused(str(exc)) from exc

    def _prove(self, made: Pass, plain: Array) -> None:
        """Stop it behind each step in turn, and compare."""
        decisions, exits = len(made.steps) - 1, made.steps[-1].last
        depths = tuple(step.last for step in made.steps[:-1])
        weights = np.zeros((decisions, exits), np.float32)
        for wanted in range(1, len(made.steps) + 1):
            low = np.full(decisions, -np.inf, np.float32)
            low[wanted - 1 :] = np.inf
            self._out.host[...] = np.nan
            self._out.upload(self._out.host.size)
            high = np.full(decisions, np.inf, np.float32)
            self._launch(made, made.batch, ExitTable(depths, weights, low, high))
            if self._ran != wanted:
                raise Refused(f"told to stop after {wanted} segments, the graph ran {self._ran}")
            for number in range(len(made.steps)):
                found = made.scores(self._scores, number)
                expected = made.scores(plain, number)
                if number >= wanted:
                    expected = np.full_like(expected, np.nan)
                if not np.allclose(found, expected, rtol=1e-3, atol=1e-3, equal_nan=True):
                    name = made.steps[number].name
                    raise Refused(f"in a conditional CUDA graph {name} gives other scores")

    # ---- running one

    def _launch(self, made: Pass, faces: int, table: ExitTable) -> None:
        control = self._control.host.view(CONTROL)[0]
        control["faces"] = faces
        place, decision = control["place"], control["decision"]
        for start, step in zip(made.at, made.steps, strict=False):
            width = step.last - step.first + 1
            place["at"][step.first - 1 : step.last] = start + np.arange(width)
            place["stride"][step.first - 1 : step.last] = width
        rows, columns = table.weights.shape
        decision["low"][:rows], decision["high"][:rows] = table.low, table.high
        decision["exits"][:rows] = table.depths
        decision["weight"][:rows, :columns] = table.weights
        self._control.upload(CONTROL.itemsize)
        self._graphs.launch(made.graph, Refused)
        self._out.download(LINE + made.at[-1])
        self._device.synchronise()

    @property
    def _ran(self) -> int:
        head: npt.NDArray[Any] = self._out.host[:1].view(np.uint32)
        return int(head[0])

    @property
    def _scores(self) -> Array:
        found: Array = self._out.host[LINE:]
        return found
