"""What the TensorRT engine does with PyCUDA on a device: pinned copies, the gather kernel, graphs.

    python benchmarks/gpu_device.py
    python benchmarks/gpu_device.py --rehearse          over a made-up driver; its times say nothing

Every part compares bytes with what NumPy says, then times itself by events. TensorRT is not needed.
"""

import importlib.util
import json
import statistics
import sys
from pathlib import Path

import numpy as np
from common import new_result, parser

TESTS = Path(__file__).parents[1] / "tests/engines"
TOKENS = 145 * 512 * 4  # bytes of one face's tokens in a ViT-S
ROUNDS = 20


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rehearse", action="store_true")
    options = arguments.parse_args()
    if options.rehearse:
        make_up_a_device()
    from edge_fiqa.engines.trt.device import CudaDevice

    with CudaDevice() as device:
        result = new_result(__doc__) | {
            "rehearsal": options.rehearse,
            "device": device.name,
            "sm": device.sm,
            "cuda": device.cuda,
            "integrated": device.integrated,
            "copies": [copies(device, faces) for faces in (1, 8, 64)],
            "gather": [gather(device, faces) for faces in (2, 16, 64)],
            "graph": graph(device),
        }
    rows = [*result["copies"], *result["gather"], result["graph"]]
    print(json.dumps(result))
    sys.exit(not all(row["right"] for row in rows))


def make_up_a_device() -> None:
    """The tests' PyCUDA and driver over host memory, in place of the real ones."""
    path = TESTS / "conftest.py"
    spec = importlib.util.spec_from_file_location("edge_fiqa_engine_conftest", path)
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)

    class Forever:
        setattr = staticmethod(setattr)

        @staticmethod
        def setitem(mapping, key, value):
            mapping[key] = value

    conftest.fakes.install(Forever, conftest.fakes.World(), conftest.extract.load("11.4"))


def copies(device, faces: int) -> dict:
    """Images to the device and back through pinned memory."""
    from edge_fiqa.engines.trt.device import Staging

    images = Staging(device, (faces, 112, 112, 3), np.uint8)
    pixels = np.random.default_rng(0).integers(0, 256, images.host.shape, np.uint8)
    images.host[:] = pixels
    items = pixels.size
    up_ms = event_ms(device, lambda: images.upload(items))
    device.synchronise()
    if images._twin is not None:  # otherwise host and device share the memory
        images.host[:] = 0
    down_ms = event_ms(device, lambda: images.download(items))
    right = bool((images.host == pixels).all())
    gb = items / 1e9
    return {
        "faces": faces, "right": right, "up_ms": up_ms, "down_ms": down_ms,
        "up_gb_per_s": gb / up_ms * 1e3, "down_gb_per_s": gb / down_ms * 1e3,
    }  # fmt: skip


def gather(device, faces: int) -> dict:
    """Every second face's tokens, moved to the front by the kernel."""
    from edge_fiqa.engines.trt.device import Staging

    tokens = Staging(device, (faces, TOKENS // 4), np.float32)
    tokens.host[:] = np.arange(tokens.host.size, dtype=np.float32).reshape(tokens.host.shape)
    expected = tokens.host[::2].copy()
    kept = Staging(device, expected.shape, np.float32)
    rows = np.arange(0, faces, 2)
    tokens.upload(tokens.host.size)
    ms = event_ms(device, lambda: device.gather(tokens.address, kept.address, rows, TOKENS))
    kept.download(expected.size)
    device.synchronise()
    return {
        "faces": faces, "kept": len(rows), "right": bool((kept.host == expected).all()), "ms": ms,
        "by_kernel": bool(device._kernel), "gb_per_s": 2 * expected.nbytes / 1e6 / ms,
    }  # fmt: skip


def graph(device) -> dict:
    """A captured gather, launched over other bytes: it must move those that are there then."""
    from edge_fiqa.engines.trt.device import Staging
    from edge_fiqa.engines.trt.graphs import CudaGraphs

    tokens = Staging(device, (4, TOKENS // 4), np.float32)
    kept = Staging(device, (2, TOKENS // 4), np.float32)
    graphs, rows = CudaGraphs(device.handle), np.array([3, 1])

    def enqueue() -> bool:
        device.gather(tokens.address, kept.address, rows, TOKENS)
        return True

    enqueue()
    device.synchronise()
    captured = graphs.capture(enqueue)
    if captured is None:
        return {"right": False, "ms": None, "why": "the gather cannot be captured"}
    tokens.host[:] = np.random.default_rng(1).random(tokens.host.shape, np.float32)
    tokens.upload(tokens.host.size)
    ms = event_ms(device, lambda: graphs.launch(captured))
    kept.download(kept.host.size)
    device.synchronise()
    right = bool((kept.host == tokens.host[rows]).all())
    graphs.destroy(captured)
    return {"right": right, "ms": ms}


def event_ms(device, work) -> float:
    """Median of the device's time for one call."""
    times = []
    for _ in range(ROUNDS):
        begin, end = device.event(), device.event()
        begin.record(device.stream)
        work()
        end.record(device.stream)
        device.synchronise()
        times.append(float(end.time_since(begin)))
    return statistics.median(times)


if __name__ == "__main__":
    main()
