"""Other ways to run the network: torch as research code does, and one exported graph without exits."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edge_fiqa.model.torch_model import load_vit

Runs = dict[str, Callable[[], object]]


def torch_ways(weights, precision: str, face: np.ndarray, threads: int) -> Runs:
    """Eager with a run per exit, eager in one pass, and compiled. INT8 has no torch way here."""
    if precision == "int8":
        return {}
    torch.set_num_threads(threads)
    vit, dtype = (
        load_vit(weights).eval(),
        {"fp32": torch.float32, "bf16": torch.bfloat16}[precision],
    )
    if dtype is torch.bfloat16:
        vit = vit.to(dtype)

    def pixels() -> torch.Tensor:
        return torch.from_numpy(face).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).to(dtype)

    @torch.inference_mode()
    def to_exit(depth: int) -> torch.Tensor:
        x = vit.stem(pixels())
        for block in vit.blocks[:depth]:
            x = block(x)
        return vit.head(x).float().numpy()

    def a_run_per_exit() -> None:
        for depth in range(1, len(vit.blocks) + 1):
            to_exit(depth)

    compiled = torch.compile(vit)

    @torch.inference_mode()
    def single_pass(model=vit) -> np.ndarray:
        return model(pixels()).float().numpy()

    return {
        "torch eager, a run per exit": a_run_per_exit,
        "torch eager, one pass, all exits": single_pass,
        "torch eager, last exit only": partial(to_exit, len(vit.blocks)),
        "torch.compile, one pass, all exits": partial(single_pass, compiled),
    }


class LastExit(torch.nn.Module):
    """What a user exports: the network with its own head, unfolded, without exits."""

    def __init__(self, vit) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.vit.stem(images)
        for block in self.vit.blocks:
            x = block(x)
        return self.vit.head(x)


def export_tools(weights, precision: str, folder: Path, faces: np.ndarray, threads: int) -> Runs:
    """One graph of the whole network through torch.onnx, in ONNX Runtime and in OpenVINO.

    OpenVINO makes bf16 by its precision hint, and reads ONNX Runtime's static INT8 (QDQ, per channel).
    """
    path = folder / "monolith.onnx"
    x = faces.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    torch.onnx.export(
        LastExit(load_vit(weights).eval()), (torch.from_numpy(x[:1]),), str(path), dynamo=False,
        input_names=["x"], opset_version=17,
    )  # fmt: skip
    if precision == "int8":
        path = quantised(path, x)
    image = np.ascontiguousarray(faces[:1])

    def pixels() -> np.ndarray:
        return image.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1

    runs: Runs = {}
    if precision != "bf16":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        runs["one graph, ONNX Runtime, last exit only"] = lambda: session.run(None, {"x": pixels()})
    import openvino as ov

    hint = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    hint["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bf16" else "f32"
    model = ov.Core().read_model(str(path))
    request = ov.Core().compile_model(model, "CPU", hint).create_infer_request()
    runs["one graph, OpenVINO, last exit only"] = lambda: request.infer(
        {0: pixels()}, share_inputs=True, share_outputs=True
    )
    return runs


def quantised(path: Path, x: np.ndarray) -> Path:
    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter([{"x": row[None]} for row in x])

        def get_next(self):
            return next(self.rows, None)

    target = path.with_name("monolith-int8.onnx")
    quantize_static(
        str(path), str(target), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
    )  # fmt: skip
    return target
