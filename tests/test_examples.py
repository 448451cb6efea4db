"""What the examples print is what the library says; each runs as its own process, as users run it."""

import ast
import http.server
import importlib.util
import json
import os
import runpy
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import matplotlib
import msgspec
import numpy as np
import pytest

import edge_fiqa
from edge_fiqa import Fixed, Scorer
from edge_fiqa.cli.demo import portrait
from edge_fiqa.cli.effects import defocus
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.gateway.outputs.broker import Broker, Listener
from tests.needs import missing
from tests.ports import port_to_keep
from tests.waiting import is_ready, until

PHOTO = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
FOLDER = Path(__file__).parents[1] / "examples"


def test_a_pool_scores_every_face_in_order(tmp_path, monkeypatch, capsys):
    faces = [defocus(portrait(), strength) for strength in (0.0, 0.4, 0.8)]
    paths = [str(tmp_path / f"{n}.png") for n in range(3)]
    for path, face in zip(paths, faces, strict=True):
        cv2.imwrite(path, face[..., ::-1])
    monkeypatch.setattr(sys, "argv", ["pool.py", *paths, str(tmp_path / "none.png")])
    runpy.run_path(str(FOLDER / "pool.py"), run_name="__main__")
    with Scorer.open(threads=1) as scorer:
        expected = [
            f"{scorer.score_face(f).quality.scalar} ok {p}"
            for f, p in zip(faces, paths, strict=True)
        ]
    assert capsys.readouterr().out.splitlines() == [
        *expected,
        f"None unreadable {tmp_path / 'none.png'}",
    ]


@pytest.fixture
def start():
    """Start a program; all are ended after the test."""
    running = []

    def begin(*command):
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def crops(tmp_path):
    """The portrait, sharp and out of focus, as files of 112x112."""
    paths = [tmp_path / f"{strength}.png" for strength in (0.0, 0.4, 0.8)]
    for path, strength in zip(paths, (0.0, 0.4, 0.8), strict=True):
        cv2.imwrite(str(path), defocus(portrait(), strength)[..., ::-1])
    return paths


def qualities(paths, threads=1):
    """threads: as the example has them, since the form of the model depends on them."""
    with Scorer.open(threads=threads) as scorer:
        return [record.quality.scalar for record in scorer.score(map(str, paths))]


@pytest.mark.parametrize("example", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_examples_use_public_names_alone(example):
    for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge_fiqa"):
            assert node.module == "edge_fiqa"
            assert {name.name for name in node.names} <= set(edge_fiqa.__all__)
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("edge_fiqa.") for name in node.names)


def test_ten_lines_score_a_folder(start, crops, tmp_path):
    photograph = tmp_path / "visitor.jpg"
    photograph.write_bytes(PHOTO.read_bytes())
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    printed, _ = start(FOLDER / "folder.py", tmp_path).communicate(timeout=400)
    *of_crops, of_photograph = printed.splitlines()
    expected = zip(qualities(crops, threads=None), crops, strict=True)
    assert of_crops == [f"{quality} ok {path.name}" for quality, path in expected]
    quality, code, name = of_photograph.split()
    assert (code, name) == ("ok", "visitor.jpg")
    assert int(quality) > 60
    lines = (FOLDER / "folder.py").read_text(encoding="utf-8").splitlines()
    code_lines = [
        line for line in lines if line and not line.startswith(('"', "#", "import", "from"))
    ]
    assert len(code_lines) <= 10


def test_an_own_policy_stops_good_faces_and_computes_the_others(start, crops):
    printed, _ = start(FOLDER / "own_policy.py", *crops).communicate(timeout=400)
    rows = [line.split() for line in printed.splitlines()]
    with Scorer.open() as scorer:
        first = [scorer.score_face(path, Fixed(1)).quality.scalar for path in crops]
        full = qualities(crops, threads=None)
    assert first[0] >= 60 > max(full[1:])
    assert rows[0] == [str(first[0]), "1", "good_enough", str(crops[0])]
    assert [row[:3] for row in rows[1:]] == [[str(quality), "6", "full"] for quality in full[1:]]


