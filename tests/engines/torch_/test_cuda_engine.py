"""The CUDA engine of torch, on a device that stands in for a GPU and, where there is one, on a GPU."""

import gc
import inspect
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import edge_fiqa
from edge_fiqa.engines.torch_.cuda_engine import TorchCuda
from edge_fiqa.engines.torch_.device import CAPTURING, TorchGpu, find_cuda
from edge_fiqa.engines.torch_.engine import Torch
from edge_fiqa.engines.torch_.graphs import MAX_GRAPHS, WARM_UP
from edge_fiqa.errors import BackendMissing, ConfigError, EngineFailed
from edge_fiqa.exits.route import route_to
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.model.weights import load_weights
from edge_fiqa.policies.policy import Convergence, Fixed
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import Segment
from tests.causes import logits_of
from tests.engines.conftest import expected, segments_of, torch_gpu

ATOL = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 8e-2}  # as the contract's
SHIPPED = Path(edge_fiqa.__file__).parent / "models"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@pytest.fixture(
    params=[
        "stand-in",
        "torch.cuda over it",
        pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu]),
    ]
)
def device(request, monkeypatch):
    gpu = torch_gpu.Gpu()
    if request.param == "stand-in":
        return gpu
    if request.param != "cuda":
        torch_gpu.install(monkeypatch, gpu)
    found = find_cuda()
    assert isinstance(found, TorchGpu)
    found.stand_in = None if request.param == "cuda" else gpu
    return found


def opened(weights, device, precision="fp32", **options):
    return TorchCuda(weights, segments_of(weights), precision, device, **options)


def one_pass(engine, faces, depth=4):
    x, found = faces, []
    for segment in route_to(engine.segments, depth, in_steps=True):
        x, scores, _ = engine.run(segment, x)
        found.append(scores)
    return np.hstack(found)


def allocations(device):
    """How many allocations there were on the device, outside captures."""
    gpu = device if isinstance(device, torch_gpu.Gpu) else device.stand_in
    return torch.cuda.memory_stats()["allocation.all.allocated"] if gpu is None else gpu.allocations


@pytest.mark.parametrize("network", ["tiny", "tiny_causes"])
def test_a_repeated_pass_replays_allocates_nothing_and_waits_once_a_segment(
    request, network, faces
):
    gpu, tiny = torch_gpu.Gpu(), request.getfixturevalue(network)
    with opened(tiny, gpu) as engine:
        one_pass(engine, faces)
        assert gpu.replays == 0  # what came before a capture is the answer of that run
        assert len(gpu.captured) == engine.graphs == 4
        before = gpu.allocations, gpu.waits, gpu.held
        found = one_pass(engine, faces)
        assert (gpu.allocations, gpu.waits - 4, gpu.held) == before
        assert gpu.replays == 4
    np.testing.assert_allclose(found, expected(tiny, faces), atol=ATOL["fp32"])


@pytest.mark.parametrize("precision", ATOL)
def test_steady_state_allocates_nothing(device, tiny, faces, precision):
    with opened(tiny, device, precision) as engine:
        reference = expected(tiny, faces)
        for turn in range(3):
            if turn == 2:
                before = allocations(device)
            tokens = engine.run(Segment(1, 1), faces).tokens
            tokens = engine.run(Segment(2, 2), engine.keep(tokens, np.array([4, 0]))).tokens
            scores = engine.run(Segment(3, 3, tail=True), tokens).scores
            np.testing.assert_allclose(scores[:, 0], reference[[4, 0], 2], atol=ATOL[precision])
        assert allocations(device) == before
        assert engine.graphs == 3


@pytest.mark.parametrize("precision", ATOL)
def test_causes_of_the_faces_that_are_kept(device, tiny_causes, faces, precision):
    """Once captured as well, and the caller's own: no later run writes into them."""
    reference, outputs = logits_of(tiny_causes, faces), []
    with opened(tiny_causes, device, precision) as engine:
        for _ in range(3):
            tokens, _, causes = engine.run(Segment(1, 1), faces)
            outputs.append((causes, reference[:, 0]))
            tokens, _, causes = engine.run(Segment(2, 2), engine.keep(tokens, np.array([4, 0, 3])))
            outputs.append((causes, reference[[4, 0, 3], 1]))
            causes = engine.run(Segment(3, 3, tail=True), tokens).causes
            outputs.append((causes, reference[[4, 0, 3], 2]))
    for causes, definition in outputs:
        np.testing.assert_allclose(causes, definition, atol=ATOL[precision])


