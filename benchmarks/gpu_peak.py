"""How much of a card's own peak the whole network reaches, at batches of 1 to 256.

    python benchmarks/gpu_peak.py --precision fp16
    python benchmarks/gpu_peak.py --rehearse                   on the CPU, with small numbers

The peak is measured, not read from a data sheet: the fastest product of two square matrices in the same
type. The network is the engine's own, called as one captured graph at each batch size.
"""

import json
import sys
import time

import gpu_torch_ways as ways
import torch
from common import new_result, parser

from edge_fiqa.engines.torch_.device import GpuDevice, find_cuda
from edge_fiqa.engines.torch_.network import DTYPES, GpuNetwork
from edge_fiqa.exits.cost import segment_gflops
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.types import Segment

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--precision", choices=DTYPES, default="fp16")
    arguments.add_argument("--model", nargs="+", choices=ways.MODELS, default=["nano", "vit_s"])
    arguments.add_argument("--rehearse", action="store_true")
    options = arguments.parse_args()
    device = ways.Rehearsal() if options.rehearse else find_cuda()
    if device is None:
        sys.exit("gpu_peak.py: torch finds no CUDA device; --rehearse runs without one")
    models, batches, sizes = options.model, BATCHES, (2048, 4096, 8192)
    if options.rehearse:
        models, batches, sizes = ["tiny"], (1, 2), (64,)
    peak = max(product_tflops(device, options.precision, size) for size in sizes)
    rows = [
        row for model in models for row in shares(device, model, options.precision, batches, peak)
    ]
    result = new_result(__doc__) | {
        "rehearsal": options.rehearse,
        "gpu": None if options.rehearse else ways.gpu(),
        "precision": options.precision,
        "peak_tflops": peak,
        "rows": rows,
    }
    print(json.dumps(result))


def product_tflops(device: GpuDevice, precision: str, size: int) -> float:
    """2 n^3 operations in the time of one product, at its fastest."""
    with device.working():
        left = device.put(torch.rand(size, size).to(DTYPES[precision]))
        right = device.put(torch.rand(size, size).to(DTYPES[precision]))
        out = device.allocate((size, size), DTYPES[precision])
        return 2 * size**3 / fastest_s(device, lambda: torch.mm(left, right, out=out)) / 1e12


def shares(
    device: GpuDevice, model: str, precision: str, batches: tuple[int, ...], peak: float
) -> list[dict]:
    weights = ways.weights_of(model)
    config = weights.config
    whole = Segment(1, config.depth, tail=config.mode == "token")
    gflops = segment_gflops(config, whole)
    rows = []
    with device.working():
        network = GpuNetwork(weights, precision, device.put, batches[-1])
        for batch in batches:
            images = device.put(torch.from_numpy(synthetic_faces(batch)))
            scores = device.allocate((config.depth, batch), torch.float32)

            def work(images=images, scores=scores) -> None:
                network.run(whole, images, None, scores)

            work()
            device.synchronise()
            seconds = fastest_s(device, device.capture(work).replay)
            tflops = gflops * batch / seconds / 1e3
            rows.append(
                {
                    "model": model,
                    "batch": batch,
                    "ms": round(1e3 * seconds, 4),
                    "faces_per_s": round(batch / seconds, 1),
                    "tflops": round(tflops, 3),
                    "share_of_peak": round(tflops / peak, 4),
                }
            )
    return rows


def fastest_s(device: GpuDevice, work, rounds: int = 10, least_s: float = 0.02) -> float:
    """Seconds of one call, the least mean of `rounds` series that take `least_s` each."""
    work()
    device.synchronise()
    calls, taken = 1, 0.0
    while taken < least_s:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        device.synchronise()
        taken = time.perf_counter() - start
        if taken < least_s:
            calls *= 2
    best = taken / calls
    for _ in range(rounds - 1):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        device.synchronise()
        best = min(best, (time.perf_counter() - start) / calls)
    return best


if __name__ == "__main__":
    main()