def test_a_checkpoint_becomes_a_bundle_that_scores(checkpoint, tmp_path):
    faces = tmp_path / "faces"
    faces.mkdir()
    for number, face in enumerate(synthetic_faces(120, seed=3)):
        cv2.imwrite(str(faces / f"{number:03}.png"), face[..., ::-1])
    command = tmp_path / "edge-fiqa"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_fiqa "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    target = tmp_path / "mine"
    subprocess.run(
        ["bash", FOLDER / "own_model.sh", checkpoint, faces, target],
        check=True, env=environment, capture_output=True, timeout=400,
    )  # fmt: skip
    records = [json.loads(line) for line in Path(f"{target}.ndjson").read_text().splitlines()]
    assert len(records) == 120
    with Scorer.open(target, threads=1) as scorer:
        scored = scorer.score(str(path) for path in sorted(faces.iterdir()))
    expected = np.array([r.quality.scalar for r in scored])
    written = np.array([r["quality"]["scalar"] for r in records])
    assert abs(written - expected).max() <= 1  # in batches of eight, a quality may round otherwise
    assert len({r["quality"]["scalar"] for r in records}) > 10


def write_film(path):
    """A face that crosses the picture in 15 s."""
    portrait_of_photo = cv2.resize(cv2.imread(str(PHOTO)), (256, 300))
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 360))
    for number in range(150):
        frame = np.full((360, 640, 3), 128, np.uint8)
        frame[30:330, 2 * number : 2 * number + 256] = portrait_of_photo
        video.write(frame)
    video.release()


def test_faces_are_pushed_and_events_received(start, crops, broker, tmp_path):
    port = free_port()
    write_film(tmp_path / "door.avi")
    (tmp_path / "gateway.yaml").write_text(
        f"cameras: {{door: {{source: {tmp_path}/door.avi, loop: true}}}}\nhttp: {{port: {port}}}\n"
        f"mqtt: {{host: 127.0.0.1, port: {broker.port}, spool: {tmp_path}/spool}}\n",
        encoding="utf-8",
    )
    start("-m", "edge_fiqa", "gateway", tmp_path / "gateway.yaml")
    until(lambda: is_ready(f"http://127.0.0.1:{port}/readyz"), 240)
    arguments = (f"http://127.0.0.1:{port}", f"127.0.0.1:{broker.port}", 2, *crops)
    printed, _ = start(FOLDER / "push_and_listen.py", *arguments).communicate(timeout=400)
    rows = [line.split() for line in printed.splitlines()]
    assert len(rows) == 5, printed
    assert [(word, path) for word, _, path in rows[:3]] == [("pushed", str(p)) for p in crops]
    sharp, soft, softest = (int(quality) for _, quality, _ in rows[:3])
    assert sharp > 60 > soft > softest  # at a busy gateway's depth
    for word, kind, camera, _, quality in rows[3:]:
        assert (word, camera) == ("event", "door")
        assert kind in ("new", "update", "end")
        assert 0 <= int(quality) <= 100


def free_port():
    return port_to_keep()


def test_a_service_with_fastapi_answers_several_at_once(start, crops):
    port = free_port()
    server = start("-m", "uvicorn", "--app-dir", FOLDER, "server:app", "--port", port)
    address = f"http://127.0.0.1:{port}/quality"
    for line in server.stdout:
        if "running on" in line:
            break

    def post(data):
        with urllib.request.urlopen(urllib.request.Request(address, data), timeout=60) as answer:
            return json.load(answer)

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(post, [path.read_bytes() for path in crops * 3]))
    assert [answer[0]["quality"]["scalar"] for answer in answers] == qualities(crops) * 3
    assert post(b"no picture")[0]["quality"]["code"] == "unreadable"
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(bytes(20_000_001))
    assert refused.value.code == 413
    refused.value.close()


def test_nvidias_client_reaches_a_gateway(start, crops, tmp_path):
    if importlib.util.find_spec("tritonclient") is None:
        missing("tritonclient is not installed; pip install 'tritonclient[http]'")
    port = free_port()
    (tmp_path / "gateway.yaml").write_text(f"http: {{port: {port}}}\n", encoding="utf-8")
    start("-m", "edge_fiqa", "gateway", tmp_path / "gateway.yaml")
    until(lambda: is_ready(f"http://127.0.0.1:{port}/readyz"), 120)
    client = start(FOLDER / "triton_client.py", f"127.0.0.1:{port}", *crops)
    printed, _ = client.communicate(timeout=120)
    expected = zip(qualities(crops), crops, strict=True)
    assert printed.splitlines() == [f"{quality} ok {path}" for quality, path in expected]


