"""What the TensorRT engine does beyond the contract, on a made-up GPU."""

import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import BackendMissing, BundleError, EngineFailed
from edge_fiqa.types import Segment
from tests.causes import logits_of
from tests.engines.conftest import with_garbage, with_options

BODIES = [Segment(1, 1), Segment(2, 2), Segment(3, 3)]
TAIL = Segment(4, 4, tail=True)


def in_steps(engine, faces):
    """Every exit of a batch, segment by segment."""
    x, found = faces, []
    for segment in [*BODIES, TAIL]:
        x, scores, _ = engine.run(segment, x)
        found.append(scores)
    return np.hstack(found)


def test_a_repeated_pass_allocates_nothing_and_becomes_graphs(gpu, bundle, faces, reference):
    with open_engine(bundle, "trt") as engine:
        in_steps(engine, faces)
        before = gpu.used()
        for _ in range(4):
            np.testing.assert_allclose(in_steps(engine, faces), reference, atol=1e-5)
        assert gpu.used() == before
        gpu.events.clear()
        np.testing.assert_allclose(in_steps(engine, faces), reference, atol=1e-5)
        assert gpu.events == ["graph"] * 4
        assert all(engine.device_ms[s] > 0 for s in [*BODIES, TAIL])
    assert gpu.graphs == {}


@pytest.mark.parametrize("integrated", [False, True])
def test_causes_of_the_faces_that_are_kept(
    one_version, cause_bundle, tiny_causes, faces, integrated
):
    """Once a pass is graphs as well; copied from the device, or in memory that the host shares."""
    world, reference, outputs = (
        one_version(integrated=integrated),
        logits_of(tiny_causes, faces),
        [],
    )
    with open_engine(cause_bundle, "trt") as engine:
        for turn in range(5):
            if turn == 4:
                used = world.used()
            tokens, _, causes = engine.run(BODIES[0], faces)
            outputs.append((causes, reference[:, 0]))
            tokens, _, causes = engine.run(BODIES[1], engine.keep(tokens, np.array([4, 0, 3])))
            outputs.append((causes, reference[[4, 0, 3], 1]))
            causes = engine.run(Segment(3, 3, tail=True), tokens).causes
            outputs.append((causes, reference[[4, 0, 3], 2]))
        assert world.used() == used
    assert world.events.count("graph") >= 3
    for causes, definition in outputs:
        np.testing.assert_allclose(causes, definition, atol=1e-5)
    assert world.complaints == []


def test_a_pass_needs_two_token_buffers(gpu, bundle, faces):
    size = 16 * 145 * 32 * 4
    with open_engine(bundle, "trt") as engine:
        in_steps(engine, faces)
        assert sorted(s for s, _ in gpu.live.values()).count(size) == 2


def test_tokens_stay_valid_while_others_run(gpu, bundle, faces, reference):
    """The contract: until the same segment runs again, however many run in between."""
    with open_engine(bundle, "trt") as engine:
        first = engine.run(BODIES[0], faces).tokens
        second = engine.run(BODIES[1], first).tokens
        for _ in range(5):
            engine.run(BODIES[2], second)
        np.testing.assert_allclose(
            engine.run(BODIES[1], first)[1][:, 0], reference[:, 1], atol=1e-5
        )


def test_what_cannot_be_captured_is_enqueued(one_version, bundle, faces, reference):
    world = one_version(capturable=False)
    with open_engine(bundle, "trt") as engine:
        for _ in range(4):
            np.testing.assert_allclose(in_steps(engine, faces), reference, atol=1e-5)
    assert "graph" not in world.events


def test_a_larger_segment_moves_the_scratch_memory_of_all(gpu, bundle, faces, reference):
    """Graphs hold the old address: they must be dropped, not launched."""
    with open_engine(bundle, "trt") as engine:
        for _ in range(4):
            in_steps(engine, faces[:1])
        assert "graph" in gpu.events
        engine.run(Segment(1, 4, tail=True), faces)
        np.testing.assert_allclose(in_steps(engine, faces[:1]), reference[:1], atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"ptx": False}, {"integrated": True}, {"name": "Thor", "sm": (11, 0), "cuda": 13000}],
)
def test_other_machines(one_version, bundle, faces, reference, options):
    """A driver that refuses the kernel; memory shared with the host; another GPU."""
    world = one_version(**options)
    with open_engine(bundle, "trt") as engine:
        tokens = engine.run(BODIES[0], faces).tokens
        kept = engine.keep(tokens, np.array([5, 1]))
        scores = engine.run(BODIES[1], kept).scores
        np.testing.assert_allclose(scores[:, 0], reference[[5, 1], 1], atol=1e-5)
        assert ("kernel" in world.events) == options.get("ptx", True)
        assert engine.device == f"CUDA: {world.name}"
    assert world.complaints == []


