"""Requests made from the API's own description, and answers held to it."""

import hypothesis
import pytest
import schemathesis
from msgspec.structs import replace
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.outputs.description import ENDPOINTS
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.reasons.report import Reasons, ReportedCause
from tests.gateway.fake_view import FakeView, record

REASONS = Reasons(
    "hold still", (ReportedCause("motion_blur", "Sharpness", 9), ReportedCause("odd", None, 0)),
    {"motion_blur": 9, "odd": 0},
)  # fmt: skip
VIEW = FakeView(records=[replace(record(), reasons=REASONS), record()], reasons=REASONS)
APP = make_app(VIEW, HttpConfig(pushes_per_s=1e6, max_megapixels=0.1), [], None)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP, headers={"host": "localhost"})


# schemathesis 4.30, which Python 3.10 gets, makes no bodies of image/*, and warns of it.
@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload:UserWarning")
@SCHEMA.parametrize()
@hypothesis.settings(
    max_examples=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_answers_are_as_described(case):
    case.headers["host"] = "localhost"
    case.call_and_validate(checks=CHECKS)


def test_reasons_are_described():
    schemas = APP.openapi()["components"]["schemas"]
    assert {"$ref": "#/components/schemas/Reasons"} in schemas["Record"]["properties"]["reasons"][
        "anyOf"
    ]
    assert set(schemas["Reasons"]["properties"]) == {"instruction", "reported", "values"}
    assert set(schemas["ReportedCause"]["properties"]) == {"cause", "component", "value"}
    assert "instruction" in schemas["FaceView"]["properties"]


def test_every_route_is_described():
    paths = APP.openapi()["paths"]
    assert {(method, path) for path in paths for method in paths[path]} == set(ENDPOINTS)


@pytest.mark.parametrize("path", ["/api/faces", "/v2/models/{name}/infer"])
def test_bodies_and_errors_are_described(path):
    operation = APP.openapi()["paths"][path]["post"]
    assert "application/octet-stream" in operation["requestBody"]["content"]
    assert {"200", "400", "401", "408", "413", "422", "429", "503"} <= set(operation["responses"])
