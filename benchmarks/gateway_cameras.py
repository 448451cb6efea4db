"""The gateway at work: four cameras, ten frames a second each; calm, or with everything failing.

    python benchmarks/gateway_cameras.py DATA --seconds 600 [-o RESULT.json]
    python benchmarks/gateway_cameras.py DATA --seconds 1800 --faults [-o RESULT.json]

Starts `edge-fiqa gateway` as a process of its own on moving scenes of real faces, with a Mosquitto
broker, an event file and a store of best shots. Measures frame-to-event latency, CPU, memory and its
slope, deadline misses; at the end checks that every track that was told of has its `end`, in the file
and at the subscriber. --faults: camera 3 comes over RTSP from a server that is killed again and again;
every twentieth frame of camera 2 is damaged; the broker goes down; the disk is slow, then full.
"""

import argparse
import atexit
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import yaml
from gateway_scene import write_scene
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families

from edge_fiqa.bench.environment import environment

SCENE_S = 120
SAMPLE_S = 5.0
WARM_UP_S = 60.0  # caches, pools and the two thousand faces of the monitors fill up

# Seconds from one fault to the next, and how long each lasts.
CAMERA_DOWN, BROKER_DOWN, DISK_SLOW, DISK_FULL = (240, 30), (300, 60), (360, 60), (420, 20)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        return child(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--longest-side", type=int, default=480, help="of frames in the detector")
    parser.add_argument("--faults", action="store_true")
    parser.add_argument("--scenes", type=Path, help="of gateway_scene.py; else they are made anew")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, Path(folder))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))
    return None


