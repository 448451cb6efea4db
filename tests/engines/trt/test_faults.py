"""What goes wrong around the engine: failing calls, threads, forks, strangers."""

import gc
import threading

import numpy as np
import pytest

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.owner import Owner
from edge_fiqa.engines.turn import AFTER_FORK
from edge_fiqa.errors import ConfigError, EdgeFiqaError, EngineFailed
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.types import Segment, VitConfig
from tests.conftest import random_weights
from tests.engines.conftest import in_fork

BODY, NEXT = Segment(1, 1), Segment(2, 2)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Another model: half as wide."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("small")
    weights = random_weights(VitConfig(width=16, depth=4, heads=2), seed=1)
    save_file(dict(weights.arrays), str(folder / "w.safetensors"), {"heads": "2"})
    return build_bundle(folder / "w.safetensors", folder / "b", BuildRecipe(backend="ort"))


# ---- in the middle of a batch


def test_a_refused_segment_leaves_the_engine_whole(gpu, bundle, faces, reference):
    """The upload before it is on the stream already; the next batch must not meet it."""
    with open_engine(bundle, "trt") as engine:
        all_exits(engine, faces[:1])
        before = gpu.used()
        for _ in range(3):
            gpu.refusing = True
            with pytest.raises(EngineFailed, match=r"cannot enqueue body-01-01: enqueueV3: Error"):
                engine.run(BODY, faces[::-1].copy())
            gpu.refusing = False
            tokens, scores, _ = engine.run(BODY, faces)
            np.testing.assert_allclose(scores[:, 0], reference[:, 0], atol=1e-5)
            gpu.refusing = True
            with pytest.raises(EngineFailed, match="cannot enqueue body-02-02"):
                engine.run(NEXT, tokens)
            gpu.refusing = False
            np.testing.assert_allclose(
                engine.run(NEXT, tokens)[1][:, 0], reference[:, 1], atol=1e-5
            )
            del tokens
        assert gpu.used() <= before + 2 * 16 * 145 * 32 * 4 + 2**20  # no buffer is lost each time


@pytest.mark.parametrize("when", ["run", "keep", "prepare", "close"])
def test_a_device_that_fails_is_said_once_and_closed(gpu, bundle, faces, when):
    engine = open_engine(bundle, "trt")
    tokens = engine.run(BODY, faces).tokens
    gpu.broken = True
    does = {
        "run": lambda: engine.run(BODY, faces),
        "keep": lambda: engine.keep(tokens, np.array([1])),
        "prepare": lambda: engine.prepare([Segment(1, 4, tail=True)], [1]),
    }
    if when in does:
        with pytest.raises(EngineFailed, match=r"the device failed: .*unspecified launch failure"):
            does[when]()
    engine.close()
    engine.close()
    gpu.broken = False


def test_a_plan_that_cannot_be_loaded_is_named(one_version, bundle, faces, monkeypatch):
    one_version()
    with open_engine(bundle, "trt") as engine:
        monkeypatch.setattr(engine._supply, "take", lambda segment, batch: b"no plan")
        with pytest.raises(EngineFailed, match=r"cannot load the plan of body-01-01: .*MAGIC_TAG"):
            engine.run(BODY, faces)


def test_a_device_without_a_stream_leaves_no_context_in_use(gpu, bundle):
    """PyCUDA ends the process when a thread ends with one."""
    gpu.no_streams = True
    with pytest.raises(EngineFailed, match=r"gives no stream: .*out of memory"):
        open_engine(bundle, "trt")
    assert gpu.pushed == 0
    gpu.no_streams = False
    with open_engine(bundle, "trt"):
        pass
    assert gpu.pushed == 0


# ---- threads


def test_what_an_error_kept_is_not_freed_on_the_wrong_thread(one_version, bundle, faces):
    """The exception outlives the engine; its frames held contexts and plans."""
    world = one_version()
    engine = open_engine(bundle, "trt")
    engine.run(BODY, faces)
    world.refusing = True
    with pytest.raises(EngineFailed) as kept:
        engine.run(BODY, faces)
    engine.close()
    gc.collect()
    assert world.complaints == []
    del kept
    gc.collect()
    assert world.complaints == []
    assert world.used() == 0


def test_tokens_may_outlive_the_engine(one_version, bundle, faces):
    world = one_version()
    engine = open_engine(bundle, "trt")
    tokens = engine.run(BODY, faces).tokens
    engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        engine.run(NEXT, tokens)
    thread = threading.Thread(target=tokens.buffer.__class__.__del__, args=(tokens.buffer,))
    thread.start()
    thread.join()
    del tokens, engine
    gc.collect()
    assert world.complaints == []
    assert world.used() == 0


def test_nobody_waits_for_an_engine_that_closes():
    """Calls race against the end: each is done or refused, none hangs."""
    for _ in range(50):
        owner, ends, ready = Owner("test"), [], threading.Barrier(5)

        def call(owner=owner, ends=ends, ready=ready):
            ready.wait()
            for _ in range(20):
                try:
                    owner.call(int, "1")
                except EngineFailed:
                    ends.append("refused")
                    return
            ends.append("done")

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        ready.wait()
        owner.stop()
        for thread in threads:
            thread.join(100)
            assert not thread.is_alive()
        assert len(ends) == 4
        owner.stop()


# ---- two engines, two processes


def test_two_models_share_a_device(gpu, bundle, small, faces, reference):
    with open_engine(small, "ort") as other:
        expected = all_exits(other, faces)
    with open_engine(bundle, "trt") as nano, open_engine(small, "trt") as tiny:
        for _ in range(4):
            a, first, _ = nano.run(BODY, faces)
            b, second, _ = tiny.run(BODY, faces)
            np.testing.assert_allclose(first[:, 0], reference[:, 0], atol=1e-5)
            np.testing.assert_allclose(second[:, 0], expected[:, 0], atol=1e-5)
            np.testing.assert_allclose(nano.run(NEXT, a)[1][:, 0], reference[:, 1], atol=1e-5)
            np.testing.assert_allclose(tiny.run(NEXT, b)[1][:, 0], expected[:, 1], atol=1e-5)
        for engine, tokens in ((tiny, a), (nano, b)):
            with pytest.raises(ConfigError, match="another engine's"):
                engine.run(NEXT, tokens)
            with pytest.raises(ConfigError, match="another engine's"):
                engine.keep(tokens, np.array([0]))
        nano.close()
        np.testing.assert_allclose(tiny.run(NEXT, b)[1][:, 0], expected[:, 1], atol=1e-5)


def test_a_fork_is_told_to_open_its_own(gpu, bundle, faces, reference):
    with open_engine(bundle, "trt") as engine:
        engine.run(BODY, faces)

        def use():
            try:
                return engine.run(BODY, faces)
            except EdgeFiqaError as exc:
                return exc

        said = in_fork(use)
        assert said.startswith("this engine was opened before a fork, ")
        assert said.endswith(AFTER_FORK)
        assert in_fork(engine.close) == "None"  # and it does not touch the parent's
        np.testing.assert_allclose(engine.run(BODY, faces)[1][:, 0], reference[:, 0], atol=1e-5)
