"""The detector on OpenVINO: one compiled model for pictures of every size.

Compiling takes a quarter of a second, so the compiled form is kept on disk for the next process, and in
memory for the next thread (see `kept`).
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_fiqa.engines.detector import OUTPUTS, no_yunet
from edge_fiqa.engines.ov import check_not_forked, keep_in_child, note_threads, one_stream, ov
from edge_fiqa.engines.processor import this_processor
from edge_fiqa.errors import EngineFailed
from edge_fiqa.files import cache_folder
from edge_fiqa.kept import kept_or_none, why_not_kept, write_kept
from edge_fiqa.types import Array, Bytes

log = logging.getLogger("edge_fiqa.engines")
_COMPILING = threading.Lock()
"""Threads that open the same file compile it once."""


class DetectorOnOpenVINO:
    def __init__(self, model: Path, data: bytes, threads: int) -> None:
        check_not_forked()
        note_threads()
        try:
            with _COMPILING:
                compiled_model = _compiled(data, threads)
            self._request = compiled_model.create_infer_request()
        except (RuntimeError, ValueError) as exc:
            raise no_yunet(model, "OpenVINO") from exc
        keep_in_child(self)

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


SHAPES_KEPT = 64
"""Prepared forms of a picture or region. OpenVINO would keep a thousand, at 1 to 2 MB each."""


def _settings(threads: int) -> dict[str, Any]:
    return {**one_stream(threads), "CPU_RUNTIME_CACHE_CAPACITY": SHAPES_KEPT}


def _compiled(data: bytes, threads: int) -> Any:
    """A model of its own for one thread: two would wait for each other's stream."""
    form = _compiled_form(data, threads)
    try:
        return ov.Core().import_model(form, "CPU", _settings(threads))
    except RuntimeError as exc:
        log.warning("a kept compiled detector cannot be loaded (%s): it is compiled again", exc)
        return ov.Core().compile_model(_from_pixels(data), "CPU", _settings(threads))


@functools.lru_cache(maxsize=4)
def _compiled_form(data: bytes, threads: int) -> bytes:
    """What an earlier process kept, or compiled now and kept. Raises RuntimeError and ValueError."""
    label = _label(data, threads)
    folder = cache_folder(f"openvino-{ov.__version__.split('-')[0]}") / "detector"
    path = folder / f"{hashlib.sha256(label.encode()).hexdigest()[:16]}.model"
    keeps = why_not_kept(folder) is None
    if keeps and (kept := kept_or_none(path, label)) is not None:
        return kept
    exported = io.BytesIO()
    ov.Core().compile_model(_from_pixels(data), "CPU", _settings(threads)).export_model(exported)
    if keeps:
        try:
            write_kept(path, exported.getvalue(), label)
        except OSError as exc:
            log.warning("%s: %s; the compiled detector is not kept", path, exc.strerror)
    return exported.getvalue()


def _label(data: bytes, threads: int) -> str:
    """All that the compiled form depends on."""
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = sorted((name, repr(value)) for name, value in _settings(threads).items())
    digest = hashlib.sha256(data).hexdigest()
    return repr((digest, settings, ov.__version__, str(this_processor()), sorted(capabilities)))


def _from_pixels(data: bytes) -> Any:
    """The file's network with (1, H, W, 3) uint8 RGB as input, for (1, 3, 640, 640) float BGR."""
    network = ov.Core().read_model(data, b"")
    if {output.any_name for output in network.outputs} != set(OUTPUTS):
        raise ValueError("other outputs than a YuNet's")
    network.reshape({network.input(0): ov.PartialShape([1, 3, -1, -1])})
    steps = ov.preprocess.PrePostProcessor(network)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).reverse_channels()
    return steps.build()
