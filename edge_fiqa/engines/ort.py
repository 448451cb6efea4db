"""ONNX Runtime: the portable engine. Tokens stay in OrtValues that one session hands to the next."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnxruntime as ort

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import MAX_BATCH
from edge_fiqa.engines.base import EngineBase, Outputs, Tokens
from edge_fiqa.engines.processor import this_processor
from edge_fiqa.engines.turn import in_turn
from edge_fiqa.errors import BackendMissing, EngineFailed, one_line
from edge_fiqa.types import Bytes, Rows, Segment


class OnnxRuntime(EngineBase):
    backend = "ort"

    def __init__(
        self, bundle: Bundle, threads: int | None = None, *, optimised: bool = True
    ) -> None:
        """optimised: False computes the graphs node by node as they are written, slowly.

        That is what an INT8 bundle's scores are defined by: every product in float32, of numbers
        that were rounded where the graph says so. No instruction set changes it.
        """
        if bundle.manifest.precision == "bf16":
            raise BackendMissing(
                "ONNX Runtime has no bfloat16 kernels on CPU; "
                "use --backend ov, or build the bundle as fp32, fp16 or int8"
            )
        super().__init__()
        self.bundle, self.config = bundle, bundle.config
        self.causes = bundle.manifest.causes
        self.segments, self.max_batch = frozenset(bundle.segments), MAX_BATCH
        self.threads = threads or os.cpu_count() or 1
        self.device, self._optimised = str(this_processor()), optimised
        self._sessions: dict[Segment, Any] = {}
        self._outputs: dict[tuple[Segment, int], Any] = {}

    @in_turn
    def run(self, segment: Segment, x: Bytes | Tokens) -> Outputs:
        faces = self.faces_in(segment, x)
        session = self._sessions.get(segment) or self._load(segment)
        binding = session.io_binding()
        if isinstance(x, Tokens):
            binding.bind_ortvalue_input("tokens", x.buffer)
        else:
            binding.bind_cpu_input("image", np.ascontiguousarray(x))
        scores = np.empty((faces, segment.last - segment.first + 1), np.float32)
        binding.bind_ortvalue_output("scores", ort.OrtValue.ortvalue_from_numpy(scores))
        causes = np.empty((faces, len(self.causes)), np.float32) if self.causes else None
        if causes is not None:
            binding.bind_ortvalue_output("causes", ort.OrtValue.ortvalue_from_numpy(causes))
        out = None if segment.tail else self._output(segment, faces)
        if out is not None:
            binding.bind_ortvalue_output("tokens_out", out)
        try:
            session.run_with_iobinding(binding)
        except Exception as exc:  # onnxruntime raises its own bare exceptions
            raise EngineFailed(f"ONNX Runtime failed in {segment.name}: {one_line(exc)}") from exc
        if out is None:
            return Outputs(None, scores, causes)
        tokens = Tokens(faces, segment.last, out, self.lend((segment, faces)))
        return Outputs(tokens, scores, causes)

    @in_turn
    def keep(self, tokens: Tokens, rows: Rows) -> Tokens:
        rows = self.rows_in(tokens, rows)
        kept = np.ascontiguousarray(tokens.buffer.numpy()[rows])
        return Tokens(len(rows), tokens.block, ort.OrtValue.ortvalue_from_numpy(kept))

    @in_turn
    def release(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self._sessions.pop(segment, None)
            for key in [key for key in self._outputs if key[0] == segment]:
                self.lend(key)  # tokens that lie there are gone
                del self._outputs[key]

    def close(self) -> None:
        if self.turn.end():
            self._sessions.clear()
            self._outputs.clear()

    def _output(self, segment: Segment, faces: int) -> Any:
        if (segment, faces) not in self._outputs:
            shape = (faces, self.config.tokens, self.config.width)
            self._outputs[segment, faces] = ort.OrtValue.ortvalue_from_numpy(
                np.empty(shape, np.float32)
            )
        return self._outputs[segment, faces]

    def _load(self, segment: Segment) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # Every session has its own threads: none may spin while another one works.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if not self._optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        path = self.bundle.file_of(segment)
        try:
            session = ort.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                # It would merge what q, k and v each quantise for themselves, and a merged pair
                # is not fused: those three layers would run in float.
                disabled_optimizers=["CommonSubexpressionElimination"],
            )
        except Exception as exc:  # onnxruntime raises its own bare exceptions
            raise EngineFailed(f"ONNX Runtime cannot load {path}: {one_line(exc)}") from exc
        outputs = {output.name: output.shape for output in session.get_outputs()}
        self.check_causes(path, outputs["causes"][1] if "causes" in outputs else 0)
        self._sessions[segment] = session
        return session
