"""One view from the first moment: it says what is built, and then shows the gateway that runs."""

import cv2
import msgspec
import pytest
from starlette.testclient import TestClient

from edge_fiqa import Scorer
from edge_fiqa.engines.build_progress import BuildProgress
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.gateway.service.app import Gateway
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.service.live_view import LiveView
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.causes import limits_of
from tests.gateway.people import LONG, Script, configured, open_script, picture
from tests.waiting import until

PLAN = BuildProgress(number=2, count=9, segment="body-01-03", batch=4, share=0.25)


@pytest.fixture
def view():
    return LiveView("tiny", "ov", BuildWatch(lambda event: None))


@pytest.fixture
def client(view):
    return TestClient(make_app(view, HttpConfig(), [], None), base_url="http://127.0.0.1")


def test_a_gateway_that_is_starting_says_what_is_built(view, client):
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"ready": False, "why_not": "the gateway is starting"}
    view.building(PLAN)
    asked = client.get("/readyz")
    assert (asked.status_code, asked.json()["why_not"]) == (503, view.building.now)
    assert "body-01-03" in view.building.now
    face = cv2.imencode(".png", synthetic_faces(1)[0])[1].tobytes()
    refused = client.post("/api/faces", content=face)
    assert (refused.status_code, refused.json()["error"]) == (503, view.building.now)
    assert 'model="tiny"' in client.get("/metrics").text
    assert client.get("/v2/models/tiny/ready").json()["ready"] is False


def test_a_gateway_that_is_starting_shows_nothing_and_counts_nothing(client):
    assert client.get("/api/cameras").json() == []
    assert client.get("/api/tracks").json() == []
    assert client.get("/api/cameras/door/frame").status_code == 404
    assert client.get("/api/tracks/door/1/1/snapshot").status_code == 404
    totals = client.get("/api/status").json()["totals"]
    assert (totals["faces_found"], totals["skipped"], totals["depths"]) == (0, {}, [])
    assert totals["latency_s"] is None


def test_the_same_view_shows_the_gateway_once_it_runs(view, client, bundle):
    scorer = Scorer.open(bundle, backend="ov", threads=1)
    scripts = {"door": Script([[picture(100)] * LONG])}
    gateway = Gateway(
        configured("door"), [], [scorer], open_script(scripts), lambda config: None, view
    )
    assert client.get("/readyz").json()["why_not"] == "the gateway is starting"
    before = client.get("/api/status").json()["totals"]["started"]
    gateway.start()
    try:
        assert gateway.view is view
        assert client.get("/readyz").status_code == 200
        until(lambda: client.get("/api/cameras").json()[0]["state"] == "live")
        face = cv2.imencode(".png", synthetic_faces(1)[0])[1].tobytes()
        (record,) = client.post("/api/faces?deadline_ms=9000", content=face).json()
        assert record["exit"]["depth"] == 4
        totals = client.get("/api/status").json()["totals"]
        assert (totals["started"], len(totals["depths"])) == (before, 4)
    finally:
        gateway.stop()
    assert client.get("/readyz").json()["why_not"] == "the gateway is stopping"


def test_the_causes_that_the_model_reads_are_known_once_it_runs(view, bundle, cause_bundle):
    scorer = Scorer.open(cause_bundle, backend="ov", threads=1, calibration=bundle.calibration)
    scripts = {"door": Script([[picture(100)] * LONG])}
    exits, manifest = scorer.calibration.exits, cause_bundle.manifest
    names = manifest.causes
    limits = limits_of(names, exits, ((0.0,) * 3,) * len(exits), manifest.cause_heads)
    scorer.use(msgspec.structs.replace(scorer.calibration, causes=limits))
    gateway = Gateway(
        configured("door"), [], [scorer], open_script(scripts), lambda config: None, view
    )
    assert view.causes == ()
    gateway.start()
    try:
        assert view.causes == names
    finally:
        gateway.stop()