def test_batches_are_filled_up(device, tiny, faces):
    reference = expected(tiny, faces)
    with opened(tiny, device, batches=(1, 4, 6)) as engine:
        assert [engine.computed(n) for n in range(1, 7)] == [1, 4, 4, 4, 6, 6]
        assert engine.max_batch == 6
        for count in (6, 3, 1, 4, 5):  # smaller after larger: what is left of those changes nothing
            for _ in range(2):
                found = one_pass(engine, faces[6 - count :])
                np.testing.assert_allclose(found, reference[6 - count :], atol=ATOL["fp32"])


def test_batch_sizes(tiny):
    with opened(tiny, torch_gpu.Gpu()) as engine:
        assert [engine.computed(n) for n in (1, 2, 3, 5, 33, 64)] == [1, 2, 4, 8, 64, 64]
    for wrong in ((), (2, 1), (1, 1), (0, 1)):
        with pytest.raises(ConfigError, match="batches must rise"):
            opened(tiny, torch_gpu.Gpu(), batches=wrong)


def test_handles_outlive_the_segments_behind_them(device, tiny, faces):
    """Valid until the same segment runs again, whatever else does; and two selections at once."""
    reference = expected(tiny, faces)
    with opened(tiny, device) as engine:
        for _ in range(3):
            first = engine.run(Segment(1, 1), faces).tokens
            second = engine.run(Segment(2, 2), first).tokens
            engine.run(Segment(3, 3), second)
            left = engine.keep(first, np.array([0, 1, 2]))
            right = engine.keep(first, np.array([5, 4]))
            for tokens, rows in ((left, [0, 1, 2]), (right, [5, 4]), (first, range(6))):
                scores = engine.run(Segment(2, 2, tail=True), tokens).scores
                np.testing.assert_allclose(scores[:, 0], reference[list(rows), 1], atol=1e-5)


def test_who_hoards_tokens_gets_scores_and_not_ever_more_graphs(tiny, faces):
    gpu, reference = torch_gpu.Gpu(), expected(tiny, faces)
    with opened(tiny, gpu) as engine:
        hoard = [engine.run(Segment(1, 1), faces[:1])[0] for _ in range(2 * MAX_GRAPHS)]
        found = [engine.run(Segment(2, 2, tail=True), tokens)[1][0, 0] for tokens in hoard]
        assert engine.graphs == 2 * MAX_GRAPHS
    np.testing.assert_allclose(found, reference[0, 1], atol=1e-5)


def test_a_pass_without_asking_scores_the_same(device, tiny, faces):
    """Segments enqueued one behind the other, and all scores fetched at the end."""
    with opened(tiny, device) as engine:
        for _ in range(3):
            x = faces
            for segment in route_to(engine.segments, 4, in_steps=True):
                x = engine.enqueue(segment, x)
            found = engine.scores(1, 4, len(faces))
            np.testing.assert_allclose(found, expected(tiny, faces), atol=1e-5)


@pytest.mark.parametrize("policies", [[Convergence(eps=1.0)], [Fixed(3)], [Fixed()]])
def test_the_controller_decides_as_on_the_reference(device, tiny, policies):
    faces = synthetic_faces(70, seed=3)  # more than a batch
    reference = Torch(tiny, segments_of(tiny), "fp32")
    wanted = Controller(reference).assess(faces, policies)
    with opened(tiny, device) as engine:
        for _ in range(2):
            found = Controller(engine).assess(faces, policies)
    assert found.depth.tolist() == wanted.depth.tolist()
    assert len(set(found.depth)) > 1 or isinstance(policies[0], Fixed)
    np.testing.assert_allclose(found.trail, wanted.trail, atol=1e-5)


