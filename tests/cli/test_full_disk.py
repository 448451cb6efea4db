"""A disk that fills up under each command: one line, and no file of it half written."""

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.cli import main
from edge_fiqa.measurement.all_exits import synthetic_faces

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or shutil.which("mount") is None,
    reason="only root may mount a small file system",
)


@pytest.fixture
def disk(tmp_path):
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk, spare=0):
    """Everything but `spare` bytes is taken."""
    taken = 0
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                taken += file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, taken - spare))


@pytest.fixture
def faces(tmp_path):
    folder = tmp_path / "faces"
    for number, face in enumerate(synthetic_faces(120, seed=8)):
        (folder / f"p{number // 2:03}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(folder / f"p{number // 2:03}/{number % 2}.png")
    return folder


@pytest.fixture
def run(capsys):
    def command(*arguments):
        status = main([*map(str, arguments)])
        return status, capsys.readouterr().err

    return command


def one_line(error):
    lines = error.strip().splitlines()
    assert "No space left on device" in lines[-1], error
    assert not any("Traceback" in line for line in lines)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_calibrate(bundle, faces, disk, run):
    target = disk / "calibration.json"
    command = ["calibrate", faces, "-o", target, "--bundle", bundle.folder, "--backend", "ov"]
    run(*command)
    before = load_calibration(target)
    fill(disk)
    status, error = run(*command)
    assert status == 2
    one_line(error)
    assert load_calibration(target) == before
    assert names_in(disk) == ["calibration.json", "filler"]


def test_build(checkpoint, disk, run):
    status, error = run("build", checkpoint, "-o", disk / "bundle", "--backend", "ort")
    assert status == 2
    one_line(error)
    assert names_in(disk) == []


def test_build_in_place_of_a_bundle(checkpoint, bundle, disk, run, tmp_path):
    subprocess.run(["mount", "-o", "remount,size=1500k", str(disk)], check=True)
    shutil.copytree(bundle.folder, disk / "bundle")
    fill(disk, spare=64_000)
    command = ["build", checkpoint, "-o", disk / "bundle", "--backend", "ort", "--force"]
    status, error = run(*command)
    assert status == 2
    one_line(error)
    assert Bundle.open(disk / "bundle").manifest == bundle.manifest
    assert names_in(disk) == ["bundle", "filler"]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_score(bundle, faces, disk, run, form):
    target = disk / f"out.{form}"
    command = ["score", faces, "--output", target, "--bundle", bundle.folder, "--backend", "ov"]
    fill(disk, spare=40_000)
    status, error = run(*command, "--jobs", 1)
    assert status == 2
    one_line(error)
    assert target.read_bytes().endswith(b"\n")
    before = sources(target)
    assert 1 < len(before) < 120
    (disk / "filler").unlink()
    assert run(*command, "--jobs", 1)[0] == 0
    after = sources(target)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 120


def sources(file):
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8") as lines:
            return [row["source"] for row in csv.DictReader(lines)]
    return [json.loads(line)["source"] for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("command", ["explain", "edc"])
def test_pictures_and_results(command, bundle, faces, disk, run, tmp_path):
    target = disk / "out.png"
    pairs = tmp_path / "pairs.csv"
    rows = (f"{0.5 + 0.4 * (k % 2) + k / 1000},{k % 2},{k % 50}" for k in range(200))
    pairs.write_text("similarity,same,pair_quality\n" + "\n".join(rows) + "\n", encoding="utf-8")
    ways = {
        "explain": [faces, "-o", target, "--model", bundle.folder, "--limit", 4],
        "edc": [pairs, "--fmr", "0.1", "--plot", target],
    }
    fill(disk, spare=0)
    status, error = run(command, *ways[command])
    assert status == 2
    one_line(error)
    assert names_in(disk) == ["filler"]