def run(options: argparse.Namespace, folder: Path) -> dict:
    sources = {}
    for camera in range(options.cameras):
        file = folder / f"camera{camera}.avi"
        if options.scenes is None:
            write_scene(options.data, file, SCENE_S, seed=camera)
        else:
            shutil.copy(options.scenes / file.name, file)
        sources[f"camera{camera}"] = str(file)
    rtsp_port = free_port()
    if options.faults:
        damage(Path(sources["camera2"]))
        played, sources["camera3"] = sources["camera3"], f"rtsp://127.0.0.1:{rtsp_port}/stream"
        rtsp = Process(
            [
                "/usr/bin/python3",
                str(Path(__file__).with_name("gateway_rtsp.py")),
                str(rtsp_port),
                played,
            ]
        )
    broker = Broker(folder / "broker")
    listener = Listener(broker.port)
    http = free_port()
    config = {
        "detector": {
            "model": str(options.data / "models/yunet_n_640_640.onnx"),
            "longest_side": options.longest_side,
        },
        "cameras": {
            name: {"source": source, "loop": True, "fps": 10, "stale_s": 3, "timeout_s": 3}
            for name, source in sources.items()
        },
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "spool": str(folder / "spool")},
        "http": {"port": http},
        "file": {"path": str(folder / "events/events.ndjson")},
        "store": {"folder": str(folder / "store"), "retention_days": 1},
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    flag = folder / "disk"
    flag.mkdir()
    log = (folder / "log").open("w")
    gateway = subprocess.Popen(
        [sys.executable, __file__, "--child", str(flag), "gateway", str(folder / "gateway.yaml")],
        stderr=log,
    )
    atexit.register(gateway.kill)
    faults = []
    if options.faults:
        faults = [
            Fault("camera down", CAMERA_DOWN, rtsp.stop, rtsp.start),
            Fault("broker down", BROKER_DOWN, broker.stop, broker.start),
            Fault("disk slow", DISK_SLOW, (flag / "slow").touch, (flag / "slow").unlink),
            Fault("disk full", DISK_FULL, (flag / "full").touch, (flag / "full").unlink),
        ]
    samples = watch(gateway, http, options.seconds, faults)
    totals = metrics(http)
    for fault in faults:
        fault.over()
    time.sleep(5 if faults else 1)
    stopping = time.monotonic()
    gateway.terminate()
    status = gateway.wait(60)
    stop_s = time.monotonic() - stopping
    time.sleep(3)
    listener.close()
    broker.stop()
    if options.faults:
        rtsp.stop()
    written = [
        json.loads(line)
        for file in sorted((folder / "events").iterdir())
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return {
        "what": "edge-fiqa gateway on moving scenes of real faces"
        + ", with faults" * options.faults,
        "environment": environment(),
        "cameras": options.cameras,
        "frames_per_s": 10,
        "frame": [1280, 720],
        "detector_longest_side": options.longest_side,
        "seconds": options.seconds,
        "faults": {fault.name: fault.times for fault in faults},
        "exit_status": status,
        "stop_s": round(stop_s, 2),
        **resources(samples, options.cameras),
        **told(written, listener.events),
        "totals": totals,
        "log": Counter(
            line.split(":")[0] for line in (folder / "log").read_text(encoding="utf-8").splitlines()
        ),
    }


def child(flag: Path, arguments: list[str]) -> None:
    """The command, on a disk that is slow or full while a file in this folder says so."""
    from edge_fiqa.cli import main as command

    fsync, write = os.fsync, os.write

    def slow_fsync(file: int) -> None:
        if (flag / "slow").exists():
            time.sleep(2.0)
        fsync(file)

    def full_write(file: int, data: bytes) -> int:
        if file > 2 and (flag / "full").exists():
            raise OSError(28, "No space left on device")
        return write(file, data)

    os.fsync, os.write = slow_fsync, full_write
    sys.exit(command(arguments))


class Fault:
    """Something that goes wrong every so often, for a while."""

    def __init__(self, name, when, begin, end) -> None:
        self.name, (self.every_s, self.lasts_s) = name, when
        self.begin, self.end, self.times = begin, end, 0
        self.down_until: float | None = None
        self.next = self.every_s / 2

    def look(self, now: float) -> None:
        if self.down_until is None and now >= self.next:
            self.begin()
            self.times += 1
            self.down_until, self.next = now + self.lasts_s, self.next + self.every_s
        elif self.down_until is not None and now >= self.down_until:
            self.over()

    def over(self) -> None:
        if self.down_until is not None:
            self.down_until = None
            self.end()


def watch(gateway: subprocess.Popen, http: int, seconds: float, faults: list[Fault]) -> list[dict]:
    process, samples = psutil.Process(gateway.pid), []
    while True:  # until it listens
        try:
            metrics(http)
            break
        except OSError:
            assert gateway.poll() is None, "the gateway did not start"
            time.sleep(0.2)
    start = time.monotonic()
    while (now := time.monotonic() - start) < seconds and gateway.poll() is None:
        for fault in faults:
            fault.look(now)
        cpu = process.cpu_times()
        samples.append(
            {
                "at": now,
                "cpu_s": cpu.user + cpu.system,
                "rss": process.memory_info().rss,
                "threads": process.num_threads(),
                "files": process.num_fds(),
                "load": os.getloadavg()[0],
            }
        )
        time.sleep(SAMPLE_S if not faults else 1.0)
    return samples


def resources(samples: list[dict], cameras: int) -> dict:
    steady = [s for s in samples if s["at"] >= min(WARM_UP_S, samples[-1]["at"] / 4)]
    span = steady[-1]["at"] - steady[0]["at"]
    cores = (steady[-1]["cpu_s"] - steady[0]["cpu_s"]) / span
    at = np.array([s["at"] for s in steady]) / 3600
    rss = np.array([s["rss"] for s in steady]) / 1e6
    half = len(rss) // 2
    return {
        "cpu_cores": round(cores, 3),
        "cpu_cores_per_camera": round(cores / cameras, 3),
        "rss_mb": {
            "first": round(rss[0], 1),
            "last": round(rss[-1], 1),
            "most": round(rss.max(), 1),
        },
        "rss_mb_per_hour": round(float(np.polyfit(at, rss, 1)[0]), 1),
        "rss_mb_per_hour_second_half": round(float(np.polyfit(at[half:], rss[half:], 1)[0]), 1),
        "threads": [min(s["threads"] for s in steady), max(s["threads"] for s in steady)],
        "files": [min(s["files"] for s in steady), max(s["files"] for s in steady)],
        "machine_load": round(float(np.mean([s["load"] for s in steady])), 2),
    }


def told(written: list[dict], heard: list[dict]) -> dict:
    """Latencies, and whether every track has its story whole, in the file and at the subscriber."""
    latency = np.array([e["latency_s"] for e in written if e["latency_s"] is not None])
    first = np.array([e["latency_s"] for e in written if e["type"] == "new"])
    qualities = [
        e["record"]["quality"]["scalar"] for e in written if e["type"] == "end" and e["record"]
    ]
    return {
        "events": Counter(e["type"] for e in written),
        "latency_s": {
            "p50": round(float(np.quantile(latency, 0.5)), 4),
            "p99": round(float(np.quantile(latency, 0.99)), 4),
            "most": round(float(latency.max()), 4),
            "new_p50": round(float(np.quantile(first, 0.5)), 4),
            "new_p99": round(float(np.quantile(first, 0.99)), 4),
        },
        "ends": Counter(e["reason"] for e in written if e["type"] == "end"),
        "best_quality_median": float(np.median(qualities)),
        "file": stories(written),
        "mqtt": stories(heard)
        | {
            "twice": len(heard) - len({e["id"] for e in heard}),
            "lost": len({e["id"] for e in written} - {e["id"] for e in heard}),
        },
    }


def stories(events: list[dict]) -> dict:
    tracks: dict[str, set[int]] = {}
    ended = set()
    for event in events:
        tracks.setdefault(event["track"], set()).add(event["sequence"])
        if event["type"] == "end":
            ended.add(event["track"])
    gaps = sum(sequence != set(range(len(sequence))) for sequence in tracks.values())
    return {"tracks": len(tracks), "without_end": len(set(tracks) - ended), "with_gaps": gaps}


def metrics(port: int) -> dict:
    """The gateway's own counters, from /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_created", "_sum")):
                continue
            if "latency" in sample.name or "quality" in sample.name:
                continue
            labels = "/".join(v for k, v in sample.labels.items() if k not in ("model", "backend"))
            name = sample.name.removeprefix("edge_fiqa_") + (f"/{labels}" if labels else "")
            found[name] = sample.value
    return found


def damage(file: Path, share: float = 0.05) -> None:
    """Overwrite the middle of every twentieth JPEG of a MJPG video."""
    data, at, rng = bytearray(file.read_bytes()), 0, random.Random(0)
    while (at := data.find(b"\xff\xd8\xff", at + 1)) != -1:
        if rng.random() < share:
            end = data.find(b"\xff\xd9", at)
            for place in range(at + (end - at) // 3, at + 2 * (end - at) // 3):
                data[place] = rng.randrange(256)
    file.write_bytes(data)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Process:
    """A server that prints `ready`, and can be killed and started again."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Broker:
    """Mosquitto that keeps sessions on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port, self.config = free_port(), folder / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
            "max_queued_messages 0\n" + ("user root\n" if os.geteuid() == 0 else "")
        )
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["mosquitto", "-c", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.process.kill)
        time.sleep(1)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Listener:
    """Subscribes to events, and comes back when the broker does."""

    def __init__(self, port: int) -> None:
        self.events: list[dict] = []
        ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self.client.on_connect = lambda client, *_: client.subscribe("edge-fiqa/events", qos=1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda *a: self.events.append(json.loads(a[2].payload))
        self.client.reconnect_delay_set(1, 2)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


if __name__ == "__main__":
    main()
