"""KServe's Open Inference Protocol (v2): what serving stacks expect of a model.

https://kserve.github.io/website/latest/modelserving/data_plane/v2_protocol. Tensors come as JSON, or
as bytes behind the JSON (the binary tensor extension).
"""

from __future__ import annotations

import re
import struct
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


OUTPUTS = {"quality": "INT32", "raw": "FP32", "depth": "INT32", "record": "BYTES"}
"""Name -> datatype."""
REQUESTED_BYTES = 10_000
"""Of the JSON that names the outputs."""
BATCH = 8
"""So many faces of a request are scored at a time, each time within the deadline."""


class TensorParameters(Struct):
    binary_data_size: int | None = None


class InputTensor(Struct):
    """Nothing here is built of a part that may be large: an object costs 20 times its JSON."""

    name: str
    datatype: str
    shape: tuple[int, int, int, int]
    data: msgspec.Raw = msgspec.Raw()
    parameters: TensorParameters = msgspec.field(default_factory=TensorParameters)


class OutputParameters(Struct):
    """binary_data: None: as the request says. classification: of class scores, which there are none."""

    binary_data: bool | None = None
    classification: int | None = None


class RequestedOutput(Struct):
    name: str
    parameters: OutputParameters = msgspec.field(default_factory=OutputParameters)


class RequestParameters(Struct):
    """binary_data_output: outputs come as bytes, where they do not say otherwise themselves."""

    binary_data_output: bool = False


class InferRequest(Struct):
    """outputs: JSON of a list of RequestedOutput; empty: all outputs."""

    inputs: tuple[InputTensor]
    id: str | None = None
    outputs: msgspec.Raw = msgspec.Raw()
    parameters: RequestParameters = msgspec.field(default_factory=RequestParameters)


class OutputTensor(Struct):
    """data: or `parameters`, and the bytes behind the JSON."""

    name: str
    datatype: str
    shape: tuple[int]
    data: Sequence[int | float | str] | msgspec.UnsetType = msgspec.UNSET
    parameters: TensorParameters | msgspec.UnsetType = msgspec.UNSET


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
        "outputs": [tensor(name, datatype) for name, datatype in OUTPUTS.items()],
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


def requested_outputs(request: InferRequest) -> list[tuple[str, bool]]:
    """Names in the order asked for, and whether each comes as bytes. Raises ConfigError."""
    as_bytes, text = request.parameters.binary_data_output, bytes(request.outputs)
    if len(text) > REQUESTED_BYTES:
        raise ConfigError(f"outputs: above {REQUESTED_BYTES} bytes")
    try:
        asked = msgspec.json.decode(text, type=list[RequestedOutput]) if text else []
    except msgspec.DecodeError as exc:
        raise ConfigError(f"outputs: {exc}") from exc
    names = [output.name for output in asked]
    if unknown := sorted(set(names) - set(OUTPUTS)):
        raise ConfigError(f"no output is named {unknown[0][:40]!r}: {', '.join(OUTPUTS)}")
    if len(set(names)) != len(names):
        raise ConfigError("an output is named twice")
    if any(output.parameters.classification is not None for output in asked):
        raise ConfigError("classification is not offered: a quality is no class")
    if not asked:
        return [(name, as_bytes) for name in OUTPUTS]
    stated = [(output.name, output.parameters.binary_data) for output in asked]
    return [(name, as_bytes if binary is None else binary) for name, binary in stated]


def infer(view: View, request: InferRequest, faces: Bytes) -> tuple[InferResponse, bytes]:
    """All faces or none; the response, and the bytes that follow its JSON.

    Raises ConfigError, Overloaded where one cannot be scored in time, EngineFailed.
    """
    asked = requested_outputs(request)
    batches = [faces[start : start + BATCH] for start in range(0, len(faces), BATCH)]
    records = [record for batch in batches for record in view.push_crops(batch)]
    for record in records:
        if record.quality.code != "ok":
            raise EngineFailed(f"a face could not be scored: {record.quality.code}")
    tensors, binary = [], b""
    for name, as_bytes in asked:
        values = _values(name, records)
        if any(value is None for value in values):  # not calibrated
            if request.outputs:
                raise ConfigError(f"{name}: this model has no calibration")
            continue
        tensor = OutputTensor(name, OUTPUTS[name], (len(values),))
        if as_bytes:
            data = _to_bytes(OUTPUTS[name], values)
            tensor.parameters = TensorParameters(len(data))
            binary += data
        else:
            tensor.data = values
        tensors.append(tensor)
    return InferResponse(view.model, __version__, tensors, request.id), binary


def _values(name: str, records: Sequence[Record]) -> list[Any]:
    if name == "quality":
        return [record.quality.scalar for record in records]
    if name == "raw":
        return [record.quality.raw for record in records]
    if name == "depth":
        return [record.exit.depth for record in records]
    return [to_json(record).decode() for record in records]


def _to_bytes(datatype: str, values: Sequence[Any]) -> bytes:
    """Little-endian; an element of BYTES has its length in four bytes before it."""
    if datatype == "BYTES":
        encoded = [value.encode() for value in values]
        return b"".join(struct.pack("<I", len(value)) + value for value in encoded)
    return np.array(values, {"INT32": "<i4", "FP32": "<f4"}[datatype]).tobytes()
