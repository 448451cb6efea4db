"""KServe v2 as the client of Triton speaks it, and what it may ask for."""

import gzip
import json
import zlib

import numpy as np
import pytest
from starlette.testclient import TestClient

from edge_fiqa import __version__
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.gateway.outputs.server import HttpServer
from tests.gateway.fake_view import FakeView, record
from tests.needs import missing

try:
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException
except ImportError:
    missing("tritonclient is not installed; pip install 'tritonclient[http]'", whole_file=True)

FACES = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)


@pytest.fixture
def view():
    return FakeView()


@pytest.fixture
def client(view, monkeypatch):
    monkeypatch.delenv("EDGE_FIQA_TOKEN", raising=False)
    server = HttpServer(view, HttpConfig(port=0, pushes_per_s=1e6), [])
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()
    server.close()


def tensor(faces=FACES, *, binary=True):
    image = triton.InferInput("image", list(faces.shape), "UINT8")
    image.set_data_from_numpy(faces, binary_data=binary)
    return [image]


@pytest.mark.parametrize("version", ["", __version__])
def test_what_a_client_asks_first(client, view, version):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("nano", version)
    metadata = client.get_model_metadata("nano", version)
    assert metadata["versions"] == [__version__]
    assert [output["name"] for output in metadata["outputs"]] == [
        "quality",
        "raw",
        "depth",
        "record",
    ]
    view.not_ready = "building"
    assert not client.is_model_ready("nano", version)


def test_versions_and_models_that_are_not_there(client):
    for name, version in (("nano", "7"), ("small", "")):
        with pytest.raises(InferenceServerException, match="no such"):
            client.infer(name, tensor(), version)


@pytest.mark.parametrize("version", ["", __version__])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_every_face_is_answered_in_order(client, view, version, binary, packed):
    answer = client.infer(
        "nano", tensor(binary=binary), version, request_id="7", request_compression_algorithm=packed
    )
    assert [pushed[0].tolist() for pushed in view.pushed] == FACES.tolist()
    assert answer.as_numpy("quality").tolist() == [73, 73, 73]
    assert answer.as_numpy("quality").dtype == np.int32
    assert answer.as_numpy("raw").dtype == np.float32
    np.testing.assert_allclose(answer.as_numpy("raw"), 1.184)
    assert answer.as_numpy("depth").tolist() == [5, 5, 5]
    records = [json.loads(text) for text in answer.as_numpy("record")]
    assert [r["schema"] for r in records] == ["edge-fiqa/1"] * 3
    assert answer.get_response()["id"] == "7"


@pytest.mark.parametrize("binary", [True, False])
def test_only_the_outputs_asked_for(client, binary):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("record", "raw")]
    answer = client.infer("nano", tensor(), outputs=outputs)
    names = [output["name"] for output in answer.get_response()["outputs"]]
    assert names == ["record", "raw"]
    assert answer.as_numpy("quality") is None
    assert len(answer.as_numpy("record")) == len(answer.as_numpy("raw")) == 3


def test_bytes_and_json_may_be_mixed(client):
    outputs = [
        triton.InferRequestedOutput("raw", binary_data=True),
        triton.InferRequestedOutput("quality", binary_data=False),
    ]
    answer = client.infer("nano", tensor(), outputs=outputs)
    raw, quality = answer.get_response()["outputs"]
    assert raw["parameters"] == {"binary_data_size": 12}
    assert "data" not in raw
    assert quality["data"] == [73, 73, 73]


def test_many_faces_are_scored_some_at_a_time(client, view):
    """So that each group has the whole deadline, as a client that sends them one by one."""
    groups = []
    view.push_crops = lambda crops: groups.append(len(crops)) or [record()] * len(crops)
    answer = client.infer("nano", tensor(np.zeros((21, 112, 112, 3), np.uint8)))
    assert groups == [8, 8, 5]
    assert len(answer.as_numpy("raw")) == 21


def test_outputs_that_are_refused(client, view):
    for output, says in (
        (triton.InferRequestedOutput("beauty"), "no output is named 'beauty'"),
        (triton.InferRequestedOutput("raw", class_count=2), "classification is not offered"),
    ):
        with pytest.raises(InferenceServerException, match=says):
            client.infer("nano", tensor(), outputs=[output])
    view.records = [record(scalar=None)]
    assert client.infer("nano", tensor()).as_numpy("quality") is None
    with pytest.raises(InferenceServerException, match="no calibration"):
        client.infer("nano", tensor(), outputs=[triton.InferRequestedOutput("quality")])


def post(path, body, **headers):
    app = make_app(FakeView(), HttpConfig(pushes_per_s=1e6, max_upload_mb=1), [], None)
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    return client.post(path, content=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "encoding", "status", "says"),
    [
        (gzip.compress(bytes(3_000_000), mtime=0), "gzip", 413, "decompressed"),
        (zlib.compress(bytes(3_000_000)), "deflate", 413, "decompressed"),
        (b"no gzip", "gzip", 400, "not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip", 400, "as a whole"),
        (b"{}", "br", 415, "gzip or deflate"),
    ],
)
def test_compressed_bodies_that_are_refused(body, encoding, status, says):
    for path in ("/v2/models/nano/infer", "/api/faces"):
        answer = post(path, body, **{"content-encoding": encoding})
        assert answer.status_code == status
        assert says in answer.json()["error"]


def test_a_form_is_named_as_such():
    for path in ("/v2/models/nano/infer", "/api/faces"):
        answer = post(path, b"--x\r\n", **{"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 415
        assert "--data-binary" in answer.json()["error"]


def test_a_body_as_curl_sends_it_is_not_a_form():
    """`curl --data-binary` calls every body so, and so does urllib."""
    for path in ("/v2/models/nano/infer", "/api/faces"):
        answer = post(path, b"?", **{"content-type": "application/x-www-form-urlencoded"})
        assert answer.status_code in (400, 422)  # it is no picture
