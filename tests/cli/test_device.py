"""doctor --device: what it finds, what it says to do, and what it writes down."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_fiqa.bundle import Bundle
from edge_fiqa.cli import device, main
from edge_fiqa.engines.board import Board

ORIN = Board("Orin Nano", "36.4.3", "15W", (306, 306, 624), 5000, 7619, 3809)
THOR = Board("Thor", "38.2.0", "MAXN", (1000, 1000, 1000), 90000, 125000, 0)


@pytest.fixture
def engine_tests():
    """The made-up GPU of the engine's tests."""
    name, path = "edge_fiqa_engine_conftest", Path(__file__).parents[1] / "engines/conftest.py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def orin(engine_tests, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))
    fakes, api = engine_tests.fakes, engine_tests.extract.load("10.3")
    world = fakes.install(monkeypatch, fakes.World(integrated=True), api)
    graph = sys.modules["edge_fiqa.engines.trt_graph"]
    monkeypatch.setattr(device, "driver_found", graph.driver_found)
    return world


def named(found):
    return {check.name: check for check in found}


def test_where_everything_is_missing(tmp_path):
    for board, cuda in ((ORIN, "12-6"), (THOR, "13-0")):
        found = named(device.checks(board, tmp_path))
        assert found["driver"].ok is False
        assert "nvidia-l4t-cuda" in found["driver"].remedy
        assert f"cuda-nvcc-{cuda}" in found["pycuda"].remedy or found["pycuda"].ok
        assert "sudo apt-get install python3-libnvinfer" in found["tensorrt"].remedy
    server = named(device.checks(Board(), tmp_path))
    assert "pip install 'edge-fiqa[trt]'" in server["tensorrt"].remedy
    assert "r535" in server["driver"].remedy


def test_an_environment_that_hides_jetpacks_packages(tmp_path, monkeypatch):
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = false\n", encoding="utf-8")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    remedy = named(device.checks(ORIN, tmp_path))["tensorrt"].remedy
    assert "--system-site-packages" in remedy
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = true\n", encoding="utf-8")
    remedy = named(device.checks(ORIN, tmp_path))["tensorrt"].remedy
    assert "--system-site-packages" not in remedy


def test_advice_about_the_board(tmp_path):
    found = named(device.checks(ORIN, tmp_path))
    assert (found["power mode"].found, found["power mode"].ok) == ("15W", None)
    assert found["clocks"].remedy == "sudo jetson_clocks"
    assert named(device.checks(THOR, tmp_path))["clocks"].remedy == ""
    assert found["memory"].ok is True
    low = Board(available_mb=500, total_mb=4000, swap_mb=0)
    assert named(device.checks(low, tmp_path))["memory"].ok is False


def test_a_device_file_that_may_not_be_opened(tmp_path, monkeypatch):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvmap").touch()
    assert named(device.checks(ORIN, tmp_path))["permissions"].ok is True
    monkeypatch.setattr(device.os, "access", lambda path, mode: False)
    closed = named(device.checks(ORIN, tmp_path))["permissions"]
    assert closed.ok is False
    assert "usermod -aG video,render" in closed.remedy


@pytest.mark.slow
def test_a_board_that_is_ready(orin, bundle, tmp_path):
    said = []
    found = device.examine(bundle, ORIN, said.append, tmp_path)
    assert found["ready"] is True
    assert [e["precision"] for e in found["engines"]] == ["fp32", "fp32", "fp16"]
    for engine in found["engines"]:
        assert [row["exit"] for row in engine["exits"]] == [1, 2, 3, 4]
        assert all(row["ms"] > 0 for row in engine["exits"])
        assert max(row["difference"] for row in engine["exits"]) <= engine["limit"]
        assert engine["tensorrt"] == "10.3.0"
    json.dumps(found)
    assert any("against the bundle's golden scores: right" in line for line in said)


@pytest.mark.slow
def test_wrong_scores_are_called_wrong(orin, bundle, tmp_path):
    import shutil

    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["golden"][0][2] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    said = []
    found = device.examine(Bundle.open(copy), ORIN, said.append, tmp_path)
    assert found["ready"] is False
    assert found["engines"][0]["right"] is False
    assert any("WRONG" in line for line in said)


def test_the_command_without_a_device(capsys, bundle, tmp_path):
    report = tmp_path / "report.json"
    arguments = ["doctor", "--device", "--bundle", str(bundle.folder), "--report", str(report)]
    status = main(arguments)
    out = capsys.readouterr().out
    found = json.loads(report.read_text(encoding="utf-8"))
    if found["ready"]:
        pytest.skip("this machine has what others lack")
    assert status == 2
    assert "MISSING" in out
    assert "NOT ready" in out
    assert found["engines"] == []
    assert {check["name"] for check in found["checks"]} >= {"driver", "tensorrt", "pycuda"}
    assert main([*arguments[:-1], str(tmp_path / "no/x.json")]) == 2


def test_it_runs_as_a_program(bundle, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "edge_fiqa", "doctor", "--device", "--report", str(tmp_path / "r")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 2)
    assert done.stderr == ""