def test_without_a_driver_nothing_is_made(one_version, bundle):
    one_version(devices=0)
    with pytest.raises(
        BackendMissing, match="needs an NVIDIA driver: cuInit failed with CUDA error 100"
    ):
        open_engine(bundle, "trt")


def test_opened_used_and_closed_on_three_threads(gpu, bundle, faces, reference):
    engine, found = open_engine(bundle, "trt"), []
    for work in (lambda: found.append(in_steps(engine, faces)), engine.close):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    np.testing.assert_allclose(found[0], reference, atol=1e-5)
    with pytest.raises(EngineFailed, match="closed"):
        engine.run(BODIES[0], faces)


def test_out_of_memory_says_how_much_there_was(one_version, bundle):
    world = one_version(memory=400 << 10)
    said = r"no \d MiB of device memory left \(.* MiB free\); use smaller batches"
    with pytest.raises(EngineFailed, match=said):
        open_engine(bundle, "trt")
    assert world.used() == 0


def test_equal_blocks_are_timed_once(gpu, bundle):
    with open_engine(bundle, "trt") as engine:
        engine.prepare(faces=[1])
    timings = [event for event in gpu.events if event in ("hit", "miss")]
    assert timings == ["miss"] + ["hit"] * (len(bundle.segments) - 1)


def test_plans_are_built_once_and_then_read(gpu, bundle, faces, reference):
    for builds in (4, 0):
        gpu.events.clear()
        with open_engine(bundle, "trt") as engine:
            np.testing.assert_allclose(in_steps(engine, faces), reference, atol=1e-5)
        assert gpu.events.count("build") == builds


def test_one_plan_for_every_batch(gpu, bundle, faces, reference, tmp_path):
    dynamic = with_options(bundle, tmp_path, dynamic=True, batches=(1, 4, 8))
    with open_engine(dynamic, "trt") as engine:
        for count in (1, 3, 6):
            np.testing.assert_allclose(
                in_steps(engine, faces[:count]), reference[:count], atol=1e-5
            )
        assert engine.max_batch == 8
    assert gpu.events.count("build") == 4


def test_batches_are_those_of_the_recipe(one_version, bundle, faces, tmp_path):
    one_version()
    with open_engine(with_options(bundle, tmp_path, batches=(2, 6)), "trt") as engine:
        in_steps(engine, faces)
        in_steps(engine, faces[:1])
    names = {p.name.rpartition("-")[2] for p in (tmp_path / "cache").rglob("*.plan")}
    assert names == {"b2.plan", "b6.plan"}


def test_version_compatible_plans_run_later(one_version, bundle, faces, reference, tmp_path):
    lean = tmp_path / "libnvinfer_lean.so"
    lean.write_bytes(b"")
    portable = with_options(bundle, tmp_path, version_compatible=True, lean_library=str(lean))
    for version, builds in (("10.13", 4), ("11.4", 0), ("10.3", 4)):
        world = one_version(version)
        with open_engine(portable, "trt") as engine:
            np.testing.assert_allclose(in_steps(engine, faces), reference, atol=1e-5)
        assert world.events.count("build") == builds, version
    lean.unlink()
    with pytest.raises(EngineFailed, match=r"cannot load .*libnvinfer_lean\.so: cannot open"):
        open_engine(portable, "trt")


def test_what_the_parser_says_reaches_the_message(one_version, bundle, faces, tmp_path):
    one_version()
    copy = Bundle.open(shutil.copytree(bundle.folder, tmp_path / "copy"))
    with open_engine(with_garbage(copy, BODIES[0]), "trt") as engine:
        with pytest.raises(EngineFailed, match=r"cannot parse .*body-01-01\.onnx: .*ParseFrom"):
            engine.run(BODIES[0], faces)
        (copy.folder / "weights.bin").unlink()
        with pytest.raises(BundleError, match=r"weights\.bin changed or vanished"):
            engine.run(Segment(1, 2, tail=True), faces)


@pytest.mark.slow
def test_a_child_builds_where_memory_is_short(
    one_version, children, bundle, faces, reference, tmp_path
):
    world = one_version()
    apart = with_garbage(with_options(bundle, tmp_path, child="always"), BODIES[1])
    with open_engine(apart, "trt") as engine:
        scores = engine.run(BODIES[0], faces).scores
        np.testing.assert_allclose(scores[:, 0], reference[:, 0], atol=1e-5)
        assert "build" not in world.events
        with pytest.raises(EngineFailed, match=r"child process failed: TensorRT .* cannot parse"):
            engine.prepare(faces=[1])


def test_a_killed_child_is_explained(one_version, bundle, faces, tmp_path, monkeypatch):
    one_version()
    apart = with_options(bundle, tmp_path, child="always")
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: real(killed, **options))
    with open_engine(apart, "trt") as engine, pytest.raises(EngineFailed, match="want of memory"):
        engine.run(BODIES[0], faces)
