"""NVIDIA's own parser and builder: every shipped segment, and what they say of bad files and options.

They are those of TensorRT for RTX, which need neither a GPU nor a driver. Nothing is executed.
"""

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter

import onnx
import pytest
from onnx import TensorProto, helper

from edge_fiqa.bundle.bundle import SHIPPED, Bundle
from edge_fiqa.config import PlanOptions
from edge_fiqa.engines.trt.api import Log, rtx_api
from edge_fiqa.engines.trt.build import PlanJob, build_plan
from edge_fiqa.engines.trt.child import build_in_child
from edge_fiqa.engines.trt.kernels import described
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.model.weight_store import WeightStore
from edge_fiqa.types import Segment, VitConfig
from tests.conftest import random_weights
from tests.engines.conftest import fakes
from tests.needs import missing


@pytest.fixture(scope="module")
def api():
    if fakes.nvidia.library() is None:
        missing("TensorRT for RTX is not installed; pip install 'edge-fiqa[rtx]'")
    return rtx_api()


@pytest.fixture
def log(api):
    return Log(api)


def job_of(path, batch=1, capabilities=(), **options):
    return PlanJob(path.stem, str(path), batch, PlanOptions(**options), "", capabilities)


def build(job, log, on_progress=lambda phase, share: None, cancelled=None):
    return build_plan(job, log, cancelled or threading.Event(), on_progress)


def build_somewhere(job, api, log, where):
    if where == "here":
        return build(job, log)
    return build_in_child(job, api, threading.Event(), lambda phase, share: None)


@pytest.fixture
def copy(tmp_path):
    """The shipped nano's first segment with its weights, to be spoilt."""
    for name in ("body-01-01.onnx", "weights.bin"):
        shutil.copy(SHIPPED["nano"] / name, tmp_path / name)
    return tmp_path / "body-01-01.onnx"


# ---- files that are no network


def test_an_empty_file_is_no_network(copy, log):
    copy.write_bytes(b"")
    with pytest.raises(EngineFailed, match=r"body-01-01\.onnx holds no network: it is empty"):
        build(job_of(copy), log)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"garbage"), "Failed to parse the ONNX model"),
        (lambda path: path.unlink(), "cannot be found"),
        (lambda path: path.with_name("weights.bin").unlink(), r"open file: .*weights\.bin"),
        (
            lambda path: path.with_name("weights.bin").write_bytes(b"0" * 999),
            r"length out of range",
        ),
    ],
)
@pytest.mark.parametrize("where", ["here", "child"])
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(copy, api, log, spoil, words, where):
    spoil(copy)
    with pytest.raises(EngineFailed, match=rf"cannot parse .*body-01-01\.onnx: .*{words}") as said:
        build_somewhere(job_of(copy), api, log, where)
    assert "\n" not in str(said.value)


def test_an_operator_that_it_does_not_have_is_named(tmp_path, log):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"], name="n")], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "det.onnx"))
    with pytest.raises(EngineFailed, match=r"node 0 n \(Det\): is not supported"):
        build(job_of(tmp_path / "det.onnx"), log)


def test_an_error_explains_its_own_call_only(copy, log):
    before = copy.read_bytes()
    copy.write_bytes(b"garbage")
    with pytest.raises(EngineFailed):
        build(job_of(copy), log)
    copy.write_bytes(before)
    with pytest.raises(EngineFailed, match="was stopped"):
        build(job_of(copy), log, cancelled=stopped())
    assert not log.has_errors
    with pytest.raises(EngineFailed) as said:
        build(job_of(copy, capabilities=("7.5",)), log)
    assert "ONNX" not in str(said.value)
    assert "BuildCanceled" not in str(said.value)


def stopped():
    event = threading.Event()
    event.set()
    return event


# ---- options that cannot be


def test_a_workspace_that_is_too_small_is_named(copy, log):
    wide = [1, 2, 4, 8, 16, 32, 64]
    with pytest.raises(EngineFailed, match=r"OutOfMemory.*; raise workspace_mb \(it is 16\)"):
        build(job_of(copy, 64, workspace_mb=16, batches=tuple(wide)), log)
    with pytest.raises(ValueError, match="at least 16"):
        PlanOptions(workspace_mb=1)


def test_the_lean_runtime_that_is_missing_is_named(copy, log):
    with pytest.raises(EngineFailed, match=r"libnvinfer_lean.*; install the lean runtime"):
        build(job_of(copy, version_compatible=True), log)


def test_a_compute_capability_is_one_that_it_builds_for(copy, api, log):
    assert {"8.0", "8.6", "8.9", "12.0"} <= set(api.capabilities)
    with pytest.raises(ConfigError, match=r"compute capability 7\.5, 8\.0, .*, not for '9\.0'"):
        build(job_of(copy, capabilities=("9.0",)), log)
    with pytest.raises(EngineFailed, match=r"FP32 GEMM is not supported.*: leave 7\.5 out"):
        build(job_of(copy, capabilities=("7.5",)), log)


# ---- stopping


CTRL_C = """
import signal, sys, threading
from pathlib import Path
from edge_fiqa.config import PlanOptions
from edge_fiqa.engines.trt.api import Log, rtx_api
from edge_fiqa.engines.trt.build import PlanJob, build_plan
presses = iter([signal.SIGINT])
def press_once(phase, share):
    for number in presses:
        signal.raise_signal(number)
path = Path(sys.argv[1])
job = PlanJob(path.stem, str(path), 1, PlanOptions(), "", ())
try:
    build_plan(job, Log(rtx_api()), threading.Event(), press_once)
except KeyboardInterrupt:
    print("heard")
"""


