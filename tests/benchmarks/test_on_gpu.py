"""benchmarks/on_gpu.sh: rehearsed on the CPU, each part leaves its line and its JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import need

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ["environment", "agreement", "device", "peak_fp32", "torch_tests", "torch_fp32"]


def run(tmp_path, *options, **environment):
    return subprocess.run(
        ["bash", str(FOLDER / "on_gpu.sh"), "--rehearse", "-o", str(tmp_path / "out"), *options],
        env={
            **os.environ,
            "PYTHON": sys.executable,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )


def result(tmp_path, part):
    return json.loads((tmp_path / f"out/{part}.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_rehearsal_runs_every_part(tmp_path):
    done = run(tmp_path)
    lines = done.stdout.splitlines()
    assert [line.split(": ok, ")[0] for line in lines] == PARTS, done.stdout
    assert done.returncode == 0
    rows = result(tmp_path, "agreement")["result"]["rows"]
    assert {row["backend"] for row in rows} == {"pt on CUDA", "ort", "ov"}
    assert all(row["right"] for row in rows)
    device = result(tmp_path, "device")["result"]
    assert all(row["right"] for row in [*device["copies"], *device["gather"], device["graph"]])
    peak = result(tmp_path, "peak_fp32")["result"]
    assert [row["batch"] for row in peak["rows"]] == [1, 2]
    assert all(row["share_of_peak"] > 0 for row in peak["rows"])
    assert "passed" in result(tmp_path, "torch_tests")["printed"][-1]
    assert result(tmp_path, "torch_fp32")["result"]["rehearsal"] is True


def test_what_fails_or_is_cut_off_is_said_and_kept(tmp_path):
    broken = tmp_path / "python"
    broken.write_text(
        f'#!/bin/bash\ncase "$*" in *on_gpu_part*) exec {sys.executable} "$@";; esac\n'
        "echo almost >&2; exit 7\n",
        encoding="utf-8",
    )
    broken.chmod(0o755)
    done = run(tmp_path, PYTHON=str(broken))
    assert done.returncode == 1
    assert "device: FAILED with status 7" in done.stdout
    kept = result(tmp_path, "device")
    assert (kept["status"], kept["result"], kept["errors"]) == (7, None, ["almost"])
    late = run(tmp_path, "--minutes", "0")
    assert late.stdout.splitlines()[0] == "environment: not run, the time is over"
    assert late.returncode == 1


def test_the_scripts_are_sound():
    checker = need("shellcheck")
    scripts = [str(FOLDER / name) for name in ("on_gpu.sh", "on_gpu_wheels.sh")]
    subprocess.run([checker, *scripts], check=True)
