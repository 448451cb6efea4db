"""The gateway at work: four cameras, ten frames a second each; calm, or with everything failing.

    python benchmarks/gateway_cameras.py DATA --seconds 600 [-o RESULT.json]
    python benchmarks/gateway_cameras.py DATA --seconds 1800 --faults [-o RESULT.json]
    python benchmarks/gateway_cameras.py DATA --kind quiet --cameras 16 --seconds 120

Starts `edge-fiqa gateway` as a process of its own on moving scenes of real faces, with a Mosquitto
broker, an event file and a store of best shots. Measures frame-to-event latency, CPU, memory and its
slope, deadline misses; at the end checks that every track with an event has its `end`, in the file
and at the subscriber. --faults: camera 3 comes over RTSP from a server that is killed again and again;
every twentieth frame of camera 2 is damaged; the broker goes down; the disk is slow, then full.

--kind: H.264 substreams of 640x360 as files, with nobody (empty), one person in half a minute (quiet)
or ten (busy); else MJPG of 1280x720 with people in three rows. `gateway_scale.py` has several of them.
"""

import argparse
import atexit
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import gateway_faults as faults
import yaml
from common import add_data, new_result, parser, write_result
from gateway_report import events_report, metrics, resources, watch
from gateway_scene import write_scene
from gateway_servers import Broker, Listener, Process, free_port
from gateway_substreams import SUBSTREAMS, write_substreams

SCENE_S = 120
FAULTS_SCRIPT = Path(faults.__file__)


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--cameras", type=int, default=4)
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--kind", choices=SUBSTREAMS, help="of substreams")
    arguments.add_argument(
        "--before", action="store_true", help="OpenCV's detector on every frame in full"
    )
    arguments.add_argument(
        "--longest-side", type=int, default=480, help="of frames of 1280x720 in the detector"
    )
    arguments.add_argument(
        "--good-interval", type=float, default=0, help="best_shot.good_interval_s (0)"
    )
    arguments.add_argument("--faults", action="store_true", help="needs four cameras")
    arguments.add_argument(
        "--scenes", type=Path, help="of gateway_scene.py; else they are made anew"
    )
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, Path(folder))
    write_result(result, options.output)
    print(json.dumps(result))


def run(options: argparse.Namespace, folder: Path) -> dict:
    """Everything started, watched for `options.seconds`, and stopped; see the docstring above."""
    result, sources = new_result(__doc__), scenes(options, folder)
    flags = folder / "disk"
    flags.mkdir()
    with contextlib.ExitStack() as running:
        rtsp = rtsp_camera(sources, running) if options.faults else None
        broker = Broker(folder / "broker")
        running.callback(broker.stop)
        listener = Listener(broker.port)
        http = free_port()
        config = configuration(options, sources, broker.port, http, folder)
        gateway = start_gateway(config, flags, folder)
        plan = planned_faults(rtsp, broker, flags) if rtsp else []
        samples = watch(gateway, http, options.seconds, plan)
        totals = metrics(http)
        for fault in plan:
            fault.over()
        time.sleep(5 if plan else 1)
        status, stop_s = stop(gateway)
        time.sleep(3)
        listener.close()
    return result | {
        "cameras": options.cameras,
        "frames_per_s": 10,
        "kind": options.kind,
        "before": options.before,
        "good_interval_s": 0 if options.before else options.good_interval,
        "frame": [640, 360] if options.kind else [1280, 720],
        "detector_longest_side": longest_side(options),
        "seconds": options.seconds,
        "faults": {fault.name: fault.times for fault in plan},
        "exit_status": status,
        "stop_s": round(stop_s, 2),
        **resources(samples, options.cameras),
        **events_report(written_events(folder / "events"), listener.events),
        **shares(totals),
        "totals": totals,
        "log": Counter(
            line.split(":")[0] for line in (folder / "log").read_text(encoding="utf-8").splitlines()
        ),
    }