@pytest.mark.parametrize("name", ["tiny", "tiny_c", "tiny_full"])
@pytest.mark.parametrize("precision", ATOL)
def test_every_mode_in_every_precision(request, device, faces, name, precision):
    weights = request.getfixturevalue(name)
    with opened(weights, device, precision) as engine:
        for _ in range(2):
            found = all_exits(engine, faces)
    error = np.abs(found - expected(weights, faces)).max()
    assert error < ATOL[precision]
    assert precision == "fp32" or error > 1e-6  # it was not float32 after all


def test_a_refused_capture_is_told_once_and_runs_without(tiny, faces, caplog):
    gpu = torch_gpu.Gpu(capturable=False)
    with opened(tiny, gpu) as engine:
        for _ in range(3):
            np.testing.assert_allclose(one_pass(engine, faces), expected(tiny, faces), atol=1e-5)
        assert engine.graphs == gpu.replays == 0
    assert [record.getMessage() for record in caplog.records] == [
        "CUDA graphs are off, segments run kernel by kernel: body-01-01 at 8 faces cannot be "
        "captured: CUDA error: operation not permitted when stream is capturing"
    ]


def test_without_graphs(device, tiny, faces):
    with opened(tiny, device, graphs=False) as engine:
        for _ in range(2):
            np.testing.assert_allclose(one_pass(engine, faces), expected(tiny, faces), atol=1e-5)
        assert engine.graphs == 0


def test_memory_that_is_not_there(tiny, faces):
    with pytest.raises(
        EngineFailed, match=r"no GPU memory left for the model \(1 of 8192 MiB free"
    ):
        opened(tiny, torch_gpu.Gpu(memory=10_000))
    gpu = torch_gpu.Gpu()
    with opened(tiny, gpu) as engine:
        one_pass(engine, faces[:1])
        gpu.memory = gpu.held + 100_000
        with pytest.raises(
            EngineFailed, match=r"left for body-01-01 with 6 faces .*smaller batches"
        ):
            engine.run(Segment(1, 1), faces)
        found = one_pass(engine, faces[:1])  # what fits goes on
    np.testing.assert_allclose(found, expected(tiny, faces[:1]), atol=1e-5)


def test_tokens_of_another_engine_are_refused(tiny, faces):
    with opened(tiny, torch_gpu.Gpu()) as one, opened(tiny, torch_gpu.Gpu()) as other:
        tokens = one.run(Segment(1, 1), faces).tokens
        with pytest.raises(ConfigError, match="another engine's"):
            other.run(Segment(2, 2), tokens)
        with pytest.raises(ConfigError, match="another engine's"):
            other.keep(tokens, np.array([0]))
        assert other.graphs == 0


def test_closing_frees_everything_and_ends_it(tiny, faces):
    gpu = torch_gpu.Gpu()
    engine = opened(tiny, gpu)
    tokens = engine.run(Segment(1, 1), faces).tokens
    assert gpu.live() > 0
    engine.close()
    for late, *arguments in (
        (engine.run, Segment(1, 1), faces),
        (engine.keep, tokens, np.array([0])),
        (engine.scores, 1, 1, 1),
    ):
        with pytest.raises(EngineFailed, match="this engine is closed"):
            late(*arguments)
    arguments.clear()
    del tokens
    gc.collect()
    assert gpu.live() == 0


def test_a_failed_device_is_told_and_closed_quietly(tiny, faces, monkeypatch):
    gpu = torch_gpu.Gpu()
    with opened(tiny, gpu) as engine:
        one_pass(engine, faces)

        def failed():
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore\nof it")

        monkeypatch.setattr(gpu, "synchronise", failed)
        monkeypatch.setattr(gpu, "release", failed)
        with pytest.raises(EngineFailed) as told:
            engine.run(Segment(1, 1), faces)
        assert str(told.value) == (
            "torch failed in the scores of exits 1 to 1: "
            "CUDA error: an illegal memory access was encountered"
        )


@pytest.mark.gpu
@needs_gpu
def test_closing_gives_the_memory_back(tiny, faces):
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    engine = opened(tiny, TorchGpu())
    one_pass(engine, faces)
    assert torch.cuda.memory_allocated() > before
    engine.close()
    gc.collect()
    assert torch.cuda.memory_allocated() == before


