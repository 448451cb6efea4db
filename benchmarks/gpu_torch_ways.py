"""The ways of running a pass that `gpu_torch.py` compares, and a CPU to rehearse them on."""

import contextlib
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from common import SHIPPED, noise_weights

from edge_fiqa.bench.run import NEVER_STOPS
from edge_fiqa.engines.base import require_tokens
from edge_fiqa.engines.torch_.cuda_engine import TorchCuda
from edge_fiqa.engines.torch_.device import GpuDevice
from edge_fiqa.engines.torch_.network import DTYPES
from edge_fiqa.exits.route import route_to
from edge_fiqa.model.torch_model import load_vit
from edge_fiqa.model.weights import Weights, load_weights, verify
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import Segment, VitConfig

NOISE = {
    "vit_s": VitConfig(),
    "vit_s-C": VitConfig(mode="crfiqa"),
    "tiny": VitConfig(width=32, depth=3, heads=2),  # for rehearsals
}
MODELS = ("nano", "small", *NOISE)


def weights_of(model: str) -> Weights:
    """A shipped model, or a shape filled with seeded noise: speed does not depend on it."""
    if model not in NOISE:
        return load_weights(SHIPPED / f"{model}.safetensors")
    return verify(noise_weights(NOISE[model]), NOISE[model], model)


def reference(
    weights: Weights, precision: str, device: GpuDevice
) -> Callable[[np.ndarray], object]:
    """All exits as people write it: the plain network, autocast, and `.cpu()`."""
    place = "cpu" if isinstance(device, Rehearsal) else "cuda"
    vit, half = load_vit(weights).to(place).requires_grad_(False), precision != "fp32"

    @torch.inference_mode()
    def run(faces: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(faces).to(place).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        with torch.autocast(place, DTYPES[precision] if half else None, enabled=half):
            return vit(x).float().cpu().numpy()

    return run


def first_pass_ms(engine: TorchCuda, faces: np.ndarray) -> float:
    """A pass in steps that finds nothing captured at this batch size."""
    start = time.perf_counter()
    in_steps(engine, faces)
    return 1e3 * (time.perf_counter() - start)


def passes(
    graphs: TorchCuda, eager: TorchCuda, faces: np.ndarray
) -> dict[str, Callable[[], object]]:
    """Full depth each; `exit k` stops there, known before it starts."""
    depth = graphs.config.depth
    whole = route_to(graphs.segments, depth)[0]
    controller = Controller(graphs)
    early = {1, depth // 2} - {depth}
    return {
        "eager, one segment": partial(eager.run, whole, faces),
        "eager, steps": partial(in_steps, eager, faces),
        "one segment": partial(graphs.run, whole, faces),
        "steps": partial(in_steps, graphs, faces),
        "not asking": partial(without_asking, graphs, faces),
        "controller": partial(controller.assess, faces, [Fixed(depth), NEVER_STOPS]),
        **{f"exit {k}": partial(controller.assess, faces, [Fixed(k)]) for k in sorted(early)},
    }


def in_steps(engine: TorchCuda, faces: np.ndarray) -> None:
    """Every segment waited for, its scores on the host, and nobody who looks at them."""
    x = faces
    for segment in route_to(engine.segments, engine.config.depth, in_steps=True):
        x = engine.run(segment, x).tokens


def without_asking(engine: TorchCuda, faces: np.ndarray) -> None:
    """Every segment enqueued behind the one before, all scores fetched at the end."""
    x = faces
    for segment in route_to(engine.segments, engine.config.depth, in_steps=True):
        x = engine.enqueue(segment, x)
    engine.scores(1, engine.config.depth, len(faces))


def leave(engine: TorchCuda, faces: np.ndarray, depths: np.ndarray, drop: bool) -> None:
    """Run until the last face has left at its exit; drop: compaction as the controller does it."""
    x, rest = faces, depths
    place = np.arange(len(faces))
    for block in range(1, engine.config.depth + 1):
        tokens, scores, _ = engine.run(Segment(block, block), x)
        scores[place]  # what a decision would look at
        staying = np.flatnonzero(rest > block)
        if not staying.size:
            return
        rest, place, x = rest[staying], place[staying], require_tokens(tokens)
        if drop and engine.computed(len(place)) < engine.computed(x.faces):
            x, place = engine.keep(x, place), np.arange(len(place))


def gpu() -> dict[str, object]:
    card = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": card.name,
        "sm": f"{card.major}.{card.minor}",
        "multiprocessors": card.multi_processor_count,
        "memory_mb": card.total_memory >> 20,
        "cuda": torch.version.cuda,
        "attention": [
            name
            for name in ("flash", "mem_efficient", "cudnn", "math")
            if getattr(torch.backends.cuda, f"{name}_sdp_enabled", bool)()
        ],
    }


class Rehearsal:
    """A `GpuDevice` where everything is done at once, on the CPU, and a replay is a repetition."""

    name = "rehearsal on the CPU"

    @contextlib.contextmanager
    def working(self):
        with torch.inference_mode():
            yield

    def put(self, tensor):
        return tensor

    def allocate(self, shape, dtype):
        return torch.zeros(shape, dtype=dtype)

    pinned = allocate

    def event(self):
        return _Done()

    def capture(self, work):
        return _Repeated(work)

    def synchronise(self):
        pass

    def memory_mb(self):
        return 0, 0

    def release(self):
        pass


class _Done:
    def record(self):
        pass

    synchronize = record


class _Repeated:
    def __init__(self, work):
        self.replay = work

    def reset(self):
        self.replay = None
