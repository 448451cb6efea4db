"""edge-fiqa evaluate: a plan in, a report out."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_fiqa import __version__
from edge_fiqa.cli.printing import say
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.report.page import summary, write_report
from edge_fiqa.evaluation.report.plan import load_plan
from edge_fiqa.evaluation.report.run import run_evaluation
from edge_fiqa.files import cache_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", type=Path, metavar="PLAN.yaml", help="see docs/evaluation.md")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="paths in the plan are below it (the plan's folder)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="kept scores and embeddings")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of one model")


def run(options: argparse.Namespace) -> int:
    plan, root = load_plan(options.plan), options.root or options.plan.parent
    cache = options.cache or cache_folder("evaluate")
    evaluation = run_evaluation(plan, root, cache, __version__, options.threads)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        write_report(evaluation, plan, root, options.output)
    except OSError as exc:
        raise ConfigError(f"{options.output}: {exc.strerror or exc}") from exc
    say("\n".join(summary(evaluation)))
    say(f"\n{options.output / 'report.html'}   (and results.json, results.csv, *.png)")
    return 0
