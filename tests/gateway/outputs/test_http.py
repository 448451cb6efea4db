"""Routes, limits and refusals, through the whole application."""

import io
import json
import re
import threading
import time
import tracemalloc
from email.utils import parsedate_to_datetime

import httpx2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from edge_fiqa.errors import ConfigError, EngineFailed, Overloaded
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.outputs.auth import Guard
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.gateway.outputs.kserve import read_request
from edge_fiqa.gateway.outputs.metrics import EventMetrics
from edge_fiqa.gateway.outputs.uploads import read_landmarks
from edge_fiqa.reasons.report import Reasons, ReportedCause
from tests.gateway.fake_view import FakeSink, FakeView, event, jpeg, record

TOKEN = "0123456789abcdef0123456789abcdef"


def client_for(view=None, sinks=(), token=None, base="http://127.0.0.1", **config):
    config = HttpConfig(**{"pushes_per_s": 1e6, **config})
    app = make_app(view or FakeView(), config, sinks, token)
    return TestClient(app, base_url=base, raise_server_exceptions=False)


BLURRED = Reasons(
    "hold still", (ReportedCause("motion_blur", "Sharpness", 9),), {"motion_blur": 9, "yaw": 95}
)


@pytest.mark.parametrize(
    ("reasons", "answered"), [(None, None), (BLURRED, json.loads(msgspec.json.encode(BLURRED)))]
)
def test_answers_carry_the_reasons_of_a_record(reasons, answered):
    pushed = msgspec.structs.replace(record(), reasons=reasons)
    view = FakeView(records=[pushed], reasons=reasons, instruction="hold still")
    client = client_for(view)
    assert client.post("/api/faces", content=jpeg()).json()[0]["reasons"] == answered
    assert client.get("/api/tracks").json()[0]["record"]["reasons"] == answered
    faces = client.get("/api/cameras").json()[0]["faces"]
    assert [face["instruction"] for face in faces] == [None, "hold still"]


def png(width, height):
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return out.getvalue()


def test_a_pushed_face_gets_its_record():
    view = FakeView()
    answer = client_for(view).post(
        "/api/faces?landmarks=1,2,3,4,5,6,7,8,9,10&deadline_ms=250", content=jpeg()
    )
    assert answer.status_code == 200
    assert [record["schema"] for record in answer.json()] == ["edge-fiqa/1"]
    assert answer.json()[0]["quality"]["scalar"] == 73
    image, landmarks, deadline_s = view.pushed[0]
    assert image.shape == (240, 320, 3)
    assert landmarks == [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10)]
    assert deadline_s == 0.25


@pytest.mark.parametrize(
    ("failure", "status", "waits"),
    [
        (Overloaded("the deadline cannot be kept"), 503, True),
        (ConfigError("no detector: give landmarks"), 400, False),
        (EngineFailed("/secret/path: out of memory"), 503, True),
        (RuntimeError("/secret/path"), 500, False),
    ],
)
def test_failures_have_a_status_and_no_secret(failure, status, waits):
    answer = client_for(FakeView(failure=failure)).post("/api/faces", content=jpeg())
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == waits
    assert "secret" not in answer.text
    assert list(answer.json()) == ["error"]


def test_an_upload_that_is_no_picture():
    answer = client_for().post("/api/faces", content=b"hello")
    assert answer.status_code == 422
    assert answer.json()["code"] == "unreadable"
    assert client_for().post("/api/faces", content=b"").status_code == 422


def test_pixels_are_counted_before_they_are_decoded():
    bomb = png(20_000, 20_000)  # 50 kB that would be 1.2 GB
    assert len(bomb) < 100_000
    view = FakeView()
    answer = client_for(view, max_megapixels=4).post("/api/faces", content=bomb)
    assert answer.status_code == 422
    assert "400 megapixels, above the limit of 4" in answer.json()["error"]
    assert view.pushed == []
    assert client_for(view, max_megapixels=4).post("/api/faces", content=png(2000, 2000)).is_success


