"""Frozen face recognition models as ONNX files: aligned faces in, unit embeddings out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fiqa.errors import BackendMissing
from edge_fiqa.types import Array, Bytes


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """What must be known to feed a recognition model: (pixel - mean) / std, RGB, some columns."""

    path: Path
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    columns: tuple[int, int] = (0, 112)
    threads: int = 2

    def embed(self, faces: Bytes, batch: int = 64) -> Array:
        """(N, 112, 112, 3) uint8 RGB -> (N, F) float32 of unit length."""
        try:
            import onnxruntime
        except ImportError as exc:
            raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[ort]'") from exc
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(
            str(self.path), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        left, right = self.columns
        rows = []
        for start in range(0, len(faces), batch):
            x: Array = faces[start : start + batch, :, left:right].astype(np.float32)
            x -= np.array(self.mean, np.float32)
            x /= np.array(self.std, np.float32)
            embedding = session.run(None, {name: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0]
            rows.append(embedding / np.linalg.norm(embedding, axis=1, keepdims=True))
        return np.concatenate(rows).astype(np.float32)
