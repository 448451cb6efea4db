"""KServe's Open Inference Protocol (v2): what serving stacks expect of a model.

https://kserve.github.io/website/latest/modelserving/data_plane/v2_protocol. Tensors come as JSON, or
as bytes behind the JSON (the binary tensor extension).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from edge_fiqa import __version__
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.gateway.view import View
from edge_fiqa.record import Record, to_json
from edge_fiqa.types import IMAGE, Bytes

INPUT = "image"
MOST_FACES = 64
FACE_BYTES = IMAGE * IMAGE * 3
HEADER_LENGTH = "inference-header-content-length"
"""Bytes of the JSON, where a tensor's bytes follow it."""


class TensorParameters(Struct):
    binary_data_size: int | None = None


class InputTensor(Struct):
    """Nothing here is built of a part that may be large: an object costs 20 times its JSON."""

    name: str
    datatype: str
    shape: tuple[int, int, int, int]
    data: msgspec.Raw = msgspec.Raw()
    parameters: TensorParameters = msgspec.field(default_factory=TensorParameters)


class InferRequest(Struct):
    inputs: tuple[InputTensor]
    id: str | None = None


class OutputTensor(Struct):
    name: str
    datatype: str
    shape: tuple[int]
    data: Sequence[int | float | str]


class InferResponse(Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


def server_metadata() -> dict[str, Any]:
    return {"name": "edge_fiqa", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_metadata(view: View) -> dict[str, Any]:
    def tensor(name: str, datatype: str) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": [-1]}

    return {
        "name": view.model,
        "versions": [__version__],
        "platform": f"edge_fiqa_{view.backend}",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, IMAGE, IMAGE, 3]}],
        "outputs": [
            tensor("quality", "INT32"),
            tensor("raw", "FP32"),
            tensor("depth", "INT32"),
            tensor("record", "BYTES"),
        ],
    }


def read_request(body: bytes, header_length: str | None) -> tuple[InferRequest, Bytes]:
    """The request and its faces (N, 112, 112, 3) uint8 RGB. Raises ConfigError."""
    end = _json_end(body, header_length)
    try:
        request = msgspec.json.decode(body[:end], type=InferRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigError(f"the request is not of the v2 protocol: {exc}") from exc
    (tensor,) = request.inputs
    if tensor.name != INPUT:
        raise ConfigError(f"give one input named {INPUT}")
    faces = tensor.shape[0]
    if tensor.datatype != "UINT8" or tensor.shape[1:] != (IMAGE, IMAGE, 3):
        raise ConfigError(f"{INPUT} must be UINT8 of shape [N, {IMAGE}, {IMAGE}, 3]")
    if not 1 <= faces <= MOST_FACES:
        raise ConfigError(f"one request holds 1 to {MOST_FACES} faces, got {faces}")
    data = bytes(tensor.data)
    flat = _from_json(data, faces) if data else _from_bytes(body[end:], tensor)
    if flat.size != faces * FACE_BYTES:
        raise ConfigError(f"{INPUT} has {flat.size} values, its shape says {faces * FACE_BYTES}")
    return request, flat.reshape(faces, IMAGE, IMAGE, 3)


def _json_end(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    if not header_length.isdecimal() or int(header_length[:20]) > len(body):
        raise ConfigError(f"{HEADER_LENGTH} is not a length within the body")
    return int(header_length[:20])


def _from_json(data: bytes, faces: int) -> Bytes:
    """Flat or nested lists, row by row, read without making an object of every number."""
    structure = data.translate(None, b"0123456789 \t\r\n")
    if structure not in (_flat(faces * FACE_BYTES), _nested(faces)):
        raise ConfigError(
            f"the data of {INPUT} must be whole numbers, 0 to 255, as many as its shape says: "
            "one list, or lists as its shape has them"
        )
    digits = data.translate(None, b"[] \t\r\n")
    values = None if re.search(rb"\d{4}", digits) else np.fromstring(digits, np.uint16, sep=",")
    if values is None or values.max() > 255:
        raise ConfigError(f"the data of {INPUT} must be whole numbers, 0 to 255")
    return values.astype(np.uint8)


def _nested(faces: int) -> bytes:
    """The brackets and commas of lists (faces, IMAGE, IMAGE, 3)."""
    row = _list_of([_flat(3)] * IMAGE)
    return _list_of([_list_of([row] * IMAGE)] * faces)


def _flat(count: int) -> bytes:
    return b"[" + b"," * (count - 1) + b"]"


def _list_of(items: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _from_bytes(data: bytes, tensor: InputTensor) -> Bytes:
    if tensor.parameters.binary_data_size != len(data):
        raise ConfigError(f"binary_data_size is not the {len(data)} bytes that follow the JSON")
    return np.frombuffer(data, np.uint8)


def infer(view: View, request: InferRequest, faces: Bytes) -> InferResponse:
    """All faces or none. Raises Overloaded where one cannot be scored in time, EngineFailed."""
    records = [record for face in faces for record in view.push(face, None, None)]
    for record in records:
        if record.quality.code != "ok":
            raise EngineFailed(f"a face could not be scored: {record.quality.code}")
    return InferResponse(view.model, __version__, list(_outputs(records)), request.id)


def _outputs(records: Sequence[Record]) -> Sequence[OutputTensor]:
    def tensor(name: str, datatype: str, data: Sequence[Any]) -> OutputTensor:
        return OutputTensor(name, datatype, (len(data),), data)

    qualities = [record.quality.scalar for record in records]
    calibrated = all(quality is not None for quality in qualities)
    return [
        *([tensor("quality", "INT32", qualities)] if calibrated else []),
        tensor("raw", "FP32", [record.quality.raw for record in records]),
        tensor("depth", "INT32", [record.exit.depth for record in records]),
        tensor("record", "BYTES", [to_json(record).decode() for record in records]),
    ]
