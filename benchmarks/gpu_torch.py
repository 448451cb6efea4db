"""The torch engine on a CUDA device: what graphs, segments, host decisions and compaction cost.

    python benchmarks/gpu_torch.py -o benchmarks/results/NAME.json
    python benchmarks/gpu_torch.py --device cpu --model tiny --batch 1 2 --rounds 2    (rehearsal)

Ways run in turn within one process, each until its scores are on the host; ratios and differences are
taken within a round. The second line runs everything on the CPU, to see that it works where there is
no GPU; its numbers say nothing of one, and it writes no file.
"""

import contextlib
import json
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gpu_torch_ways as ways
import numpy as np
from common import new_result, parser, write_result

from edge_fiqa.bench.timing import Effort, Times, in_rounds, median_interval
from edge_fiqa.engines.torch_.cuda_engine import POWERS_OF_TWO, TorchCuda
from edge_fiqa.engines.torch_.device import GpuDevice, find_cuda
from edge_fiqa.engines.torch_.network import DTYPES
from edge_fiqa.exits.route import segments_for
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.weights import Weights
from edge_fiqa.types import Segment

MIXES = Path(__file__).parent / "results/2026-11-25-epyc2-exit_mixes.json"
MOST = 1.02  # compaction may cost this much of a pass without it, never more
NO_GPU = "gpu_torch.py: torch finds no CUDA device; --device cpu rehearses without one"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments.add_argument("--model", nargs="+", choices=ways.MODELS, default=["nano", "vit_s"])
    arguments.add_argument("--precision", nargs="+", choices=DTYPES, default=list(DTYPES))
    arguments.add_argument("--batch", nargs="+", type=int, default=list(POWERS_OF_TWO))
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--turn-ms", type=float, default=20.0)
    arguments.add_argument("--mixes", type=Path, default=MIXES, help="faces per exit, by rule")
    options = arguments.parse_args()
    rehearsal = options.device == "cpu"
    if rehearsal and options.output is not None:
        sys.exit("gpu_torch.py: a rehearsal on the CPU is not a result: leave out --output")
    device = ways.Rehearsal() if rehearsal else find_cuda()
    if device is None:
        sys.exit(NO_GPU)
    logging.basicConfig(format="%(message)s")  # if captures are refused, it is said here
    result = new_result(__doc__)
    result["environment"]["gpu"] = None if rehearsal else ways.gpu()
    effort = Effort(options.rounds, options.turn_ms)
    mixes = json.loads(options.mixes.read_text(encoding="utf-8"))["mixes"]["nano"]
    groups = []
    for model in options.model:
        weights = ways.weights_of(model)
        for precision in options.precision:
            group = {"model": model, "precision": precision}
            group |= measure(weights, precision, device, sorted(options.batch), effort, mixes)
            groups.append(group)
            show(group)
    result |= {
        "rehearsal": rehearsal,
        "exit mixes": options.mixes.name,
        "groups": groups,
    }
    write_result(result, options.output)
    print(json.dumps(result))


def measure(
    weights: Weights,
    precision: str,
    device: GpuDevice,
    batches: list[int],
    effort: Effort,
    mixes: dict[str, list[int]],
) -> dict:
    depth = weights.config.depth
    segments = segments_for(range(1, depth + 1), tails=weights.config.mode == "token")
    faces = synthetic_faces(batches[-1])
    with contextlib.ExitStack() as stack:

        def engine(**options) -> TorchCuda:
            opened = TorchCuda(weights, segments, precision, device, **options)
            return stack.enter_context(opened)

        graphs, eager = engine(), engine(graphs=False)
        reference = ways.reference(weights, precision, device)
        rows, selection = [], []
        for batch in batches:
            some = faces[:batch]
            first_ms = ways.first_pass_ms(graphs, some)
            runs = {"reference": partial(reference, some)} | ways.passes(graphs, eager, some)
            rows.append(row(batch, first_ms, in_rounds(runs, effort), depth))
            if batch > 1:
                selection.append(select(graphs, some, effort))
        block_ms = blocks(graphs, faces, batches, effort)
        keep_ms = max((row["keep_ms"] for row in selection), default=0.0)
        chosen = worth_having(block_ms, keep_ms)
        kinds = {"powers of two": graphs, "chosen": engine(batches=chosen)}
        compaction = [
            compare(name, kind, counts, faces[:batch], effort)
            for name, kind in kinds.items()
            for batch in batches
            if batch in (chosen if name == "chosen" else batches) and batch > 1
            for counts in mixes.items()
        ]
        captured = graphs.graphs
    return {
        "captured graphs": captured,
        "passes": rows,
        "selection": selection,
        "block_ms": {str(n): round(ms, 4) for n, ms in block_ms.items()},
        "batches worth having": chosen,
        "compaction": compaction,
        "verdict": {
            name: verdict([r for r in compaction if r["batches"] == name]) for name in kinds
        },
    }


