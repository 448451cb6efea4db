"""edge-fiqa doctor: what is installed, which engines run here and why not, and a self-test."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path

from edge_fiqa import __version__
from edge_fiqa.bundle.bundle import SHIPPED_FORMS, Bundle
from edge_fiqa.cli.info import form_line
from edge_fiqa.cli.options import USUAL_MODEL, check_none_given, cores, usual
from edge_fiqa.cli.printing import say
from edge_fiqa.doctor.checks import processor_warnings
from edge_fiqa.doctor.decoders import decoder_lines
from edge_fiqa.doctor.device_check import examine
from edge_fiqa.doctor.engine_check import check_engine
from edge_fiqa.engines import BACKENDS
from edge_fiqa.engines.forms import keep_tuned, open_form
from edge_fiqa.engines.machine import read_machine
from edge_fiqa.engines.processor import read_processor, this_processor
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.files import write_whole
from edge_fiqa.measurement.tuning import fastest_form

DEVICE_REPORT = Path("edge-fiqa-device.json")
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
    "tensorrt-rtx-cu12-bindings": "engine rtx, with pycuda",
    "pycuda": "engines trt and rtx",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", metavar="DIR", help="or nano (default), small")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="measure every form of the shipped models here, and take the fastest from now on",
    )
    parser.add_argument(
        "--device",
        action="store_true",
        help="check this machine's GPU for TensorRT: what is missing, scores, latency, energy",
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="with --device: the kernels of each plan, and whether attention is one of them",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help=f"with --device: where everything found is written ({DEVICE_REPORT})",
    )


def run(options: argparse.Namespace) -> int:
    if options.tune:
        measured = "does nothing beside --tune, which measures the shipped models"
        check_none_given(options, ("bundle", "device", "layers", "report"), measured)
    if not options.device:
        check_none_given(options, ("layers", "report"), "needs --device")
    say(f"edge-fiqa {__version__}, Python {platform.python_version()}, {platform.platform()}")
    processor = read_processor()
    say(f"{counted(cores(), 'processor')} usable: {processor.name}")
    say(f"instruction sets: {', '.join(processor.instructions) or 'unknown'}")
    for warning in processor_warnings(processor):
        say(f"warning: {warning}")
    say("\npackages")
    for name, purpose in PACKAGES.items():
        say(f"  {name:<26} {_version(name):<16} {purpose}")
    if options.tune:
        return tune()
    say("\nforms of the shipped models")
    for model in SHIPPED_FORMS:
        for threads in sorted({1, cores()}):
            say(f"  {form_line(model, threads)}")
    say("\ndecoders of video, for the gateway")
    for line in decoder_lines():
        say(f"  {line}")
    bundle = open_form(usual(options.bundle, USUAL_MODEL))
    say(f"\nbundle {bundle.folder}: sound, {bundle.manifest.name} {bundle.manifest.precision}")
    if options.device:
        return _device(bundle, options.report or DEVICE_REPORT, options.layers)
    say("\nengines")
    checked = {name: check_engine(name, bundle) for name in BACKENDS}
    for name, check in checked.items():
        say(f"  {name:<4} {check.text}")
    usable = [name for name, check in checked.items() if check.usable]
    if not usable:
        say("\nno engine can score this bundle here", error=True)
        return 2
    say(f"\nready: scoring works with {', '.join(usable)}")
    return 0


def tune() -> int:
    """Measure every form of the shipped models, with one thread and with all, and keep the fastest."""
    say(f"\nmeasuring on {this_processor()}; nothing else should run")
    for model in SHIPPED_FORMS:
        for threads in sorted({1, cores()}):
            form = fastest_form(model, threads)
            path = keep_tuned(model, threads, form)
            times = ", ".join(f"{name} {ms:.2f} ms" for name, ms in form.ms.items())
            say(
                f"  {model}, {counted(threads, 'thread')}: {form.precision} on {form.backend}  "
                f"({times})"
            )
    say(f"kept in {path}; delete it to go back to the table of docs/forms.md")
    return 0


def _device(bundle: Bundle, report: Path, layers: bool) -> int:
    say("\ndevice")
    result = {
        "edge_fiqa": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        **examine(bundle, read_machine(), say, Path("/"), layers),
    }
    try:
        write_whole(report, json.dumps(result, indent=2).encode() + b"\n")
    except OSError as exc:
        raise ConfigError(f"--report {report}: {exc.strerror}") from exc
    say(f"\n{'ready' if result['ready'] else 'NOT ready'}; everything found is in {report}")
    return 0 if result["ready"] else 2


def _version(name: str) -> str:
    for candidate in (name, f"{name}-headless", f"{name}-gpu"):
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"