def scenes(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The video file of each camera; with --faults, that of camera 2 damaged."""
    sources = {}
    if options.kind is not None:
        files = write_substreams(options.data, options.scenes or folder, options.kind)
        return {f"camera{n}": str(files[n % len(files)]) for n in range(options.cameras)}
    for camera in range(options.cameras):
        file = folder / f"camera{camera}.avi"
        if options.scenes is None:
            write_scene(options.data, file, SCENE_S, seed=camera)
        else:
            shutil.copy(options.scenes / file.name, file)
        sources[f"camera{camera}"] = str(file)
    if options.faults:
        faults.damage(Path(sources["camera2"]))
    return sources


def rtsp_camera(sources: dict[str, str], running: contextlib.ExitStack) -> Process:
    """Camera 3 comes from a server from now on."""
    port = free_port()
    script = Path(__file__).with_name("gateway_rtsp.py")
    server = Process(["/usr/bin/python3", str(script), str(port), sources["camera3"]])
    running.callback(server.stop)
    sources["camera3"] = f"rtsp://127.0.0.1:{port}/stream"
    return server


def configuration(
    options: argparse.Namespace, sources: dict[str, str], mqtt: int, http: int, folder: Path
) -> Path:
    """The gateway's file."""
    config = {
        "detector": {
            "model": str(options.data / "models/yunet_n_640_640.onnx"),
            "longest_side": longest_side(options),
            "backend": "cv2" if options.before else None,
        },
        "motion": {"gate": not options.before},
        "best_shot": {"good_interval_s": 0 if options.before else options.good_interval},
        "cameras": {
            name: {"source": source, "loop": True, "fps": 10, "stale_s": 3, "timeout_s": 3}
            for name, source in sources.items()
        },
        "mqtt": {"host": "127.0.0.1", "port": mqtt, "spool": str(folder / "spool")},
        "http": {"port": http},
        "file": {"path": str(folder / "events/events.ndjson")},
        "store": {"folder": str(folder / "store"), "retention_days": 1},
    }
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def longest_side(options: argparse.Namespace) -> int:
    return 640 if options.kind else options.longest_side


def shares(totals: dict) -> dict:
    """Of faces that were answered late, and of frames that nobody looked at."""

    def of(name: str) -> float:
        return sum(v for key, v in totals.items() if key.partition("/")[0] == name)

    frames = of("camera_frames_total") - of("camera_dropped_frames_total")
    return {
        "frames_looked_at": frames,
        "late_share": round(of("deadline_misses_total") / max(1.0, of("faces_scored_total")), 5),
        "dropped_frames_share": round(
            of("camera_dropped_frames_total") / max(1.0, of("camera_frames_total")), 5
        ),
    }


def start_gateway(config: Path, flags: Path, folder: Path) -> subprocess.Popen:
    command = [sys.executable, str(FAULTS_SCRIPT), str(flags), "gateway", str(config)]
    with (folder / "log").open("w") as log:
        gateway = subprocess.Popen(command, stderr=log)
    atexit.register(gateway.kill)
    return gateway


def planned_faults(rtsp: Process, broker: Broker, flags: Path) -> list[faults.Fault]:
    slow, full = flags / "slow", flags / "full"
    return [
        faults.Fault("camera down", faults.CAMERA_DOWN, rtsp.stop, rtsp.start),
        faults.Fault("broker down", faults.BROKER_DOWN, broker.stop, broker.start),
        faults.Fault("disk slow", faults.DISK_SLOW, slow.touch, slow.unlink),
        faults.Fault("disk full", faults.DISK_FULL, full.touch, full.unlink),
    ]


def stop(gateway: subprocess.Popen) -> tuple[int, float]:
    """(exit status, seconds until it ended)"""
    start = time.monotonic()
    gateway.terminate()
    return gateway.wait(60), time.monotonic() - start


def written_events(folder: Path) -> list[dict]:
    return [
        json.loads(line)
        for file in sorted(folder.iterdir())
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


if __name__ == "__main__":
    main()