class FakeFrigate(http.server.BaseHTTPRequestHandler):
    """GET /api/events/ID/snapshot.jpg and POST /api/events/ID/description, as in its documentation."""

    snapshots = {}
    descriptions = {}

    def do_GET(self):
        picture = self.snapshots.get(self.path)
        self.send_response(404 if picture is None else 200)
        self.end_headers()
        self.wfile.write(picture or b"")

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.descriptions[self.path] = json.loads(self.rfile.read(length))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"success": true}')

    def log_message(self, *_):
        pass


@pytest.fixture
def frigate():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeFrigate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


def frigate_event(event, kind="end", label="person"):
    """As in https://docs.frigate.video/integrations/mqtt/#frigateevents, without what is not read."""
    after = {
        "id": event,
        "camera": "front_door",
        "frame_time": 1607123962.082975,
        "label": label,
        "sub_label": None,
        "top_score": 0.958984375,
        "false_positive": False,
        "end_time": 1607123970.0 if kind == "end" else None,
        "has_snapshot": True,
    }
    return json.dumps({"type": kind, "before": after, "after": after})


def test_frigate_and_home_assistant_hear_of_the_best_face(start, crops, frigate, broker):
    good, poor, gone = "1607123955.475377-mxklsc", "1607123956.1-abcdef", "1607123957.2-ghijkl"
    for event, picture in ((good, PHOTO), (poor, crops[2])):
        FakeFrigate.snapshots[f"/api/events/{event}/snapshot.jpg"] = picture.read_bytes()
    listener = Listener(broker, "edge_fiqa/#")
    broker_address = f"127.0.0.1:{broker.port}"
    flags = ("--frigate", frigate, "--broker", broker_address, "--gate", "40", "--describe")
    example = start(FOLDER / "frigate.py", *flags)
    assert example.stdout.readline() == "ready\n"
    for message in (
        frigate_event(good, "update"),  # has not ended
        frigate_event(good, label="car"),
        "no JSON",
        *(frigate_event(event) for event in (good, poor, gone)),
    ):
        listener.client.publish("frigate/events", message, qos=1)
    until(lambda: len(listener.messages) >= 3, 120)
    answers = {
        json.loads(message.payload)["event"]: (message.topic, json.loads(message.payload))
        for message in listener.messages
    }
    listener.close()
    assert len(listener.messages) == 3
    assert {topic for topic, _ in answers.values()} == {"edge_fiqa/frigate/front_door"}
    verdicts = {event: answer["reason"] for event, (_, answer) in answers.items()}
    assert verdicts == {good: "accepted", poor: "below_gate", gone: "no_snapshot"}
    assert answers[good][1]["quality"] > 60
    assert answers[poor][1]["quality"] == qualities([crops[2]])[0]
    until(lambda: f"/api/events/{good}/description" in FakeFrigate.descriptions, 60)
    check_automation(*answers[good], wanted=True)
    check_automation(*answers[poor], wanted=False)


def check_automation(topic, answer, wanted):
    """Home Assistant's templates are Jinja's, over `trigger`."""
    jinja2 = pytest.importorskip("jinja2")
    automation = msgspec.yaml.decode((FOLDER / "home_assistant.yaml").read_bytes())
    (trigger,), (condition,) = automation["triggers"], automation["conditions"]
    assert trigger == {"trigger": "mqtt", "topic": topic}
    values = {"trigger": {"payload_json": answer}}
    rendered = jinja2.Template(condition["value_template"]).render(values)
    assert rendered == str(wanted)
    data = automation["actions"][0]["data"]
    message = jinja2.Template(data["message"]).render(values)
    assert message == f"A face of quality {answer['quality']}"
    image = jinja2.Template(data["data"]["image"]).render(values)
    assert image == f"/api/frigate/notifications/{answer['event']}/snapshot.jpg"
