"""edge-fiqa doctor: what is installed, which engines run here and why not, and a self-test."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import numpy as np

from edge_fiqa import __version__
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import GOLDEN_FACES
from edge_fiqa.cli.options import cores
from edge_fiqa.doctor.device_check import TOLERANCE, examine
from edge_fiqa.engines import BACKENDS, open_engine
from edge_fiqa.engines.machine import read_machine
from edge_fiqa.errors import ConfigError, EdgeFiqaError
from edge_fiqa.files import write_whole
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces

PACKAGES = {
    "numpy": "needed",
    "opencv-python": "needed",
    "msgspec": "needed",
    "openvino": "engine ov, the default",
    "onnxruntime": "engine ort; INT8 building",
    "torch": "engine pt; checkpoints; training",
    "onnx": "building bundles",
    "matplotlib": "the demonstration's plot",
    "tensorrt": "engine trt, with pycuda",
    "pycuda": "engine trt, with tensorrt",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="nano", metavar="DIR")
    parser.add_argument(
        "--device",
        action="store_true",
        help="check this machine's GPU for TensorRT: what is missing, scores, latency, energy",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("edge-fiqa-device.json"),
        metavar="FILE",
        help="with --device: where everything found is written (edge-fiqa-device.json)",
    )


def run(options: argparse.Namespace) -> int:
    print(f"edge-fiqa {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"{cores()} processors usable\n\npackages")
    for name, purpose in PACKAGES.items():
        print(f"  {name:<14} {_version(name):<16} {purpose}")
    bundle = Bundle.open(options.bundle)
    print(f"\nbundle {bundle.folder}: sound, {bundle.manifest.name} {bundle.manifest.precision}")
    if options.device:
        return _device(bundle, options.report)
    print("\nengines")
    verdicts = {name: _try_engine(name, bundle) for name in BACKENDS}
    for name, (_, text) in verdicts.items():
        print(f"  {name:<4} {text}")
    usable = [name for name, (works, _) in verdicts.items() if works]
    if not usable:
        print("\nno engine can score this bundle here", file=sys.stderr)
        return 2
    print(f"\nready: scoring works with {', '.join(usable)}")
    return 0


def _device(bundle: Bundle, report: Path) -> int:
    print("\ndevice")
    found = examine(bundle, read_machine(), print, Path("/"))
    found = {
        "edge_fiqa": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        **found,
    }
    try:
        write_whole(report, json.dumps(found, indent=2).encode() + b"\n")
    except OSError as exc:
        raise ConfigError(f"--report {report}: {exc.strerror}") from exc
    print(f"\n{'ready' if found['ready'] else 'NOT ready'}; everything found is in {report}")
    return 0 if found["ready"] else 2


def _version(name: str) -> str:
    for candidate in (name, f"{name}-headless", f"{name}-gpu"):
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


def _try_engine(name: str, bundle: Bundle) -> tuple[bool, str]:
    """(usable, what to print)."""
    try:
        with open_engine(bundle, name, threads=1) as engine:
            found = all_exits(engine, synthetic_faces(GOLDEN_FACES))
    except EdgeFiqaError as exc:
        return False, f"no: {exc}"
    golden = np.array(bundle.manifest.golden)
    difference = float(np.abs(found - golden).max())
    limit = TOLERANCE[bundle.manifest.precision]
    if not difference <= limit:
        return False, f"runs but is WRONG: scores differ by {difference:.1e} (limit {limit:.0e})"
    return True, f"yes: every exit agrees with the golden scores, to {difference:.1e}"