def test_ctrl_c_on_the_thread_that_builds_is_heard(api, copy):
    """The bindings print what a callback raises and go on."""
    command = [sys.executable, "-c", CTRL_C, str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "heard\n", done.stderr


def test_a_listener_that_fails_is_not_a_build_that_was_stopped(copy, log):
    def fails(phase, share):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(job_of(copy), log, fails)
    assert len(build(job_of(copy), log)) > 100_000


CHILD = """
import os, signal, sys, threading
from edge_fiqa.engines.trt import child
def silent(job, log, cancelled, on_progress):
    assert threading.current_thread() is not threading.main_thread()
    os.kill(os.getpid(), signal.SIGTERM)
    assert cancelled.wait(100), "the signal was not heard"
    from edge_fiqa.errors import EngineFailed
    raise EngineFailed("heard")
child.build_plan = silent
sys.exit(child.main(sys.argv[1:]))
"""


def test_a_child_hears_a_signal_while_its_builder_is_silent(api, copy, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({
        "name": "s", "onnx": str(copy), "batch": 1, "options": {},
    }), encoding="utf-8")  # fmt: skip
    command = [sys.executable, "-c", CHILD, str(tmp_path), "rtx", "2"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 1
    assert (tmp_path / "error").read_text(encoding="utf-8") == "heard"


def test_a_child_builds_the_same_plan(api, copy, log):
    shares = []
    plan = build_in_child(
        job_of(copy), api, threading.Event(), lambda phase, share: shares.append(share)
    )
    assert Counter(plan) == Counter(build(job_of(copy), log))
    assert shares == sorted(shares)


# ---- what it builds


def warnings_in(log):
    """But for one that these tests bring about: they give the library two loggers."""
    return [text for text in log.warnings if "logger passed into create" not in text]


@pytest.mark.parametrize("name", SHIPPED)
def test_it_takes_every_shipped_segment(api, name):
    for segment in (bundle := Bundle.open(name)).segments:
        taken, errors, logged = fakes.nvidia.parsed(bundle.file_of(segment))
        assert (taken, errors, logged) == (True, [], []), segment.name


def test_it_takes_segments_that_give_causes(cause_bundle, api, log):
    for segment in cause_bundle.segments:
        path = cause_bundle.file_of(segment)
        assert fakes.nvidia.parsed(path) == (True, [], []), segment.name
    build(job_of(cause_bundle.file_of(Segment(1, 3, tail=True))), log)  # its scores put together
    assert warnings_in(log) == []


def test_phases_of_the_made_up_builder_are_those_of_the_real_one(log, monkeypatch):
    """And they are told on the thread that builds."""
    told, threads = set(), set()
    monitor = build_plan.__globals__["BuildMonitor"]  # others import the engine anew
    real = monitor.phase_start

    def phase_start(self, name, parent, steps):
        told.add((name, parent))
        threads.add(threading.current_thread())
        real(self, name, parent, steps)

    monkeypatch.setattr(monitor, "phase_start", phase_start)
    build(job_of(SHIPPED["nano"] / "tail-06-06.onnx"), log)
    events = json.loads(fakes.nvidia.PHASES_FILE.read_text(encoding="utf-8"))["events"]
    assert told == {(event[1], event[2]) for event in events if event[0] == "start"}
    assert threads == {threading.current_thread()}


def test_a_repeated_build_has_the_same_content_and_no_warning(api):
    """The same to the bit, but for constants that may change places."""
    for name in ("body-01-01", "tail-06-06", "tail-01-06"):
        log = Log(api)
        job = job_of(SHIPPED["nano"] / f"{name}.onnx", 4, capabilities=("8.6", "12.0"))
        assert Counter(build(job, log)) == Counter(build(job, log))
        assert warnings_in(log) == []
        assert not log.has_errors


@pytest.fixture(scope="module")
def vit_s(tmp_path_factory):
    """file_of(precision) -> the second block of a ViT-S of random weights."""
    folder = tmp_path_factory.mktemp("vit_s")
    weights = random_weights(VitConfig(mode="token", width=512, depth=2, heads=8))

    def file_of(precision):
        path = folder / f"{precision}.onnx"
        with WeightStore(folder, f"{precision}.bin") as store:
            onnx.save(store.add(segment_graph(weights, Segment(2, 2), precision)), str(path))
        return path

    return file_of


@pytest.mark.parametrize(
    ("precision", "fused", "kernels"), [("fp16", True, 10), ("bf16", True, 10), ("fp32", False, 18)]
)
def test_kernels_of_a_vit_s_block(vit_s, log, precision, fused, kernels):
    """Attention is one kernel in 16 bits only. A later builder may need fewer kernels, never more."""
    build(job_of(vit_s(precision)), log)
    found = described(log.kernels, blocks=1)
    assert found["attention_fused"] == fused
    assert found["kinds"].keys() == {"gemm", "kgen", "runtime_fusion"}
    assert 8 <= found["kernels"] <= kernels
    assert warnings_in(log) == []


def test_one_plan_for_every_batch(api, log):
    job = job_of(SHIPPED["nano"] / "body-02-02.onnx", 16, dynamic=True)
    assert len(build(job, log)) > 100_000
    assert warnings_in(log) == []


def test_two_engines_errors_do_not_mix(copy, api):
    """The library keeps one logger of the whole process for part of what it says."""
    first, second = Log(api), Log(api)
    copy.write_bytes(b"garbage")
    with pytest.raises(EngineFailed, match="Failed to parse"):
        build(job_of(copy), first)
    with pytest.raises(EngineFailed, match="Failed to parse"):
        build(job_of(copy), second)
    assert first.native is second.native
    assert not first.has_errors
    assert not second.has_errors
