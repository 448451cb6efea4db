"""The network of the face detector (YuNet) on each library that computes it: rows of a table.

The file is one for all of them, as OpenCV Zoo made it. What they share is a contract, held by
tests/faces/test_yunet_decoding.py:

- A picture is (H, W, 3) uint8 RGB; both sides are multiples of 32.
- Outputs are those of the file: `cls`, `obj` (A, 1), `bbox` (A, 4) and `kps` (A, 10) float32 for the
  strides 8, 16 and 32, with A = H W / stride^2 places in rows. They are valid until the next `run`.
- One thread at a time. Several threads open a network each.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, get_args

from edge_fiqa.errors import BackendMissing, ConfigError
from edge_fiqa.types import Array, Bytes

STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in STRIDES)

DetectorBackend = Literal["ov", "ort", "cv2"]
NETWORKS: Mapping[DetectorBackend, str] = {
    "ov": "edge_fiqa.engines.detector.ov:DetectorOnOpenVINO",
    "ort": "edge_fiqa.engines.detector.ort:DetectorOnOnnxRuntime",
    "cv2": "edge_fiqa.engines.detector.opencv:DetectorOnOpenCV",
}


class DetectorNetwork(Protocol):
    """See the module's docstring for the contract."""

    def run(self, picture: Bytes) -> Mapping[str, Array]:
        """Outputs by name. Raises EngineFailed."""


def open_network(model: Path, data: bytes, backend: str, threads: int) -> DetectorNetwork:
    """The network on one library. data: the file's content; model: its name, for messages.

    Raises ConfigError for an unknown backend and for a file that is no YuNet, and BackendMissing.
    """
    if backend not in get_args(DetectorBackend):
        raise ConfigError(f"detector backend {backend!r} is not one of {', '.join(NETWORKS)}")
    module, attribute = NETWORKS[backend].split(":")  # type: ignore[index]
    try:
        opened: DetectorNetwork = getattr(import_module(module), attribute)(model, data, threads)
    except ImportError as exc:
        raise BackendMissing(f"detector backend {backend!r}: {exc}; {REMEDY[backend]}") from exc
    return opened


REMEDY = {
    "ov": "run pip install 'edge-fiqa[ov]'",
    "ort": "run pip install 'edge-fiqa[ort]' onnx",
    "cv2": "run pip install opencv-python",
}


def default_backend() -> DetectorBackend:
    """OpenVINO, which takes about two thirds of OpenCV's time; OpenCV where it is missing."""
    return "ov" if importlib.util.find_spec("openvino") is not None else "cv2"


def no_yunet(model: Path, library: str) -> ConfigError:
    return ConfigError(f"detector {model}: it is not a YuNet ONNX model {library} can run")