def test_a_body_is_refused_while_it_arrives():
    read = []

    def endless():
        for _ in range(1000):
            read.append(1)
            yield b"\xff" * 10_000

    client = client_for(max_upload_mb=0.1)
    assert client.post("/api/faces", content=b"x" * 100_001).status_code == 413
    answer = client.post("/api/faces", content=endless())
    assert answer.status_code == 413
    assert "limit of 0.1 MB" in answer.json()["error"]


def test_each_client_has_its_rate():
    client = client_for(pushes_per_s=0.01)  # none comes back while this test runs
    statuses = [client.post("/api/faces", content=jpeg()).status_code for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    answer = client.post("/api/faces", content=jpeg())
    assert 1 <= int(answer.headers["retry-after"]) <= 100
    assert client.get("/api/cameras").is_success


def test_more_pushes_than_places_are_told_to_wait():
    going = threading.Event()

    class SlowView(FakeView):
        def push(self, *face):
            going.wait(100)
            return super().push(*face)

    statuses = []
    with client_for(SlowView(), pushes_at_once=3) as client:

        def push():
            statuses.append(client.post("/api/faces", content=jpeg()).status_code)
            if statuses.count(503) == 2:
                going.set()

        threads = [threading.Thread(target=push) for _ in range(3 + 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    assert sorted(statuses) == [200] * 3 + [503] * 2


def test_cameras_tracks_and_pictures():
    client = client_for()
    assert [camera["name"] for camera in client.get("/api/cameras").json()] == ["door", "hall"]
    tracks = client.get("/api/tracks?camera=hall&limit=3").json()
    assert [track["id"] for track in tracks] == [f"hall/1700000000/{n}" for n in (1, 2, 3)]
    assert tracks[0]["record"]["quality"]["scalar"] == 59
    for path, size in (
        ("/api/cameras/door/frame", (320, 240)),
        (f"/api/tracks/{tracks[0]['id']}/snapshot", (112, 112)),
    ):
        answer = client.get(path)
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).size == size
    assert client.get("/api/cameras/attic/frame").status_code == 404
    assert client.get("/api/tracks/a/b/snapshot").status_code == 404
    assert client.get("/api/tracks?limit=x").status_code == 422
    status = client.get("/api/status").json()
    assert status["totals"]["depths"][0] == 30
    assert status["why_not_ready"] is None


def test_live_pictures_can_be_switched_off():
    assert client_for(frames=False).get("/api/cameras/door/frame").status_code == 403


def test_health():
    client = client_for()
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200
    client = client_for(FakeView(not_ready="no camera is live"))
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.get("/v2/models/nano/ready").status_code == 503


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_health_may_be_asked_by_head(path):
    """Load balancers and uptime monitors do; a token is not asked for."""
    assert client_for(token=TOKEN).head(path).status_code == 200
    not_ready = client_for(FakeView(not_ready="no camera is live"), token=TOKEN)
    assert not_ready.head(path).status_code == (503 if "ready" in path else 200)


def test_a_picture_says_how_old_it_is():
    client = client_for()
    assert client.get("/api/cameras/door/frame").headers["age"] == "0"
    stale = client.get("/api/cameras/hall/frame")
    assert stale.headers["age"] == "12"
    taken = parsedate_to_datetime(stale.headers["last-modified"]).timestamp()
    assert abs(time.time() - 12.5 - taken) < 5
    assert "age" not in client.get("/api/cameras/attic/frame").headers


def test_counters_are_there_before_anything_happened():
    """A counter that appears with its first event hides that event from rate()."""
    values, _ = metrics_of(client_for(sinks=[EventMetrics()]))
    named = {name for name, _ in values}
    for camera in ("door", "hall"):
        for metric in ("event_latency_seconds", "track_quality"):
            assert values[f"edge_fiqa_{metric}_count", (("camera", camera),)] == 0
    reasons = {dict(labels)["reason"] for name, labels in values if "skipped" in name}
    assert reasons >= {"too_small", "pose", "unconfirmed", "good_shot", "overload", "engine"}
    kinds = {dict(labels)["type"] for name, labels in values if name == "edge_fiqa_events_total"}
    assert kinds == {"new", "update", "end"}
    assert values["edge_fiqa_camera_people", (("camera", "door"),)] == 2
    assert "edge_fiqa_deadline_misses_total" in named


def test_reported_causes_are_counted_by_camera_and_cause():
    reported = (ReportedCause("motion_blur", "Sharpness", 9), ReportedCause("noise", None, 20))
    blurred = msgspec.structs.replace(record(), reasons=Reasons("hold still", reported, {}))
    counting = EventMetrics()
    for kind, best in (("new", blurred), ("update", blurred), ("end", blurred), ("end", record())):
        counting.publish(event(0, kind, record=best), None)
    counting.publish(event(1, "end", record=None), None)
    view = FakeView(causes=("motion_blur", "noise", "yaw"))
    values, _ = metrics_of(client_for(view, sinks=[counting]))
    counts = {
        (dict(labels)["camera"], dict(labels)["cause"]): value
        for (name, labels), value in values.items()
        if name == "edge_fiqa_track_causes_total"
    }
    nothing = {("door", "yaw"): 0, **{("hall", cause): 0 for cause in view.causes}}
    assert counts == {("door", "motion_blur"): 1, ("door", "noise"): 1, **nothing}


def test_a_model_without_causes_has_no_metric_of_them():
    _, text = metrics_of(client_for(sinks=[EventMetrics()]))
    assert "cause" not in text


def metrics_of(client):
    text = client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }, text


def test_metrics_are_prometheus_text():
    counting = EventMetrics()
    counting.publish(event(0, latency_s=0.2), None)
    counting.publish(event(1, "end", latency_s=0.02), None)

    output = FakeSink("mqtt", "no broker", delivered=7, dropped=2, waiting=5)
    values, text = metrics_of(client_for(sinks=[counting, output]))
    where = (("backend", "ov"), ("model", "nano"))
    assert values["edge_fiqa_faces_found_total", where] == 100
    exits = {name[1]: value for name, value in values.items() if "faces_scored_total" in name[0]}
    assert sum(exits.values()) == 90
    assert exits[(*where[:1], ("exit", "1"), *where[1:])] == 30
    assert values["edge_fiqa_faces_skipped_total", (("reason", "overload"),)] == 3
    assert values["edge_fiqa_camera_up", (("camera", "door"),)] == 1
    assert values["edge_fiqa_camera_up", (("camera", "hall"),)] == 0
    assert values["edge_fiqa_camera_frame_age_seconds", (("camera", "hall"),)] == 12.5
    assert values["edge_fiqa_event_latency_seconds_count", (("camera", "door"),)] == 2
    assert values["edge_fiqa_event_latency_seconds_sum", (("camera", "door"),)] == pytest.approx(
        0.22
    )
    assert values["edge_fiqa_track_quality_count", (("camera", "door"),)] == 1
    assert values["edge_fiqa_output_up", (("output", "mqtt"),)] == 0
    dropped = (("output", "mqtt"), ("result", "dropped"))
    assert values["edge_fiqa_output_events_total", dropped] == 2
    assert values["edge_fiqa_output_waiting_events", (("output", "mqtt"),)] == 5
    assert not any(("output", "metrics") in labels for _, labels in values)
    assert values["process_resident_memory_bytes", ()] > 1e7
    units = (
        "_seconds",
        "_ratio",
        "_total",
        "_bytes",
        "_joules",
        "_info",
        "_bucket",
        "_sum",
        "_count",
    )
    plain = ("_up", "_ready", "_faces", "_people", "_warnings", "_events", "_fds", "_created")
    assert all(name.endswith((*units, *plain)) for name, _ in values)
    assert "# HELP edge_fiqa_load_ratio" in text


# Who may ask.


def test_the_token_opens_and_nothing_else_does():
    client = client_for(token=TOKEN)
    for path in ("/", "/app.js", "/style.css", "/healthz", "/readyz"):
        assert client.get(path).status_code == 200
    closed = ["/api/cameras", "/metrics", "/openapi.json", "/v2", "/nothing", "/healthz/", "/API"]
    for path in closed:
        assert client.get(path).status_code == 401, path
    for wrong in (
        "",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer é",
    ):
        headers = {b"authorization": wrong.encode("latin-1")}
        answer = client.get("/api/cameras", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in answer.text
    assert client.get("/api/cameras", headers={"authorization": f"bearer {TOKEN}"}).is_success


def test_guessing_is_slow():
    client = client_for(token=TOKEN)
    statuses = [
        client.get("/api/cameras", headers={"authorization": f"Bearer {n}"}).status_code
        for n in range(12)
    ]
    assert statuses == [401] * 10 + [429] * 2


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost", "[::1]:80", "192.168.1.9", "cam.lan"]
)
def test_hosts_that_are_known(host):
    client = client_for(allowed_hosts=["Cam.lan"])
    assert client.get("/api/cameras", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example", "a@b:[", "[::1"],
)
def test_a_rebound_name_is_refused(host):
    client = client_for()
    for path in ("/", "/api/cameras", "/healthz"):
        assert client.get(path, headers={"host": host}).status_code == 421


def test_other_sites_cannot_push():
    client = client_for(allowed_hosts=["cam.lan"])

    def push_from(origin):
        return client.post("/api/faces", content=jpeg(), headers={"origin": origin}).status_code

    assert push_from("http://127.0.0.1") == 200
    assert push_from("https://cam.lan") == 200
    assert {push_from(o) for o in ("https://evil.example", "null", "http://[", "")} == {403}


def test_every_answer_carries_the_headers():
    client = client_for(token=TOKEN)
    for path in ("/", "/api/cameras", "/nothing", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_page_asks_nobody_else():
    client = client_for()
    for path in ("/", "/app.js", "/style.css"):
        text = client.get(path).text
        hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert not hosts
        assert not re.search(r"innerHTML|eval\(|<script>|style=\"|onclick=", text)


# KServe.


def request_for(faces, **more):
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(faces.shape), **more}
    return {"id": "7", "inputs": [{"data": faces.ravel().tolist(), **tensor}]}


FACES = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)


def test_infer_as_json_and_as_bytes():
    view = FakeView()
    client = client_for(view)
    model = client.get("/v2/models/nano").json()
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 112, 112, 3]}]
    nested = request_for(FACES)
    nested["inputs"][0]["data"] = FACES.tolist()
    head = request_for(FACES, parameters={"binary_data_size": FACES.nbytes})
    del head["inputs"][0]["data"]
    head = json.dumps(head).encode()
    for answer in (
        client.post("/v2/models/nano/infer", json=request_for(FACES)),
        client.post("/v2/models/nano/infer", json=nested),
        client.post(
            "/v2/models/nano/infer",
            content=head + FACES.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        ),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.json()["id"] == "7"
        outputs = {output["name"]: output for output in answer.json()["outputs"]}
        assert outputs["quality"] == {
            "name": "quality", "datatype": "INT32", "shape": [2], "data": [73, 73]
        }  # fmt: skip
        assert json.loads(outputs["record"]["data"][1])["schema"] == "edge-fiqa/1"
    np.testing.assert_array_equal([image for image, *_ in view.pushed], np.concatenate([FACES] * 3))


def test_infer_is_all_or_nothing():
    view = FakeView(failure=Overloaded("the answer would come after its deadline"))
    answer = client_for(view).post("/v2/models/nano/infer", json=request_for(FACES))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert client_for().post("/v2/models/small/infer", json=request_for(FACES)).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2, 112, 112]},
        {"shape": [2, 112, 112, 4]},
        {"shape": [0, 112, 112, 3], "data": []},
        {"shape": [10**9, 112, 112, 3]},
        {"shape": [-2, 112, 112, 3]},
        {"shape": []},
        {"datatype": "FP32"},
        {"name": "pixels"},
        {"data": [1, 2, 3]},
        {"data": [[1], [2, 3]]},
        {"data": FACES[0].tolist()},
        {"data": [[0, 0], *[0] * 37630]},
        {"data": [], "parameters": {"binary_data_size": "x"}},
        {"data": "text"},
        {"data": [0.5] * 37632, "shape": [1, 112, 112, 3]},
        {"data": [256] * 37632, "shape": [1, 112, 112, 3]},
        {"data": [-1] * 37632, "shape": [1, 112, 112, 3]},
        {"data": [10**30] * 37632, "shape": [1, 112, 112, 3]},
        {"data": None, "parameters": {"binary_data_size": 5}},
    ],
)
def test_what_infer_refuses(change):
    asked = request_for(FACES[:1])
    asked["inputs"][0].update(change)
    answer = client_for().post("/v2/models/nano/infer", json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_name_that_is_no_text_is_refused():
    body = json.dumps(request_for(FACES[:1, :1, :1])).encode().replace(b'"image"', b'"\x80mage"')
    assert b"\x80" in body
    answer = client_for().post("/v2/models/nano/infer", content=body)
    assert answer.status_code == 400


CLIENT = client_for(max_megapixels=0.01)
SEEDS = [png(8, 8), jpeg(16, 16), json.dumps(request_for(FACES[:1, :1, :1])).encode(), b"GIF89a"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_no_upload_is_a_crash(seed, data):
    body = bytearray(seed)
    for _ in range(data.draw(st.integers(0, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    query = data.draw(
        st.dictionaries(st.sampled_from(["landmarks", "deadline_ms"]), st.text(max_size=30))
    )
    path = data.draw(st.sampled_from(["/api/faces", "/v2/models/nano/infer"]))
    length = data.draw(
        st.none() | st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=6)
    )
    headers = {} if length is None else {"inference-header-content-length": length}
    try:
        answer = CLIENT.post(path, content=bytes(body), params=query, headers=headers)
    except httpx2.LocalProtocolError:
        return  # not HTTP: the client does not send it
    assert answer.status_code in (200, 400, 422), answer.text
    if answer.status_code != 200:
        assert "\n" not in answer.json()["error"]


@settings(max_examples=100)
@given(st.text() | st.lists(st.floats(), max_size=12).map(lambda n: ",".join(map(str, n))))
def test_landmarks_are_five_points_or_refused(text):
    try:
        points = read_landmarks(text)
    except ConfigError:
        return
    assert np.isfinite(points).all()
    assert np.shape(points) == (5, 2)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["host", "origin", "authorization"]), st.binary(max_size=40)),
    st.none() | st.tuples(st.text(max_size=9), st.integers(0, 65535)),
)
def test_no_header_is_a_crash_or_a_key(headers, client):
    guard = Guard(None, TOKEN, ("cam.lan",), tls=False)
    raw = [(name.encode(), value) for name, value in headers.items()]
    scope = {"type": "http", "path": "/api/cameras", "headers": raw, "client": client}
    status, message, _ = guard._refusal(scope)
    assert status in (401, 403, 421)
    assert message


HOSTILE = {
    "empty lists": b"[" + b"[]," * 2_000_000 + b"1]",
    "objects": b"[" + b"{}," * 2_000_000 + b"1]",
    "numbers": b"[" + b"1," * 3_000_000 + b"1]",
    "parameters": b'[1],"parameters":{"a":[' + b"{}," * 2_000_000 + b"{}]}",
    "shape": b'[1],"shape":[' + b"300," * 1_500_000 + b"300]",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_json_costs_no_more_than_a_few_times_its_bytes(data):
    """6 MB of lists were 300 MB of Python's objects: counted here by Python itself."""
    head = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[50,112,112,3],"data":'
    body = head + data + b"}]}"
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError):
            read_request(body, None)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()


def test_a_whole_request_costs_no_more_either():
    """As many faces as go into 8 MB; the numbers are those of the request."""
    faces = np.random.default_rng(1).integers(0, 256, (50, 112, 112, 3), dtype=np.uint8)
    body = json.dumps(request_for(faces), separators=(",", ":")).encode()
    tracemalloc.start()
    _, read = read_request(body, None)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * len(body)
    assert np.array_equal(read, faces)
