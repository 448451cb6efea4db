"""doctor --device: what it finds, what it says to do, and what it writes down."""

import json
import os
import subprocess
import sys
import types

import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.cli import main
from edge_fiqa.doctor import checks
from edge_fiqa.doctor import device_check as device
from edge_fiqa.engines.machine import Machine
from edge_fiqa.engines.processor import Processor

ORIN = Machine("Orin Nano", "36.4.3", "15W", (306, 306, 624), 5000, 7619, 3809)
THOR = Machine("Thor", "38.2.0", "MAXN", (1000, 1000, 1000), 90000, 125000, 0)


@pytest.fixture
def orin(engine_tests, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))
    fakes, api = engine_tests.fakes, engine_tests.extract.load("10.3")
    world = fakes.install(monkeypatch, fakes.World(integrated=True), api)
    graph = sys.modules["edge_fiqa.engines.trt.graphs"]
    monkeypatch.setattr(checks, "driver_found", graph.driver_found)
    engine_tests.fakes_in_children(monkeypatch, tmp_path)
    return world


def named(checked):
    return {check.name: check for check in checked}


JETPACKS = [  # Jetson Linux, JetPack, its toolkit, its Python
    ("36.4.0", "6.1", "cuda-toolkit-12-6", "3.10"),
    ("36.4.3", "6.2", "cuda-toolkit-12-6", "3.10"),
    ("36.5.0", "6.2.2", "cuda-toolkit-12-6", "3.10"),
    ("38.2.1", "7.0", "cuda-toolkit-13-0", "3.12"),
    ("38.4.0", "7.1", "cuda-toolkit-13-0", "3.12"),
    ("39.2.1", "7.2", "cuda-toolkit-13-2", "3.12"),
]


@pytest.fixture
def bare(monkeypatch):
    """Neither driver nor libraries, whatever this machine has."""
    monkeypatch.setattr(checks, "driver_found", lambda: "libcuda.so.1: cannot open")
    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("l4t", "jetpack", "toolkit", "python"), JETPACKS)
def test_what_is_missing_is_named_for_every_jetpack(
    bare, tmp_path, monkeypatch, l4t, jetpack, toolkit, python
):
    monkeypatch.setattr(checks, "_hides_system_packages", lambda: False)
    checked = named(checks.checks(Machine(l4t=l4t), tmp_path))
    assert checked["jetpack"].found == f"{jetpack} (Jetson Linux {l4t})"
    assert checked["driver"].remedy.startswith("sudo apt-get install nvidia-l4t-cuda;")
    assert checked["tensorrt"].remedy.startswith("sudo apt-get install python3-libnvinfer")
    told = f"; it is for Python {python} alone" in checked["tensorrt"].remedy
    assert told == (python != ".".join(map(str, sys.version_info[:2])))
    assert checked["pycuda"].remedy.startswith("sudo engines/jetson/install.sh,")
    assert checked["pycuda"].remedy.endswith(f"g++ python3-dev python3-venv {toolkit}")
    assert [check.ok for check in checked.values()][:4] == [True, False, False, False]


@pytest.mark.parametrize("l4t", ["35.4.1", "36.3.0", "32.7.1"])
def test_a_jetpack_that_is_too_old(bare, tmp_path, l4t):
    release = named(checks.checks(Machine(l4t=l4t), tmp_path))["jetpack"]
    assert release.ok is False
    assert release.remedy == "flash JetPack 6.2 or later"


def test_a_jetpack_that_is_newer_than_this(bare, tmp_path):
    checked = named(checks.checks(Machine(l4t="41.1.0"), tmp_path))
    assert checked["jetpack"].ok is None
    known = "(6.1, 6.2, 6.2.1, 6.2.2, 7.0, 7.1, 7.2)"
    assert f"newer than what is known here {known}" in checked["jetpack"].found
    assert checked["pycuda"].remedy.endswith(" cuda-toolkit")


def test_a_server(bare, tmp_path):
    server = named(checks.checks(Machine(), tmp_path))
    assert "pip install 'edge-fiqa[trt]'" in server["tensorrt"].remedy
    assert "pip install 'edge-fiqa[trt]'" in server["pycuda"].remedy
    assert "r535" in server["driver"].remedy


def test_a_tensorrt_that_is_too_old(bare, tmp_path, monkeypatch):
    old = types.ModuleType("tensorrt")
    old.__version__ = "8.6.2"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    checked = named(checks.checks(Machine(l4t="36.4.3"), tmp_path))["tensorrt"]
    assert (checked.ok, checked.remedy) == (False, "flash JetPack 6.2 or later")
    old.__version__ = "10.16.2.10"
    assert named(checks.checks(Machine(), tmp_path))["tensorrt"].ok is True


def test_an_environment_that_hides_jetpacks_packages(tmp_path, monkeypatch):
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = false\n", encoding="utf-8")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    remedy = named(checks.checks(ORIN, tmp_path))["tensorrt"].remedy
    assert "--system-site-packages" in remedy
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = true\n", encoding="utf-8")
    remedy = named(checks.checks(ORIN, tmp_path))["tensorrt"].remedy
    assert "--system-site-packages" not in remedy


