"""What `/openapi.json` says of the gateway's API: bodies, answers and errors of every route.

The routes read and write bytes themselves, so that FastAPI knows only their paths and parameters.
Schemas are those of the structs that are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from edge_fiqa.gateway.outputs.kserve import INPUT, OUTPUTS, InferResponse
from edge_fiqa.gateway.view import CameraView, Totals, TrackView
from edge_fiqa.record import Record

BYTES = {"type": "string", "format": "binary"}
JSON, IMAGE, TEXT = "application/json", "image/jpeg", "text/plain"
REASONS = {
    400: "The request is not valid.",
    401: "A bearer token is needed.",
    403: "The request comes from another web site, or live pictures are switched off.",
    404: "There is no such camera, track, picture or model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    421: "The host name is not allowed.",
    415: "The body is of a kind or encoding that is not read.",
    422: "A parameter or picture cannot be used.",
    429: "Too many requests or wrong tokens.",
    500: "A bug of the gateway.",
    503: "Not possible now; Retry-After says when to ask again.",
}
EVERYWHERE = (400, 401, 403, 421, 429, 500, 503)
UPLOAD = (408, 413, 415, 422)
SCHEMAS, COMPONENTS = msgspec.json.schema_components(
    [Record, CameraView, TrackView, Totals, InferResponse],
    ref_template="#/components/schemas/{name}",
)
RECORD, CAMERA, TRACK, TOTALS, INFER_RESPONSE = SCHEMAS
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}},
}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list_of(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


TEXT_OR_NULL = {"type": ["string", "null"]}
BOOLEAN, STRING = {"type": "boolean"}, {"type": "string"}
READINESS = _object(ready=BOOLEAN, why_not=TEXT_OR_NULL)
MODEL_READINESS = _object(name=STRING, ready=BOOLEAN)
OUTPUT = _object(
    name=STRING,
    problem=TEXT_OR_NULL,
    waiting={"type": "integer"},
    dropped={"type": "integer"},
)
STATUS = _object(
    version=STRING,
    model=STRING,
    backend=STRING,
    why_not_ready=TEXT_OR_NULL,
    totals=TOTALS,
    frames=BOOLEAN,
    outputs=_list_of(OUTPUT),
)
SIDE = {"const": 112}
INPUT_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"const": INPUT},
        "datatype": {"const": "UINT8"},
        "shape": {
            "type": "array",
            "description": "Faces, and 112, 112, 3.",
            "prefixItems": [{"type": "integer", "minimum": 1}, SIDE, SIDE, {"const": 3}],
            "minItems": 4,
            "maxItems": 4,
        },
        "data": {"type": "array", "description": "0 to 255: one list, or lists as the shape."},
        "parameters": _object(binary_data_size={"type": "integer", "minimum": 1}),
    },
}
OUTPUT_REQUEST = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"enum": list(OUTPUTS)},
        "parameters": {"type": "object", "properties": {"binary_data": BOOLEAN}},
    },
}
INFER_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": STRING,
        "inputs": {"type": "array", "items": INPUT_TENSOR, "minItems": 1, "maxItems": 1},
        "outputs": {"type": "array", "items": OUTPUT_REQUEST, "maxItems": len(OUTPUTS)},
        "parameters": {"type": "object", "properties": {"binary_data_output": BOOLEAN}},
    },
}
TENSORS = _list_of(
    _object(name=STRING, datatype=STRING, shape=_list_of({"type": "integer"})),
)


@dataclass(frozen=True)
class Endpoint:
    """answer: the schema of 200, as media_type. also: other statuses with this schema.

    binary: the answer may also be bytes behind its JSON.
    """

    answer: Mapping[str, Any] = field(default_factory=dict)
    media_type: str = JSON
    body: Mapping[str, Any] | None = None
    errors: tuple[int, ...] = ()
    also: tuple[int, ...] = ()
    is_open: bool = False
    binary: bool = False

    def responses(self) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "description": "The answer.",
            "content": {self.media_type: {"schema": self.answer}},
        }
        if self.binary:
            answer["content"]["application/octet-stream"] = {"schema": BYTES}
        statuses = sorted({*EVERYWHERE, *self.errors})
        errors = {str(status): _error(status) for status in statuses}
        again = dict.fromkeys(map(str, self.also), answer)
        return {"200": answer, **errors, **again}


PICTURE_BODY = {
    "description": "An encoded image: JPEG, PNG, WebP, TIFF and others.",
    "required": True,
    "content": {
        "application/octet-stream": {"schema": BYTES},
        "image/*": {"schema": BYTES},
    },
}
INFER_BODY = {
    "description": "A request of the Open Inference Protocol; bytes may follow the JSON.",
    "required": True,
    "content": {
        JSON: {"schema": INFER_REQUEST},
        "application/octet-stream": {"schema": BYTES},
    },
}
MODEL_ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("get", ""): Endpoint(
        _object(
            name=STRING,
            versions=_list_of(STRING),
            platform=STRING,
            inputs=TENSORS,
            outputs=TENSORS,
        ),
        errors=(404,),
    ),
    ("get", "/ready"): Endpoint(MODEL_READINESS, errors=(404,), also=(503,)),
    ("post", "/infer"): Endpoint(
        INFER_RESPONSE, body=INFER_BODY, errors=(*UPLOAD, 404), binary=True
    ),
}
LIVE = Endpoint(_object(live=BOOLEAN), is_open=True)
READY = Endpoint(READINESS, also=(503,), is_open=True)
ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("get", "/healthz"): LIVE,
    ("get", "/v2/health/live"): LIVE,
    ("get", "/readyz"): READY,
    ("get", "/v2/health/ready"): READY,
    ("get", "/metrics"): Endpoint({"type": "string"}, TEXT),
    ("get", "/api/status"): Endpoint(STATUS),
    ("get", "/api/cameras"): Endpoint(_list_of(CAMERA)),
    ("get", "/api/cameras/{camera}/frame"): Endpoint({}, IMAGE, errors=(404,)),
    ("get", "/api/tracks"): Endpoint(_list_of(TRACK), errors=(422,)),
    ("get", "/api/tracks/{track}/snapshot"): Endpoint({}, IMAGE, errors=(404,)),
    ("post", "/api/faces"): Endpoint(_list_of(RECORD), body=PICTURE_BODY, errors=UPLOAD),
    ("get", "/v2"): Endpoint(_object(name=STRING, version=STRING, extensions=_list_of(STRING))),
    **{
        (method, path + end): endpoint
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        for (method, end), endpoint in MODEL_ENDPOINTS.items()
    },
}


def _error(status: int) -> dict[str, Any]:
    return {"description": REASONS[status], "content": {JSON: {"schema": ERROR}}}


PUSH_PARAMETERS = [
    {
        "name": "landmarks",
        "in": "query",
        "description": "x,y of both eyes, the nose and the corners of the mouth, in pixels.",
        "schema": {"type": "string"},
    },
    {
        "name": "deadline_ms",
        "in": "query",
        "description": "Above 0, at most 60,000.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 60_000},
    },
]


def describe(app: FastAPI) -> None:
    """Have `app` answer `/openapi.json` with all of this."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(
                get_openapi(title=app.title, version=app.version, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            endpoint = ENDPOINTS[method, path]
            operation["responses"] = endpoint.responses()
            if endpoint.body is not None:
                operation["requestBody"] = endpoint.body
            if not endpoint.is_open:
                operation["security"] = [{"token": []}]
    schema["paths"]["/api/faces"]["post"]["parameters"] = PUSH_PARAMETERS
    schema["components"] = {
        "schemas": dict(COMPONENTS),
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    return schema
