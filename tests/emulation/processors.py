"""The same number on every machine: the shipped models on processors that are not here.

    pytest -n 2 tests/emulation/processors.py        # or: make emulate

Under `make test` it is not collected: it takes minutes, and downloads 200 MB of ARM64 wheels once.
Every model that is shipped, on OpenVINO and ONNX Runtime, every exit: against the golden scores of
its bundle, and five faces against this machine's own scores.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.cli.demo import LANDMARKS, PORTRAIT, portrait
from edge_fiqa.cli.effects import defocus, downsample, occlusion
from edge_fiqa.faces.images import decode
from tests.emulation.arm_root import ARM, emulated_command
from tests.emulation.guest import BACKENDS, SHIPPED, computed
from tests.needs import missing, need

GUEST = Path(__file__).with_name("guest.py")
BOUND = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 7e-3}
"""Difference of 95 % of the raw scores between two processors; a score's deviation is about 1.1.

No score differs by more than twice that: of INT8, a value that lies between two steps may be rounded
either way, and of real faces some then differ by more than that (docs/forms.md).
"""
X86 = {
    "Haswell (AVX2, no VNNI)": "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid",
    "Goldmont (SSE4.2, no AVX)": "Denverton-v2,-pcid,-x2apic,-tsc-deadline",
}
"""qemu's models, less what it cannot emulate and would warn of at every thread."""


@pytest.fixture(scope="module")
def inputs():
    """A portrait in the public domain: as taken, mirrored, and made worse in three ways."""
    import matplotlib

    face = portrait()
    versions = (
        *(face, face[:, ::-1]),
        *(defocus(face, 0.4), downsample(face, 0.75), occlusion(face, 0.3)),
    )
    picture = decode(Path(matplotlib.get_data_path()) / "sample_data" / PORTRAIT)
    return {"faces": np.stack(versions), "picture": picture, "points": np.array(LANDMARKS)}


@pytest.fixture(scope="module")
def here(inputs):
    """What this machine computes, with all that its processor can."""
    return computed(**inputs)


def computed_by(command, environment, inputs, folder, backend):
    """What guest.py computes with one library when it is started by `command`."""
    np.savez(folder / "inputs.npz", **inputs)
    kept = {**environment, "EDGE_FIQA_CACHE": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, str(GUEST), str(folder / "inputs.npz"), str(folder / "result.json"), backend],
        env=kept, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-3000:]}"
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert "error" not in result, result["error"]
    return result


def check_scores(result, here):
    """Every score of `result` within its bound of the golden ones, and of this machine's."""
    wrong = []
    for folder in SHIPPED:
        manifest = Bundle.open(folder).manifest
        bound = BOUND[manifest.precision]
        golden = np.array(manifest.golden)
        for name, scores in result["scores"].items():
            if not name.startswith(f"{folder.name} "):
                continue
            pairs = {"golden": golden[: len(scores["golden"])], "as one segment": golden[0, :4]}
            if "faces" in scores:
                pairs["faces"] = np.array(here["scores"][name]["faces"])
            for what, expected in pairs.items():
                if what in scores:
                    difference = np.abs(np.array(scores[what]) - expected)
                    most, largest = np.quantile(difference, 0.95), difference.max()
                    text = (
                        f"{name}, {what}: 95 % within {most:.1e} of {bound:.0e}, all {largest:.1e}"
                    )
                    print(text)
                    if not (most <= bound and largest <= 2 * bound):
                        wrong.append(text)
    assert not wrong, "\n".join(wrong)


def check_complete(result, *backends):
    """These engines scored every shipped model that any processor can compute."""
    for folder in SHIPPED:
        if Bundle.open(folder).manifest.precision in ("fp32", "int8"):
            assert {f"{folder.name} on {backend}" for backend in backends} <= set(
                result["scores"]
            ), result["refused"]


def check_crop(result, inputs):
    """OpenCV has kernels of its own for each processor; a pixel may be rounded the other way."""
    steps = np.abs(np.array(result["crop"], int) - inputs["faces"][0].astype(int))
    assert steps.max() <= 1
    assert np.mean(steps > 0) < 0.02


def test_this_machine(here):
    check_complete(here, *BACKENDS)
    check_scores(here, here)


def test_no_more_than_avx2_by_the_limit_of_onednn(inputs, here, tmp_path):
    """The fast stand-in for an old processor, which OpenVINO obeys and ONNX Runtime does not know."""
    if platform.machine() != "x86_64":
        pytest.skip("only oneDNN for x86-64 can be limited")
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    result = computed_by([sys.executable], environment, inputs, tmp_path, "ov")
    check_complete(result, "ov")
    check_scores(result, here)


# Each library in a process of its own: ten runs of one length keep two workers busy to the end.
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", X86)
def test_x86(name, backend, inputs, here, tmp_path):
    if platform.machine() != "x86_64":
        pytest.skip("this Python runs on another architecture than x86-64")
    qemu = need("qemu-x86_64", "qemu-x86_64-static", package="qemu-user-static")
    result = computed_by(
        [qemu, "-cpu", X86[name], sys.executable], dict(os.environ), inputs, tmp_path, backend
    )
    check_complete(result, backend)
    check_crop(result, inputs)
    check_scores(result, here)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ARM)
def test_arm(name, backend, inputs, here, tmp_path):
    if sys.platform != "linux":
        missing("qemu-user runs on Linux only")
    command, environment = emulated_command(ARM[name])
    result = computed_by(command, environment, inputs, tmp_path, backend)
    assert ARM[name].part in result["cpuinfo"]
    check_complete(result, backend)
    check_crop(result, inputs)
    check_scores(result, here)