def test_advice_about_the_board(tmp_path):
    checked = named(checks.checks(ORIN, tmp_path))
    assert (checked["power mode"].found, checked["power mode"].ok) == ("15W", None)
    assert checked["clocks"].remedy == "sudo jetson_clocks"
    assert named(checks.checks(THOR, tmp_path))["clocks"].remedy == ""
    assert checked["memory"].ok is True
    low = Machine(available_mb=500, total_mb=4000, swap_mb=0)
    assert named(checks.checks(low, tmp_path))["memory"].ok is False


def test_a_device_file_that_may_not_be_opened(tmp_path, monkeypatch):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvmap").touch()
    assert named(checks.checks(ORIN, tmp_path))["permissions"].ok is True
    monkeypatch.setattr(checks.os, "access", lambda path, mode: False)
    closed = named(checks.checks(ORIN, tmp_path))["permissions"]
    assert closed.ok is False
    assert "usermod -aG video,render" in closed.remedy
    # NemoClaw#7762: readable for its group, and no more.
    monkeypatch.setattr(checks.os, "access", lambda path, mode: mode == os.R_OK)
    read_only = named(checks.checks(ORIN, tmp_path))["permissions"]
    assert (read_only.ok, "may be read but not written" in read_only.found) == (False, True)
    assert 'KERNEL=="nvmap", GROUP="video", MODE="0660"' in read_only.remedy


def test_a_processor_that_engines_have_trouble_with():
    assert checks.processor_warnings(Processor("p", ("asimd",))) == []
    (cores,) = checks.processor_warnings(Processor("p", (), cores_off="4-7"))
    assert "cores 4-7 are switched off" in cores
    (sme,) = checks.processor_warnings(Processor("p", ("asimd", "sme")))
    assert "INT8 wrong" in sme


@pytest.mark.slow
def test_a_board_that_is_ready(orin, bundle, tmp_path):
    said = []
    checked = device.examine(bundle, ORIN, said.append, tmp_path)
    assert checked["ready"] is True
    assert [e["precision"] for e in checked["engines"]] == ["fp32", "fp32", "fp16"]
    for engine in checked["engines"]:
        assert [row["exit"] for row in engine["exits"]] == [1, 2, 3, 4]
        assert all(row["ms"] > 0 for row in engine["exits"])
        assert max(row["difference"] for row in engine["exits"]) <= engine["limit"]
        assert engine["tensorrt"] == "10.3.0"
    json.dumps(checked)
    assert any("against the bundle's golden scores: right" in line for line in said)


@pytest.mark.slow
def test_wrong_scores_are_called_wrong(orin, bundle, tmp_path):
    import shutil

    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["golden"][0][2] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    said = []
    checked = device.examine(Bundle.open(copy), ORIN, said.append, tmp_path)
    assert checked["ready"] is False
    assert checked["engines"][0]["right"] is False
    assert any("WRONG" in line for line in said)


def test_a_library_that_dies_is_in_the_report(orin, engine_tests, bundle, tmp_path, monkeypatch):
    """As TensorRT does where it meets a driver that it does not expect."""
    dies = """
import signal
sys.modules["tensorrt"].Runtime = lambda log: signal.raise_signal(signal.SIGSEGV)
"""
    (tmp_path / "dying").mkdir()
    engine_tests.fakes_in_children(monkeypatch, tmp_path / "dying", dies)
    said = []
    checked = device.examine(bundle, ORIN, said.append, tmp_path)
    assert checked["ready"] is False
    assert [engine["error"] for engine in checked["engines"]] == ["died of SIGSEGV"] * 3
    assert any("golden scores: FAILED: died of SIGSEGV" in line for line in said)
    json.dumps(checked)


def test_the_command_without_a_device(capsys, bundle, tmp_path):
    report = tmp_path / "report.json"
    arguments = ["doctor", "--device", "--bundle", str(bundle.folder), "--report", str(report)]
    status = main(arguments)
    out = capsys.readouterr().out
    checked = json.loads(report.read_text(encoding="utf-8"))
    if checked["ready"]:
        pytest.skip("this machine has what others lack")
    assert status == 2
    assert "MISSING" in out
    assert "NOT ready" in out
    assert checked["engines"] == []
    assert {check["name"] for check in checked["checks"]} >= {"driver", "tensorrt", "pycuda"}
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


def test_layers_are_listed_by_segment(orin, bundle, tmp_path, capsys):
    report = tmp_path / "device.json"
    options = ["--bundle", str(bundle.folder), "--device", "--layers", "--report", str(report)]
    main(["doctor", *options])
    (first, *_) = json.loads(report.read_text(encoding="utf-8"))["engines"]
    assert first["layers"].keys() == {segment.name for segment in bundle.segments}
    row = first["layers"]["body-01-01"]
    assert row["kernels"] == row["kinds"]["made up"] > 0
    assert row["attention_fused"] is False
    assert "not fused" in capsys.readouterr().out
    assert main(["doctor", "--layers"]) == 2
    assert "--layers needs --device" in capsys.readouterr().err
