"""edge-fiqa train: faces grouped by person and frozen recognisers become a model with exits."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_fiqa.cli.printing import say, say_if_open
from edge_fiqa.cli.stopping import first_signal
from edge_fiqa.errors import BackendMissing, counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="FILE.yaml", help="or the shipped recipe: small"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="what its paths are relative to (.)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="model, log, curve and checkpoints; Ctrl-C or SIGTERM keeps the steps done, and the same "
        "command goes on",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="prepared faces and labels (OUTPUT/cache)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    parser.add_argument(
        "--prepare-only",
        action="store_true",
        help="fill the cache and stop; a run that needs it takes it up",
    )


def run(options: argparse.Namespace) -> int:
    try:
        import torch

        from edge_fiqa.training.curve import plot_curve
        from edge_fiqa.training.faces import prepare_run
        from edge_fiqa.training.loop import Trainer
        from edge_fiqa.training.recipe import load_config
    except ImportError as exc:
        raise BackendMissing(
            f"training needs {exc.name}; run pip install 'edge-fiqa[train]'"
        ) from exc
    config = load_config(options.config)
    if options.threads or config.schedule.parts > 1:
        torch.set_num_threads(1 if config.schedule.parts > 1 else options.threads)
    root: Path = options.data
    faces = prepare_run(config, root, options.cache or options.output / "cache", options.threads)
    if options.prepare_only:
        say(
            f"{counted(len(faces.images), 'image is', 'images are')} ready; run the same without "
            "--prepare-only"
        )
        return 0
    start = root / config.start if config.start else None
    trainer = Trainer(config.model.config(), config.schedule, faces, options.output, start=start)
    with first_signal(hangup=True) as stop_signal:
        weights = trainer.run(lambda: stop_signal() != 0)
    if weights is None:
        say_if_open(f"edge-fiqa train: stopped at step {trainer.step}; the same command goes on")
        return 128 + stop_signal()
    curve = plot_curve(options.output / "log.ndjson")
    for file in filter(None, (weights, curve)):
        say(str(file))
    say(f"next: edge-fiqa build {weights} -o BUNDLE --precision int8 ...")
    return 0
