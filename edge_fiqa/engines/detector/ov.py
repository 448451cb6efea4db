"""The detector on OpenVINO: one compiled model for pictures of every size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_fiqa.engines.detector import OUTPUTS, no_yunet
from edge_fiqa.engines.ov import check_not_forked, note_threads, one_stream, ov
from edge_fiqa.errors import EngineFailed
from edge_fiqa.types import Array, Bytes


class DetectorOnOpenVINO:
    def __init__(self, model: Path, data: bytes, threads: int) -> None:
        check_not_forked()
        note_threads()
        core = ov.Core()
        try:
            network = core.read_model(data, b"")
            if {output.any_name for output in network.outputs} != set(OUTPUTS):
                raise no_yunet(model, "OpenVINO")
            network.reshape({network.input(0): ov.PartialShape([1, 3, -1, -1])})
            compiled = core.compile_model(_from_pixels(network), "CPU", one_stream(threads))
        except RuntimeError as exc:
            raise no_yunet(model, "OpenVINO") from exc
        self._request = compiled.create_infer_request()

    def run(self, picture: Bytes) -> Mapping[str, Array]:
        check_not_forked()
        request = self._request
        try:
            request.set_input_tensor(ov.Tensor(np.ascontiguousarray(picture)[None]))
            request.infer(share_inputs=True, share_outputs=True)
            return {name: request.get_tensor(name).data[0] for name in OUTPUTS}
        except RuntimeError as exc:
            height, width = picture.shape[:2]
            raise EngineFailed(f"OpenVINO failed on a picture of {width}x{height}: {exc}") from exc


def _from_pixels(network: ov.Model) -> ov.Model:
    """The same network with (1, H, W, 3) uint8 RGB as input, for (1, 3, H, W) float BGR."""
    steps = ov.preprocess.PrePostProcessor(network)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).reverse_channels()
    return steps.build()