def test_opened_here_used_there(device, tiny, faces):
    found = []
    with opened(tiny, device) as engine:
        for _ in range(2):
            thread = threading.Thread(target=lambda: found.append(one_pass(engine, faces)))
            thread.start()
            thread.join()
        found.append(one_pass(engine, faces))
    for scores in found:
        np.testing.assert_allclose(scores, expected(tiny, faces), atol=1e-5)


@pytest.mark.gpu
@needs_gpu
def test_captures_do_not_disturb_each_other(tiny, faces):
    """Four engines on threads of their own capture while others run."""
    found = {}

    def work(name):
        with opened(tiny, TorchGpu()) as engine:
            found[name] = [one_pass(engine, faces[: 1 + turn % 6]) for turn in range(60)]
            assert engine.graphs > 0

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for scores in (each for passes in found.values() for each in passes):
        np.testing.assert_allclose(scores, expected(tiny, faces)[: len(scores)], atol=1e-5)


@pytest.mark.gpu
@needs_gpu
def test_nothing_waits_but_for_scores(tiny, faces):
    """torch names every operator that makes the host wait."""
    with opened(tiny, TorchGpu()) as engine:
        for turn in range(3):
            if turn == 2:
                torch.cuda.set_sync_debug_mode("error")
            try:
                first = engine.enqueue(Segment(1, 1), faces)
                kept = engine.keep(first, np.array([3, 1]))
                engine.enqueue(Segment(2, 2, tail=True), kept)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found = engine.scores(2, 2, 2)
    np.testing.assert_allclose(found[:, 0], expected(tiny, faces)[[3, 1], 1], atol=1e-5)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["nano", "small"])
@pytest.mark.parametrize("precision", ATOL)
def test_the_shipped_models_on_a_gpu(name, precision):
    weights = load_weights(SHIPPED / f"{name}.safetensors")
    faces = synthetic_faces(6, seed=8)
    with opened(weights, TorchGpu(), precision) as engine:
        for _ in range(2):
            found = one_pass(engine, faces, weights.config.depth)
            np.testing.assert_allclose(found, expected(weights, faces), atol=ATOL[precision])
        assert engine.graphs == weights.config.depth


@pytest.mark.parametrize("capturable", [True, False])
def test_a_capture_that_fails_leaves_the_stream_usable(monkeypatch, capturable):
    gpu = torch_gpu.Gpu(capturable=capturable)
    torch_gpu.install(monkeypatch, gpu)
    cuda = find_cuda()
    with cuda.working():
        x = cuda.put(torch.ones(2))
        with pytest.raises(RuntimeError, match="capturing"):
            cuda.capture(lambda: x[0].item())
        with pytest.raises(KeyboardInterrupt if capturable else RuntimeError):
            cuda.capture(interrupted)
        assert not CAPTURING.locked()
        x.add_(1)
        cuda.synchronise()
    assert x.tolist() == [2, 2]
    assert len(gpu.captured) == capturable  # the interrupted one was ended, and dropped


def interrupted():
    raise KeyboardInterrupt


def test_what_torch_cuda_makes_objects_from():
    """The other calls are checked where `torch_gpu.install` takes them."""
    inspect.signature(torch.cuda.Stream.__new__).bind(torch.cuda.Stream, "device")
    inspect.signature(torch.cuda.Event.__new__).bind(torch.cuda.Event)
    inspect.signature(torch.cuda.CUDAGraph.__new__).bind(torch.cuda.CUDAGraph)


def test_a_device_that_fails_is_told_with_the_way_around_it(monkeypatch):
    def broken():
        raise RuntimeError("The NVIDIA driver on your system is too old\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", broken)
    with pytest.raises(BackendMissing, match="driver on your system is too old; with CUDA_VIS"):
        find_cuda()


def test_out_of_memory_is_the_error_that_the_engine_knows():
    assert issubclass(torch.cuda.OutOfMemoryError, RuntimeError)
    assert WARM_UP >= 1
