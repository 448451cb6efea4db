"""The stand-in for a GPU refuses and spoils what a GPU would; and so finds mistakes in the engine."""

import numpy as np
import pytest
import torch

from edge_fiqa.engines.lease import TokenPool
from edge_fiqa.engines.torch_.cuda_engine import TorchCuda
from edge_fiqa.engines.torch_.graphs import InputBuffer
from edge_fiqa.errors import EngineFailed
from edge_fiqa.exits.route import segments_for
from edge_fiqa.types import Segment
from tests.engines.conftest import torch_gpu


@pytest.fixture
def gpu():
    return torch_gpu.Gpu()


def read(gpu, tensor):
    """The values on the device, by the one way there is."""
    pinned = gpu.pinned(tensor.shape, tensor.dtype)
    pinned.copy_(tensor, non_blocking=True)
    gpu.synchronise()
    return pinned.numpy().tolist()


def test_work_is_done_when_the_stream_was_waited_for(gpu):
    with gpu.working():
        x = gpu.put(torch.tensor([1.0, 2.0]))
        pinned = gpu.pinned((2,), torch.float32)
        pinned.copy_(x * 2, non_blocking=True)
        assert pinned.numpy().tolist() == [0, 0]
        gpu.synchronise()
        assert pinned.numpy().tolist() == [2, 4]


def test_pinned_memory_is_read_when_the_copy_runs(gpu):
    with gpu.working():
        x, pinned = gpu.allocate((1,), torch.float32), gpu.pinned((1,), torch.float32)
        pinned.numpy()[:] = 1
        x.copy_(pinned, non_blocking=True)
        pinned.numpy()[:] = 2  # too early
        assert read(gpu, x) == [2]


def test_an_event_waits_for_what_was_before_it(gpu):
    with gpu.working():
        x, pinned, event = (
            gpu.allocate((1,), torch.float32),
            gpu.pinned((1,), torch.float32),
            gpu.event(),
        )
        pinned.numpy()[:] = 1
        x.copy_(pinned, non_blocking=True)
        event.record()
        event.synchronize()
        pinned.numpy()[:] = 2
        assert read(gpu, x) == [1]


def test_a_graph_holds_addresses_and_values_and_overwrites_its_results(gpu):
    with gpu.working():
        x, out, factor = gpu.put(torch.tensor([1.0])), gpu.allocate((1,), torch.float32), 10
        inner = []

        def work():
            inner.append(x * factor)
            torch.add(inner[0], 0.5, out=out)

        graph = gpu.capture(work)
        assert read(gpu, out) == [0]  # captured, not run
        x.add_(1)
        factor = 99  # Python's values are those of the capture
        graph.replay()
        assert read(gpu, out) == [20.5]
        x.add_(1)
        graph.replay()
        assert read(gpu, out) == [30.5]
        assert np.isnan(read(gpu, inner[0])).all()  # memory of the pool
        graph.reset()
        with pytest.raises(RuntimeError, match="reset"):
            graph.replay()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda gpu, x: x[0].item(),
        lambda gpu, x: bool(x[0] > 0),
        lambda gpu, x: x.cpu(),
        lambda gpu, x: x.numpy(),
        lambda gpu, x: x.tolist(),
        lambda gpu, x: x.nonzero(),
        lambda gpu, x: x[x > 0],
        lambda gpu, x: x.copy_(torch.ones(2)),
        lambda gpu, x: x.copy_(gpu.pinned_before, non_blocking=True),
        lambda gpu, x: x + torch.ones(2),
        lambda gpu, x: gpu.synchronise(),
        lambda gpu, x: gpu.event().record(),
        lambda gpu, x: gpu.allocate((1,), torch.float32),
        lambda gpu, x: gpu.pinned((1,), torch.float32),
        lambda gpu, x: gpu.put(torch.ones(1)),
        lambda gpu, x: gpu.capture(lambda: None),
    ],
)  # fmt: skip
def test_what_a_capture_refuses(gpu, mistake):
    with gpu.working():
        x = gpu.allocate((2,), torch.float32)
        gpu.pinned_before = gpu.pinned((2,), torch.float32)
        with pytest.raises(RuntimeError):
            gpu.capture(lambda: mistake(gpu, x))
        assert gpu.captured == []
        assert read(gpu, x) == [0, 0]  # and goes on


def test_devices_do_not_mix_and_strangers_keep_off(gpu):
    with gpu.working():
        x = gpu.allocate((2,), torch.float32)
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(2)
        with pytest.raises(TypeError, match="makes the host wait"):
            x.numpy()
    with gpu.watched(), pytest.raises(RuntimeError, match="another stream"):
        x + 1


# ---- mistakes in the engine, each of which a GPU would punish now and then


def scores(tiny, faces, **options):
    """Three passes with different faces: what a graph froze shows in the second."""
    gpu, found = torch_gpu.Gpu(**options), []
    segments = segments_for(range(1, 5), tails=True)
    with TorchCuda(tiny, segments, "fp32", gpu) as engine:
        for turn in range(3):
            x = np.roll(faces, turn, axis=0)
            tokens, first, _ = engine.run(Segment(1, 1), x)
            left, right = (engine.keep(tokens, np.array(rows)) for rows in ([0, 1], [4, 5]))
            seconds = [engine.run(Segment(2, 2, tail=True), some)[1] for some in (left, right)]
            found.append(np.vstack([first, *seconds]))
    return np.hstack(found)


@pytest.fixture
def right(tiny, faces):
    return scores(tiny, faces, capturable=False)


def wrong(tiny, faces, right):
    try:
        return not np.allclose(scores(tiny, faces), right, atol=1e-5)
    except (EngineFailed, RuntimeError):
        return True


def test_the_engine_makes_none_of_them(tiny, faces, right):
    assert not wrong(tiny, faces, right)


def test_scores_read_too_early(tiny, faces, right, monkeypatch):
    monkeypatch.setattr(torch_gpu.Gpu, "synchronise", lambda gpu: None)
    assert wrong(tiny, faces, right)


def test_pinned_memory_written_too_early(tiny, faces, right, monkeypatch):
    monkeypatch.setattr(torch_gpu._Event, "synchronize", lambda event: None)
    assert wrong(tiny, faces, right)


def test_images_that_are_not_in_the_buffer_of_the_graph(tiny, faces, right, monkeypatch):
    def fill(inlet, values):
        if inlet.tensor.dtype is torch.uint8:
            inlet.tensor = gpu_of[0].put(torch.from_numpy(values))

    gpu_of = []
    made = torch_gpu.Gpu.__init__
    monkeypatch.setattr(
        torch_gpu.Gpu, "__init__", lambda gpu, **o: (made(gpu, **o), gpu_of.append(gpu))[0]
    )
    monkeypatch.setattr(InputBuffer, "fill", fill)
    assert wrong(tiny, faces, right)


def test_tokens_in_a_buffer_that_is_lent_twice(tiny, faces, right, monkeypatch):
    lend = TokenPool.lend

    def careless(pool):
        lease = lend(pool)
        pool._free.append(lease.number)
        return lease

    monkeypatch.setattr(TokenPool, "lend", careless)
    assert wrong(tiny, faces, right)
