"""ViT-S, token mode, batch 1: our segments beside torch eager, interleaved in one process.

    python benchmarks/vit_s.py [--rounds 25] [-o benchmarks/results/NAME.json]

Weights are seeded noise: speed does not depend on them. Every contender runs once in each round, so
that a slow moment of a shared machine hits them all; ratios are taken within a round, and the median
over rounds is reported, with the quartiles beside it.
"""

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from edge_fiqa.bench.environment import environment
from edge_fiqa.build import build_bundle
from edge_fiqa.config import BuildRecipe
from edge_fiqa.controller import Controller
from edge_fiqa.engines import open_engine
from edge_fiqa.measure import synthetic_faces
from edge_fiqa.model.build_torch import load_vit
from edge_fiqa.model.weights import expected_shapes, load_weights
from edge_fiqa.policy import Convergence, Fixed
from edge_fiqa.types import VitConfig

NEVER = Convergence(eps=1e-30)  # asked after every segment, never stops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        ms = measure(Path(folder), options.rounds, options.threads)
    result = {
        "what": "ViT-S token mode, batch 1, ms per face; ratios within rounds: median [quartiles]",
        "environment": environment(),
        "threads": options.threads,
        "rounds": options.rounds,
        "ms": {name: summary(times) for name, times in ms.items()},
        "ratios": {name: summary(ratio) for name, ratio in ratios(ms).items()},
    }
    for group in ("ms", "ratios"):
        print(f"\n{group}")
        for name, row in result[group].items():
            print(f"  {name:<52} {row['median']:8.3f}  [{row['q1']:.3f}, {row['q3']:.3f}]")
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def measure(folder: Path, rounds: int, threads: int) -> dict[str, np.ndarray]:
    checkpoint = folder / "vit_s.safetensors"
    rng = np.random.default_rng(0)
    arrays = {
        key: (
            rng.random(shape) + 0.5
            if "running_var" in key or shape == (512,)
            else rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        ).astype(np.float32)
        for key, shape in expected_shapes(VitConfig()).items()
    }
    save_file(arrays, str(checkpoint))
    vit, faces = load_vit(load_weights(checkpoint)), synthetic_faces(8)
    face = faces[:1]

    @torch.inference_mode()
    def eager(depth: int) -> None:
        x = torch.from_numpy(face).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        x = vit.stem(x)
        for block in vit.blocks[:depth]:
            x = block(x)
        float(vit.head(x))

    def eager_every_exit() -> None:
        for depth in range(1, 13):
            eager(depth)

    contenders = {
        "torch eager fp32": lambda: eager(12),
        "torch eager fp32, a pass per exit": eager_every_exit,
    }
    for precision in ("fp32", "bf16", "int8"):
        for segments in ("12", "4"):
            recipe = BuildRecipe(precision=precision, segments=segments, range_faces=8)
            bundle = build_bundle(
                checkpoint, folder / f"{precision}-{segments}", recipe, faces=faces
            )
            controller = Controller(open_engine(bundle, "ov", threads), bundle.costs)
            ours = {f"{segments} segments": [NEVER]}
            if segments == "12":
                ours |= {"one segment": [Fixed()], "exit 1": [Fixed(1)], "exit 6": [Fixed(6)]}
                ours["exit 6 in steps"] = [Fixed(6), NEVER]
            for name, policies in ours.items():
                controller.prepare(policies)
                contenders[f"{precision} {name}"] = lambda c=controller, p=policies: c.assess(
                    face, p
                )
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 3):
        for name, run in contenders.items():
            repeats = 1 if "torch" in name else 3
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            if turn >= 3:
                times[name].append(1e3 * (time.perf_counter() - start) / repeats)
    return {name: np.array(found) for name, found in times.items()}


def ratios(ms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each stated once, larger is better for `x faster`, smaller for shares."""
    eager, per_exit = ms["torch eager fp32"], ms["torch eager fp32, a pass per exit"]
    found = {}
    for precision in ("fp32", "bf16", "int8"):
        segments, one = ms[f"{precision} 12 segments"], ms[f"{precision} one segment"]
        found[f"{precision}: 12 segments, x faster than torch eager"] = eager / segments
        found[f"{precision}: one segment, x faster than torch eager"] = eager / one
        found[f"{precision}: all exits, x faster than a pass per exit"] = per_exit / segments
        found[f"{precision}: 12 segments over one segment"] = segments / one
        found[f"{precision}: 4 segments over one segment"] = ms[f"{precision} 4 segments"] / one
        found[f"{precision}: exit 1 over full depth"] = ms[f"{precision} exit 1"] / one
        found[f"{precision}: exit 6 over full depth"] = ms[f"{precision} exit 6"] / one
        found[f"{precision}: exit 6 over full depth, both in steps"] = (
            ms[f"{precision} exit 6 in steps"] / segments
        )
    return found


def summary(values: np.ndarray) -> dict[str, float]:
    q1, median, q3 = np.percentile(values, (25, 50, 75))
    return {"median": round(median, 4), "q1": round(q1, 4), "q3": round(q3, 4)}


if __name__ == "__main__":
    main()
