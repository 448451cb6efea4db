"""OpenVINO: the default engine on CPU.

Tokens stay in the output tensor of the request that made them; the next request reads it in place.
Models are specialised per batch bucket and compiled on first use; compiled forms are kept on disk
(see compiled_models), so that a second start only reads them. OpenVINO's own cache is not used: it
loads whatever lies in its folder.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import MAX_BATCH
from edge_fiqa.engines.base import EngineBase, Outputs, Tokens, bucket_for
from edge_fiqa.engines.compiled_models import CompiledModel, CompiledModels
from edge_fiqa.engines.processor import this_processor
from edge_fiqa.engines.turn import AFTER_FORK, in_turn
from edge_fiqa.errors import EngineFailed, one_line
from edge_fiqa.types import IMAGE, Bytes, Rows, Segment


def _without_telemetry() -> Any:
    """OpenVINO, which reports nothing.

    When it is imported, it sends an event to Google Analytics and writes a number for this user to
    ~/intel, unless its telemetry package is missing. So that package is hidden during the import.
    A program that imported OpenVINO earlier has made its own choice.
    """
    modules: dict[str, Any] = (
        sys.modules
    )  # importing a module whose entry is None raises ImportError
    loaded = modules.get("openvino_telemetry")
    modules["openvino_telemetry"] = None
    try:
        import openvino
    finally:
        del modules["openvino_telemetry"]
        if loaded is not None:
            modules["openvino_telemetry"] = loaded
    return openvino


ov = _without_telemetry()


class OpenVINO(EngineBase):
    backend = "ov"

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        check_not_forked()
        _check_bytes_are_computed_right(bundle)
        super().__init__()
        self.bundle, self.config = bundle, bundle.config
        self.causes = bundle.manifest.causes
        self.segments, self.max_batch = frozenset(bundle.segments), MAX_BATCH
        self.threads = threads or os.cpu_count() or 1
        self._core = ov.Core()
        self.device = str(this_processor())
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._capabilities = sorted(capabilities)
        self._compiled = CompiledModels(bundle, f"openvino-{ov.__version__.split('-')[0]}")
        self._requests: dict[tuple[Segment, int], Any] = {}
        self._sources: dict[tuple[Segment, int], Any] = {}
        self._outputs: dict[tuple[Segment, int], Any] = {}
        keep_in_child(self)

    @in_turn
    def run(self, segment: Segment, x: Bytes | Tokens) -> Outputs:
        faces = self.faces_in(segment, x)
        bucket = x.buffer.shape[0] if isinstance(x, Tokens) else bucket_for(faces, MAX_BATCH)
        request = self._requests.get((segment, bucket)) or self._load(segment, bucket)
        try:
            if isinstance(x, Tokens):
                if self._sources.get((segment, bucket)) is not x.buffer:
                    request.set_input_tensor(x.buffer)
                    self._sources[segment, bucket] = x.buffer
            else:
                request.get_input_tensor().data[:faces] = x
            request.infer(share_inputs=True, share_outputs=True)
        except RuntimeError as exc:
            raise EngineFailed(f"OpenVINO failed in {segment.name}: {one_line(exc)}") from exc
        scores = request.get_tensor("scores").data[:faces].copy()
        causes = request.get_tensor("causes").data[:faces].copy() if self.causes else None
        if segment.tail:
            return Outputs(None, scores, causes)
        key = segment, bucket
        tokens = Tokens(faces, segment.last, self._outputs[key], self.lend(key))
        return Outputs(tokens, scores, causes)

    @in_turn
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        rows = self.rows_in(tokens, rows)
        bucket = bucket_for(len(rows), MAX_BATCH)
        kept = ov.Tensor(ov.Type.f32, ov.Shape([bucket, *tokens.buffer.shape[1:]]))
        kept.data[: len(rows)] = tokens.buffer.data[rows]
        kept.data[len(rows) :] = 0
        return Tokens(len(rows), tokens.block, kept)

    def computed(self, faces: int) -> int:
        return bucket_for(faces, MAX_BATCH)

    @in_turn
    def release(self, segments: Iterable[Segment]) -> None:
        chosen = set(segments)
        for key in [key for key in self._requests if key[0] in chosen]:
            self.lend(key)  # tokens that lie there are gone
            del self._requests[key]
            self._sources.pop(key, None)
            self._outputs.pop(key, None)

    def close(self) -> None:
        if self.turn.end():
            self._requests.clear()
            self._sources.clear()
            self._outputs.clear()

    def _load(self, segment: Segment, bucket: int) -> Any:
        path = self.bundle.file_of(segment)
        note_threads()
        shape = [bucket, IMAGE, IMAGE, 3] if segment.first == 1 else self._token_shape(bucket)
        key = CompiledModel(segment, bucket, self._settings())
        try:
            model = self._kept(key) or self._compile(path, key, shape)
            request = model.create_infer_request()
        except RuntimeError as exc:
            raise EngineFailed(f"OpenVINO cannot load {path}: {one_line(exc)}") from exc
        outputs = {name: output.shape for output in model.outputs for name in output.get_names()}
        self.check_causes(path, outputs["causes"][1] if "causes" in outputs else 0)
        if segment.first == 1:
            request.set_input_tensor(ov.Tensor(np.zeros(shape, np.uint8)))
        if not segment.tail:
            self._outputs[segment, bucket] = request.get_tensor("tokens_out")
        self._requests[segment, bucket] = request
        return request

    def _kept(self, key: CompiledModel) -> Any:
        """The model as an earlier process compiled it, or None."""
        if (data := self._compiled.read(key)) is None:
            return None
        try:
            return self._core.import_model(data, "CPU", self._properties())
        except RuntimeError as exc:
            self._compiled.refuse(key, exc)
            return None

    def _compile(self, path: Path, key: CompiledModel, shape: list[int]) -> Any:
        model = self._core.read_model(path)
        model.reshape({model.input(0): ov.PartialShape(shape)})
        compiled = self._core.compile_model(model, "CPU", self._properties())
        if self._compiled.keeps:
            data = io.BytesIO()
            compiled.export_model(data)
            self._compiled.write(key, data.getvalue())
        return compiled

    def _settings(self) -> dict[str, Any]:
        """All that a compiled model depends on beside its graph: one that was made with others is
        never loaded."""
        return {
            **self._properties(),
            "version": ov.__version__,
            "device": self.device,
            "capabilities": self._capabilities,
        }

    def _token_shape(self, bucket: int) -> list[int]:
        return [bucket, self.config.tokens, self.config.width]

    def _properties(self) -> dict[str, Any]:
        return one_stream(self.threads)


def one_stream(threads: int) -> dict[str, Any]:
    """Properties of a model that one thread at a time runs, on so many threads of OpenVINO."""
    return {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # precision is in the graph
        # Pinned, every one-thread engine would sit on the same first core.
        "ENABLE_CPU_PINNING": False,
    }


def _check_bytes_are_computed_right(bundle: Bundle) -> None:
    """Raises EngineFailed for INT8 on a processor with SME: scores are wrong by 0.7 to 1.5 there
    (OpenVINO 2026.3 on an emulated one; openvino#34673 for Apple M4)."""
    if bundle.manifest.precision == "int8" and "sme" in this_processor().instructions:
        raise EngineFailed(
            "OpenVINO computes INT8 wrongly on processors with SME (openvino#34673): take the model in "
            "FP32 (--precision fp32), or another engine (--backend ort)"
        )


_threads_of: int | None = None
"""The process in which OpenVINO started its threads, when it first compiled; None: in none so far."""


def note_threads() -> None:
    global _threads_of
    if _threads_of is None:
        _threads_of = os.getpid()


def check_not_forked() -> None:
    """Raises EngineFailed where OpenVINO would wait for ever, for threads that were not copied."""
    if _threads_of not in (None, os.getpid()):
        raise EngineFailed(
            "OpenVINO was used before this process was forked, and its threads do not exist here; "
            f"{AFTER_FORK}, or do not use OpenVINO before the fork"
        )


_engines: weakref.WeakSet[Any] = weakref.WeakSet()


def keep_in_child(engine: object) -> None:
    """Of what holds a request of OpenVINO: a process that is forked from this one never frees it."""
    _engines.add(engine)


def _never_free_in_child() -> None:
    """After a fork: freeing what the parent opened waits for ever, for threads that were not copied.

    A reference that nobody gives back keeps the child's copies to the end of its process.
    """
    for engine in _engines:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_never_free_in_child)
