"""The detector on ONNX Runtime, by the plain form of the file (model/detector_graph.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from edge_fiqa.engines.detector import OUTPUTS, no_yunet
from edge_fiqa.errors import EngineFailed
from edge_fiqa.model.detector_graph import plain_graph
from edge_fiqa.types import Array, Bytes


class DetectorOnOnnxRuntime:
    def __init__(self, model: Path, data: bytes, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            plain = plain_graph(data)
            self._session = ort.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime raises its own bare exceptions
            raise no_yunet(model, "ONNX Runtime") from exc
        if {output.name for output in self._session.get_outputs()} != set(OUTPUTS):
            raise no_yunet(model, "ONNX Runtime")

    def run(self, picture: Bytes) -> Mapping[str, Array]:
        planes = np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)
        try:
            outputs = self._session.run(OUTPUTS, {self._session.get_inputs()[0].name: planes})
        except Exception as exc:  # onnxruntime raises its own bare exceptions
            height, width = picture.shape[:2]
            raise EngineFailed(f"ONNX Runtime failed on a picture of {width}x{height}") from exc
        return {name: output[0] for name, output in zip(OUTPUTS, outputs, strict=True)}
