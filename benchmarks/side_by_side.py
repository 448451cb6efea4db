"""The same network, scored in the ways people would: research code, export tools, and our segments.

    python benchmarks/side_by_side.py [--model vit_s|nano|small ...] [-o RESULT.json]

Every way runs once in each round, so that a slow moment of a shared machine hits them all; a way's
ratio to ours is taken within a round. Batch 1, all exits (FW needs them) unless the name says so;
`12 segments` decides after every block.
Weights of vit_s are seeded noise, as speed does not depend on them; nano and small are shipped.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import side_by_side_ways as ways
from common import SHIPPED, noise_weights, parser, write_result
from safetensors.numpy import save_file

from edge_fiqa.bench.environment import environment
from edge_fiqa.bench.libraries import fastest_product
from edge_fiqa.bench.run import NEVER_STOPS
from edge_fiqa.bench.timing import Effort, in_rounds, median_interval
from edge_fiqa.build.builder import build_bundle
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import open_engine
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.weights import load_weights
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import FaceSet, VitConfig

PRECISIONS = ("fp32", "bf16", "int8")
FACES = synthetic_faces(8)
FACE = FACES[:1]
OURS = {
    "one segment": [Fixed()],
    "12 segments": [NEVER_STOPS],
    "exit 1": [Fixed(1)],
    "exit 6": [Fixed(6)],
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--model", nargs="+", default=["vit_s-T", "vit_s-C", "small", "nano"])
    arguments.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=15)
    options = arguments.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # what tracers say of shapes
    for model in options.model:
        for precision in options.precision:
            with tempfile.TemporaryDirectory() as place:
                runs, gflops, peak = contenders(model, precision, Path(place), options.threads)
                start = environment()
                times = in_rounds(runs | {"peak": peak.run}, Effort(options.rounds, 60.0, 2))
            rate = peak.gflop / (1e-3 * float(times.pop("peak").rounds.min()))
            group = {
                "model": model,
                "precision": precision,
                "environment": start,
                "threads": options.threads,
                "peak_gflops_per_s": round(rate, 1),
                "rows": list(summary(model, precision, times, gflops, rate)),
            }
            result = keep(group, options.output)
    print(json.dumps(result))


def keep(group: dict, output: Path | None) -> dict:
    """The result file with this group in it; groups of an earlier run stay."""
    result = {"what": __doc__.splitlines()[0], "groups": []}
    if output is not None and output.exists():
        result = json.loads(output.read_text(encoding="utf-8"))
    of = itemgetter("model", "precision")
    result["groups"] = [g for g in result["groups"] if of(g) != of(group)] + [group]
    write_result(result, output)
    return result


def contenders(model: str, precision: str, folder: Path, threads: int):
    """Runs by name, GFLOPs of our one segment, and the library's fastest product."""
    checkpoint = weights_of(model, folder)
    weights = load_weights(checkpoint)
    runs: dict[str, Callable[[], object]] = {}
    faces = FaceSet(FACES, ("noise",) * len(FACES), "noise")
    recipe = BuildRecipe(precision=precision, accept_imprecise=True)
    bundle = build_bundle(checkpoint, folder / "bundle", recipe, faces=faces)
    for backend in ("ov",) if precision == "bf16" else ("ov", "ort"):
        controller = Controller(open_engine(bundle, backend, threads), bundle.costs)
        for name, policies in OURS.items():
            controller.prepare(policies)
            runs[f"ours, {backend}, {name}"] = partial(controller.assess, FACE, policies)
    gflops = controller.costs.gflops_of(controller.route(bundle.config.depth, [Fixed()]))
    runs |= ways.export_tools(weights, precision, folder, FACES, threads)
    runs |= ways.torch_ways(weights, precision, FACE, threads)
    return runs, gflops, fastest_product("ov", precision, threads, "CPU")


def weights_of(model: str, folder: Path) -> Path:
    if model in ("nano", "small"):
        return SHIPPED / f"{model}.safetensors"
    config = VitConfig(mode="crfiqa" if model.endswith("-C") else "token")
    save_file(noise_weights(config), str(folder / "w.safetensors"))
    return folder / "w.safetensors"


def summary(model: str, precision: str, times: dict, gflops: float, peak: float):
    ours = times["ours, ov, one segment"].rounds
    for name, measured in sorted(times.items(), key=lambda item: np.median(item[1].rounds)):
        ratio = measured.rounds / ours
        ms = float(np.median(measured.rounds))
        share = gflops / (1e-3 * ms) / peak if name.endswith("one segment") else None
        row = {
            "way": name,
            "ms": round(ms, 4),
            "over_ours": round(float(np.median(ratio)), 4),
            "interval": [round(v, 4) for v in median_interval(ratio)],
            "peak_share": None if share is None else round(share, 4),
            "round_ms": [round(float(v), 4) for v in measured.rounds],
        }
        shown = "" if share is None else f", {share:.0%} of peak"
        low, high = row["interval"]
        print(
            f"{model:<8} {precision:<5} {ms:9.3f} ms, x {row['over_ours']:.3f} [{low:.3f}, {high:.3f}]"
            f"  {name}{shown}",
            flush=True,
        )
        yield row


if __name__ == "__main__":
    main()