def row(batch: int, first_ms: float, times: dict[str, Times], depth: int) -> dict:
    """Medians of ms, and what lies between two ways, with 95 % intervals of the median."""
    of = {name: measured.rounds for name, measured in times.items()}
    edges = max(depth - 1, 1)
    return {
        "batch": batch,
        "first pass_ms": round(first_ms, 2),  # warm-up and capture of every segment
        "ms": {name: round(float(np.median(ms)), 4) for name, ms in of.items()},
        "graphs, x faster than the reference": middle(of["reference"] / of["one segment"]),
        "graphs, x faster than without": middle(of["eager, one segment"] / of["one segment"]),
        "graphs in steps, x faster than without": middle(of["eager, steps"] / of["steps"]),
        "segment boundary_us": middle(1e3 * (of["not asking"] - of["one segment"]) / edges),
        "wait_us": middle(1e3 * (of["steps"] - of["not asking"]) / edges),
        "host decision_us": middle(1e3 * (of["controller"] - of["not asking"]) / edges),
        "steps, asked, over one segment": middle(of["controller"] / of["one segment"]),
    }


def blocks(
    engine: TorchCuda, faces: np.ndarray, batches: list[int], effort: Effort
) -> dict[int, float]:
    """Median ms of one block by batch size, waited for."""
    tokens = {n: engine.run(Segment(1, 1), faces[:n])[0] for n in batches}
    runs = {str(n): partial(engine.run, Segment(2, 2), tokens[n]) for n in batches}
    times = in_rounds(runs, effort)
    return {n: float(np.median(times[str(n)].rounds)) for n in batches}


def select(engine: TorchCuda, faces: np.ndarray, effort: Effort) -> dict:
    """Half of a batch selected and one block run, against that block for all: the least to gain."""
    tokens = engine.run(Segment(1, 1), faces).tokens
    rows, half = np.arange(0, len(faces), 2), Segment(2, 2)
    runs: dict[str, Callable[[], object]] = {
        "all": partial(engine.run, half, tokens),
        "kept": lambda: engine.run(half, engine.keep(tokens, rows)),
    }
    if half.last < engine.config.depth:
        kept = engine.keep(tokens, rows)
        runs["half"] = partial(engine.run, half, kept)
    times = {name: ms.rounds for name, ms in in_rounds(runs, effort).items()}
    return {
        "batch": len(faces),
        "keep_ms": round(max(0.0, float(np.median(times["kept"] - times["half"]))), 4),
        "kept over all": middle(times["kept"] / times["all"]),
    }


def worth_having(block_ms: dict[int, float], keep_ms: float) -> list[int]:
    """The batch sizes by which a block saves more than selecting the faces for it costs.

    From the largest down: a smaller one exists if one block of it, and the selection, take less time
    than one block of the next larger that exists.
    """
    sizes = sorted(block_ms, reverse=True)
    chosen = sizes[:1]
    for size in sizes[1:]:
        if block_ms[size] + keep_ms < block_ms[chosen[-1]]:
            chosen.append(size)
    return chosen[::-1]


def compare(
    batches: str,
    engine: TorchCuda,
    counts: tuple[str, list[int]],
    faces: np.ndarray,
    effort: Effort,
) -> dict:
    """The same faces leaving at the same exits, dropped where the batch shrinks or carried along."""
    mix, shares = counts[0], np.array(counts[1][: engine.config.depth], float)
    rng = np.random.default_rng(len(faces))
    draws = [
        rng.choice(np.arange(1, len(shares) + 1), len(faces), p=shares / shares.sum())
        for _ in range(4)
    ]
    times = in_rounds(
        {
            name: lambda drop=name == "dropped": [
                ways.leave(engine, faces, depths, drop) for depths in draws
            ]
            for name in ("dropped", "carried")
        },
        effort,
    )
    ratio = times["dropped"].rounds / times["carried"].rounds
    return {
        "batches": batches,
        "mix": mix,
        "batch": len(faces),
        "carried_ms": round(float(np.median(times["carried"].rounds)) / len(draws), 4),
        "dropped over carried": middle(ratio),
    }


def verdict(rows: list[dict]) -> str:
    """Never slower than carrying on by more than 2 %? What the intervals leave open is said."""
    ratios = {f"{r['mix']}, batch {r['batch']}": r["dropped over carried"] for r in rows}
    slower = [name for name, (_, low, _) in ratios.items() if low > MOST]
    if slower:
        return f"broken: {', '.join(slower)}"
    unclear = [name for name, (_, _, high) in ratios.items() if high > MOST]
    return f"not resolved: {', '.join(unclear)}" if unclear else "holds"


def middle(values: np.ndarray) -> list[float]:
    """Median of rounds, and its 95 % interval."""
    return [round(float(v), 4) for v in (np.median(values), *median_interval(values))]


def show(group: dict) -> None:
    print(f"\n{group['model']} {group['precision']}: {group['captured graphs']} graphs")
    for passed in group["passes"]:
        named = {key: value[0] for key, value in passed.items() if isinstance(value, list)}
        print(f"  batch {passed['batch']:<3}", "  ".join(f"{k} {v:.3g}" for k, v in named.items()))
        print("            ms:", "  ".join(f"{k} {v:.3g}" for k, v in passed["ms"].items()))
    print(f"  batch sizes worth having: {group['batches worth having']}")
    for kind, said in group["verdict"].items():
        print(f"  compaction, {kind}: {said}")


if __name__ == "__main__":
    main()
