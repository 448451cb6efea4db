"""What a Jetson should need for each exit: arithmetic from data sheets, no measurement.

    python3 engines/jetson/estimate.py     # prints what expected.md quotes

The time of one segment is

    max(linear / (rate * use) + attention / (FP16 rate * use), weights / (bandwidth * stream))
      + blocks * kernels * kernel_us + boundary_us

GFLOPs come from edge_fiqa/exits/cost.py.
Activations are not counted: a face's tokens fit into the L2 cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from edge_fiqa.exits.cost import segment_gflops
from edge_fiqa.exits.route import parse_boundaries, segments_for
from edge_fiqa.types import PATCH, Segment, VitConfig

Precision = Literal["fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
GBPS = 1e9


@dataclass(frozen=True)
class Board:
    """sparse_int8_tops: the GPU's alone, as the data sheet gives it. gb_per_s: memory bandwidth."""

    name: str
    mode: str
    sparse_int8_tops: float
    gb_per_s: float
    source: str

    def gflops_per_s(self, precision: Precision) -> float:
        """Dense rate of the tensor cores: half of the sparse one; FP16 half of INT8."""
        return 1e3 * self.sparse_int8_tops / (2 if precision == "int8" else 4)


BOARDS = (
    Board("Orin Nano 8GB", "MAXN_SUPER", 67, 102, "67 sparse INT8 TOPS"),
    Board("Orin NX 16GB", "MAXN", 60, 102, "100 sparse INT8 TOPS, less 40 of the DLAs"),
    Board("AGX Orin 64GB", "MAXN", 170, 204.8, "275 sparse INT8 TOPS, less 105 of the DLAs"),
    Board("Thor T5000", "MAXN", 1035, 273, "1035 sparse INT8 TOPS"),
)
MODELS = {
    "ViT-S": VitConfig(),
    "nano": VitConfig(width=128, heads=4, depth=6),
}


@dataclass(frozen=True)
class Assumptions:
    """Shares of the peak, kernels launched for one block, and fixed times in microseconds."""

    use: float = 0.25
    stream: float = 0.7
    kernels: int = 10
    kernel_us: float = 3.0
    boundary_us: float = 80.0


ASSUMED = Assumptions()
FLOOR = Assumptions(use=1.0, stream=1.0, kernels=0, kernel_us=0.0, boundary_us=0.0)
BAD = replace(ASSUMED, use=ASSUMED.use / 3, kernel_us=3 * ASSUMED.kernel_us, boundary_us=240.0)


def attention_gflops(config: VitConfig, segment: Segment) -> float:
    """Of scores times values, which stay in FP16 in both precisions."""
    t, d = config.tokens, config.width
    whole = segment.last - segment.first + (not segment.tail)
    return 4e-9 * d * t * (t * whole + segment.tail)


def weight_bytes(config: VitConfig, segment: Segment, precision: Precision) -> float:
    """Read once for a segment, however many faces: its linear layers, and the stem if it is first."""
    d = config.width
    each = 1 if precision == "int8" else 2
    linear = (segment.last - segment.first + 1) * (4 + 2 * config.mlp_ratio) * d * d
    return each * (linear + (segment.first == 1) * 3 * PATCH * PATCH * d)


def segment_ms(
    board: Board,
    config: VitConfig,
    segment: Segment,
    precision: Precision,
    faces: int = 1,
    assumed: Assumptions = ASSUMED,
) -> float:
    attention = attention_gflops(config, segment)
    linear = segment_gflops(config, segment) - attention
    seconds = faces * linear / (board.gflops_per_s(precision) * assumed.use)
    seconds += faces * attention / (board.gflops_per_s("fp16") * assumed.use)
    reading = weight_bytes(config, segment, precision) / (board.gb_per_s * GBPS * assumed.stream)
    blocks = segment.last - segment.first + 1
    fixed_us = blocks * assumed.kernels * assumed.kernel_us + assumed.boundary_us
    return 1e3 * max(seconds, reading) + 1e-3 * fixed_us


def route_ms(
    board: Board,
    config: VitConfig,
    route: Sequence[Segment],
    precision: Precision,
    faces: int = 1,
    assumed: Assumptions = ASSUMED,
) -> float:
    return sum(segment_ms(board, config, s, precision, faces, assumed) for s in route)


def at_once(exit: int) -> list[Segment]:
    return [Segment(1, exit, tail=True)]


def in_steps(exit: int) -> list[Segment]:
    """A decision after every block."""
    return [*(Segment(k, k) for k in range(1, exit)), Segment(exit, exit, tail=True)]


