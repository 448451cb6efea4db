"""What supervising every exit is worth: the same network trained with it, and only at its last exit.

    python benchmarks/deep_supervision.py DATA --cache DIR --runs DIR [--steps N] -o RESULT.json

Two short runs from nothing of the nano recipe, equal but for the supervision. Judged on persons held
out of both (rank correlation with the label) and on the CelebA test list with unseen recognisers.
"""

import argparse
import json
from pathlib import Path

import msgspec
import numpy as np
from baselines import RECOGNISERS, UNSEEN
from model_quality import pauc, read_list
from scipy.stats import spearmanr

from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.recognition import Recogniser
from edge_fiqa.training.faces import prepare_run
from edge_fiqa.training.loop import Trainer
from edge_fiqa.training.recipe import load_config

LIST = "celeba10k_gen_test"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="checkpoints; resumes")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    config, data = load_config("nano"), options.data
    prepared = prepare_run(config, data, options.cache)
    faces, a, b, same, _ = read_list(data, LIST)
    result: dict = {"steps": options.steps, "batch": config.schedule.batch, "list": LIST}
    for supervision in ("depth", "last"):
        schedule = msgspec.structs.replace(
            config.schedule,
            steps=options.steps,
            supervision=supervision,
            kept_patches=48,
            full_patches_from=1.0,
        )
        shape = config.model.config()
        trainer = Trainer(shape, schedule, prepared, options.runs / supervision)
        trainer.run()
        held = trainer.batches.held_out
        trail, label = trainer.trail(prepared.images[held]), prepared.quality[held]
        result[supervision] = {
            "spearman": [round(float(spearmanr(s, label).statistic), 3) for s in trail.T],
            "pauc_e3": celeba(data, trainer.trail(faces), faces, a, b, same),
        }
        print(supervision, result[supervision], flush=True)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        plot(result, options.output.with_suffix(".png"))


def celeba(data: Path, trail: np.ndarray, faces: np.ndarray, *pairs: np.ndarray) -> list[float]:
    """pAUC(0.3) x 1e-3 of every exit, FMR 1e-2, mean of the unseen recognisers."""
    a, b, same = pairs
    found = []
    for name in UNSEEN:
        model = Recogniser(path=data / f"models/{name}.onnx", **RECOGNISERS[name])
        embedding = model.embed(faces)
        similarity = (embedding[a] * embedding[b]).sum(1)
        threshold = threshold_at_fmr(similarity[~same], 1e-2)
        found.append(
            [pauc(similarity[same], np.minimum(q[a], q[b])[same], threshold) for q in trail.T]
        )
    return [round(float(value), 2) for value in np.mean(found, axis=0)]


def plot(result: dict, target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    ranks, areas = figure.subplots(1, 2)
    for supervision, colour in (("depth", "#2166ac"), ("last", "#b2182b")):
        label = {"depth": "every exit supervised", "last": "only the last one"}[supervision]
        for axes, key in ((ranks, "spearman"), (areas, "pauc_e3")):
            values = result[supervision][key]
            axes.plot(range(1, len(values) + 1), values, "o-", color=colour, label=label)
    ranks.set(ylabel="Spearman with the label, held-out persons")
    areas.set(ylabel="CelebA, pAUC x 1e-3 (lower is better)")
    for axes in (ranks, areas):
        axes.set(xlabel="exit (blocks run)", xticks=range(1, len(values) + 1))
        axes.grid(alpha=0.3)
    ranks.legend()
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
