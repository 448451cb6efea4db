"""SIGKILL at random moments of commands that write for long: what was there stays, or a whole file.

`EDGE_FIQA_KILLS=30 pytest tests/cli/test_kills.py` kills each command so often.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.config import BuildRecipe
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.weights import load_weights

KILLS = int(os.environ.get("EDGE_FIQA_KILLS", "3"))
pytestmark = pytest.mark.slow


def start(*arguments):
    command = [sys.executable, "-m", "edge_fiqa", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def run(*arguments):
    """Seconds that the whole command takes."""
    began = time.monotonic()
    process = start(*arguments)
    error = process.communicate()[1]
    assert process.returncode in (0, 1), error
    return time.monotonic() - began


def killed(seconds, *arguments):
    """Whether it was killed after that time; False if it had ended by then."""
    process = start(*arguments)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode == -signal.SIGKILL


def moments(whole, seed):
    """Random ones, the most after the libraries are imported."""
    rng = random.Random(seed)
    return [rng.triangular(0, whole, 0.8 * whole) for _ in range(KILLS)]


def test_build_leaves_a_bundle_at_its_place(checkpoint, tmp_path):
    target = tmp_path / "bundle"
    build_bundle(checkpoint, target, BuildRecipe(backend="ort"), name="first")
    command = ["build", checkpoint, "-o", target, "--backend", "ort", "--force"]
    whole = run(*command)
    hits = 0
    for seconds in moments(whole, 1):
        hits += killed(seconds, *command)
        assert Bundle.open(target).manifest.exits == (1, 2, 3, 4)
    assert hits
    run(*command)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]  # nothing of killed ones stays


def test_calibrate_leaves_a_whole_file(bundle, tmp_path):
    faces = tmp_path / "faces"
    for number, face in enumerate(synthetic_faces(120, seed=8)):
        (faces / f"p{number // 2:03}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(faces / f"p{number // 2:03}/{number % 2}.png")
    target = tmp_path / "calibration.json"
    command = ["calibrate", faces, "-o", target, "--bundle", bundle.folder, "--backend", "ov"]
    whole = run(*command)
    before = load_calibration(target)
    for seconds in moments(whole, 2):
        killed(seconds, *command)
        assert load_calibration(target) == before
    run(*command)
    assert load_calibration(target) == before


def test_train_ends_with_the_same_model(tmp_path, recogniser_file):
    faces = tmp_path / "faces"
    for number, face in enumerate(synthetic_faces(12, seed=3)):
        (faces / f"person {number // 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(faces / f"person {number // 2}/{number}.png")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        f"faces: faces\nteachers: [{{path: {recogniser_file.name}, map: pooled}}]\nvariants: 1\n"
        "model: {width: 16, depth: 2, heads: 2}\n"
        "schedule: {steps: 240, batch: 4, held_out: 0}\n",
        encoding="utf-8",
    )
    command = ["train", "--config", recipe, "--data", tmp_path, "--threads", "1"]
    whole = run(*command, "-o", tmp_path / "whole")
    expected = load_weights(tmp_path / "whole/model.safetensors").fingerprint
    for seconds in moments(whole, 4):
        killed(seconds, *command, "-o", tmp_path / "killed")
    run(*command, "-o", tmp_path / "killed")
    assert load_weights(tmp_path / "killed/model.safetensors").fingerprint == expected
    steps = [line.split(b'"step": ')[1].split(b",")[0] for line in log_lines(tmp_path / "killed")]
    assert steps[-1] == b"240"


def log_lines(folder):
    data = (folder / "log.ndjson").read_bytes()
    assert data.endswith(b"\n")
    return data.splitlines()