def table() -> Iterator[str]:
    exits = range(1, 13)
    columns = " | ".join(map(str, exits))
    yield f"| board, mode | model | | {columns} | all in steps | all, floor to bad |"
    yield "|---" * (len(exits) + 5) + "|"
    for board, (name, config), precision in product(BOARDS, MODELS.items(), PRECISIONS):
        depth = config.depth
        each = {k: route_ms(board, config, at_once(k), precision) for k in exits if k <= depth}
        steps = route_ms(board, config, in_steps(depth), precision)
        floor, bad = (
            route_ms(board, config, at_once(depth), precision, assumed=assumed)
            for assumed in (FLOOR, BAD)
        )
        cells = " | ".join(
            [*(f"{each[k]:.2f}" if k in each else "" for k in exits), f"{steps:.2f}"]
        )
        where = f"{board.name}, {board.mode} | {name} | {precision.upper()}"
        yield f"| {where} | {cells} | {floor:.2f} to {bad:.1f} |"


def assumptions(a: Assumptions = ASSUMED) -> Iterator[str]:
    yield "| part | how | assumed |"
    yield "|---|---|---|"
    yield f"| computing | GFLOPs / (dense rate of the tensor cores x use) | use {a.use:.0%} |"
    yield f"| reading weights | bytes / (bandwidth x share) | share {a.stream:.0%} |"
    yield f"| kernels | beyond their arithmetic | {a.kernels} a block, {a.kernel_us:g} us each |"
    yield f"| boundary | launch, scores to the host, decision | {a.boundary_us:g} us a segment |"


def worked_example() -> Iterator[str]:
    """The arithmetic of one cell, written out."""
    board, config, (segment,), a = BOARDS[0], MODELS["ViT-S"], at_once(12), ASSUMED
    gflops, attention = segment_gflops(config, segment), attention_gflops(config, segment)
    rate, size = board.gflops_per_s("fp16"), weight_bytes(config, segment, "fp16")
    computing = 1e3 * gflops / (rate * a.use)
    reading = 1e3 * size / (board.gb_per_s * GBPS * a.stream)
    fixed = 1e-3 * (12 * a.kernels * a.kernel_us + a.boundary_us)
    yield (
        f"{board.name}, ViT-S, FP16, exit 12: computing takes {gflops:.2f} GFLOPs (of which attention "
        f"{attention:.2f}) / ({rate / 1e3:.2f} TFLOPS x {a.use:g}) = {computing:.2f} ms."
    )
    yield (
        f"Reading takes {size / 1e6:.1f} MB / ({board.gb_per_s:g} GB/s x {a.stream:g}) = "
        f"{reading:.2f} ms, at the same time; with {fixed:.2f} ms fixed: "
        f"**{max(computing, reading) + fixed:.2f} ms**."
    )


def rates() -> Iterator[str]:
    yield "| board | dense FP16, TFLOPS | dense INT8, TOPS | GB/s | from the data sheet |"
    yield "|---|---|---|---|---|"
    for board in BOARDS:
        fp16, int8 = (board.gflops_per_s(precision) / 1e3 for precision in PRECISIONS)
        yield f"| {board.name} | {fp16:.1f} | {int8:.1f} | {board.gb_per_s:g} | {board.source} |"


CUTS = {"every 3 (orin-nano.yaml)": 3, "every 1 (the shipped nano)": 1}


def memory() -> Iterator[str]:
    """Weights of the plans of one batch size: each plan has its own copy of those of its blocks."""
    yield "| segments | model | | a plan to each exit | a body and a tail for each step | both |"
    yield "|---|---|---|---|---|---|"
    for (cut, blocks), (name, config) in product(CUTS.items(), MODELS.items()):
        ends = parse_boundaries(f"every {blocks}", config.depth)
        every = segments_for(ends, tails=True)
        known = [s for s in every if s.first == 1 and s.tail]
        steps = [s for s in every if not s.tail or s.last - s.first + 1 == ends[0]]
        for precision in PRECISIONS:
            cells = []
            for group in (known, steps, every):
                size = sum(weight_bytes(config, segment, precision) for segment in group)
                cells.append(f"{len(group)} plans, {size / 1e6:.0f} MB")
            yield f"| {cut} | {name} | {precision.upper()} | {' | '.join(cells)} |"


def blocks() -> list[str]:
    """What expected.md quotes."""
    parts = (table, assumptions, worked_example, rates, memory)
    return ["\n".join(part()) for part in parts]


if __name__ == "__main__":
    print("\n\n".join(blocks()))
