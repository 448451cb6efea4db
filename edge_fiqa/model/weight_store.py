"""Large constants of many graphs in one file, equal ones stored once (ONNX external data)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx import external_data_helper

from edge_fiqa.files import write_all

ALIGNMENT = 4096  # so that backends can map the file
SMALLEST = 512  # bytes; smaller constants stay in the graph


class WeightStore:
    """Writes `folder/name` as a context; `add` moves a graph's large constants there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._file = (folder / name).open("wb", buffering=0)  # one error, not another on closing
        self._known: dict[bytes, tuple[int, int]] = {}

    def add(self, model: onnx.ModelProto) -> onnx.ModelProto:
        for tensor in model.graph.initializer:
            if not tensor.HasField("raw_data") or len(tensor.raw_data) < SMALLEST:
                continue
            offset, length = self._place(tensor.raw_data)
            external_data_helper.set_external_data(tensor, self.name, offset, length)
            tensor.ClearField("raw_data")
        return model

    def _place(self, data: bytes) -> tuple[int, int]:
        key = hashlib.sha256(data).digest()
        if key not in self._known:
            write_all(self._file, bytes(-self._file.tell() % ALIGNMENT))
            self._known[key] = (self._file.tell(), len(data))
            write_all(self._file, data)
        return self._known[key]

    def __enter__(self) -> WeightStore:
        return self

    def __exit__(self, *error: object) -> None:
        """Raises OSError where the last of it cannot be written."""
        self._file.close()
