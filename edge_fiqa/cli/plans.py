"""edge-fiqa plans: a bundle's plans for TensorRT for RTX, built on any machine, GPU or not."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.cli.printing import say
from edge_fiqa.engines.owner import Owner
from edge_fiqa.errors import BackendMissing, ConfigError, counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="DIR|nano|small")
    parser.add_argument(
        "--capabilities",
        required=True,
        metavar="8.6,8.9",
        help="compute capabilities of the cards: 8.0 A100, 8.6 RTX 30 and A10, 8.9 RTX 40 and L4, "
        "12.0 RTX 50, 12.1 DGX Spark",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="a copy of the bundle with the plans in it (default: into the bundle itself)",
    )


def run(options: argparse.Namespace) -> int:
    capabilities = tuple(dict.fromkeys(filter(None, options.capabilities.split(","))))
    if not capabilities:
        raise ConfigError("--capabilities names no compute capability, as 8.6,8.9,12.0 would")
    bundle = Bundle.open(options.bundle)
    target = bundle.folder if options.output is None else options.output
    if options.output is not None and target.exists():
        raise ConfigError(f"{target} exists; name a new folder")
    built = _built(bundle, target, capabilities)
    plans = list(built.folder.glob("*.plan"))
    size_mb = sum(path.stat().st_size for path in plans) / 1e6
    say(
        f"{built.folder}: {counted(len(plans), 'plan')}, {size_mb:.1f} MB, for "
        f"{', '.join(capabilities)}; "
        "run it there with --backend rtx"
    )
    return 0


def _built(bundle: Bundle, target: Path, capabilities: tuple[str, ...]) -> Bundle:
    """On a thread of its own: Ctrl-C reaches the one that waits, and the build then stops."""
    try:
        from edge_fiqa.engines.trt.api import rtx_api
        from edge_fiqa.engines.trt.portable_plans import add_plans

        api = rtx_api()
    except ImportError as exc:
        raise BackendMissing(f"plans: {exc}; run pip install 'edge-fiqa[rtx]'") from exc
    cancelled, owner = threading.Event(), Owner("edge_fiqa-plans")
    try:
        return owner.call(add_plans, bundle, target, api, capabilities, cancelled)
    finally:
        cancelled.set()
        owner.stop()
