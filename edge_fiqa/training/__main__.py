"""`python -m edge_fiqa.training DATA OUT`: train the shipped model's recipe.

DATA holds `splits/train.csv` (path, dataset, identity), the faces it names, and `models/`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_fiqa.recognition import Recogniser
from edge_fiqa.training.faces import prepare
from edge_fiqa.training.loop import Trainer, TrainingRecipe
from edge_fiqa.types import VitConfig

VARIANTS = 5  # degraded versions of every training face


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edge_fiqa.training", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, help="checkpoints, log and model; a second run resumes")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--grey", type=float, default=0.0, help="share of faces shown in grey")
    parser.add_argument("--start", type=Path, help="latest.pt of a run to begin from")
    parser.add_argument("--cache", type=Path, help="prepared faces (default: OUT/cache)")
    options = parser.parse_args()
    models = options.data / "models"
    teachers = (
        Recogniser(path=models / "insightface_mobilefacenet_y1.onnx"),
        Recogniser(
            path=models / "mobilefacenet_foamliu.onnx",
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
        ),
    )
    split = options.data / "splits/train.csv"
    cache = options.cache or options.out / "cache"
    faces = prepare(split, options.data, cache, teachers, VARIANTS, seed=0)
    config = VitConfig(width=options.width, depth=options.depth, heads=options.heads)
    recipe = TrainingRecipe(
        steps=options.steps, learning_rate=options.learning_rate, grey=options.grey
    )
    print(Trainer(config, recipe, faces, options.out, start=options.start).run())


if __name__ == "__main__":
    main()
