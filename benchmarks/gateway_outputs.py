"""The gateway's way out: what a spooled event costs, and how an outage of the broker ends.

    python benchmarks/gateway_outputs.py [-o benchmarks/results/NAME.json]

Needs mosquitto. Events are real-sized (about 1 kB). In each of nine rounds the SQLite spool is timed
beside a plain file with the same promise (one append, one fsync), for batches of 1 and 64 events.
Then a broker is killed while events keep coming, started again, and every event is looked for.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_fiqa.bench.environment import environment
from edge_fiqa.gateway.events import event_to_json
from edge_fiqa.gateway.outputs.config import MqttConfig
from edge_fiqa.gateway.outputs.mqtt import MqttSink
from edge_fiqa.gateway.outputs.spool import Spool
from tests.gateway.fake_view import event

ROUNDS, APPENDS, EVENTS = 9, 50, 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as place:  # not /tmp, which may be memory
        found = {
            "environment": environment(),
            "event_bytes": len(event_to_json(event())),
            "append": appends(Path(place)),
            "outage": outage(Path(place)),
        }
    print(json.dumps(found, indent=1))
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def appends(place: Path) -> list[dict]:
    payload = event_to_json(event())
    rows = []
    for batch in (1, 64):
        times = {"sqlite": [], "file": []}
        for number in range(ROUNDS):
            spool = Spool(place / f"s{batch}-{number}", 10**9)
            times["sqlite"].append(timed(lambda: spool.append([payload] * batch)))  # noqa: B023
            spool.close()
            with (place / f"f{batch}-{number}").open("ab", buffering=0) as file:

                def write() -> None:
                    file.write((payload + b"\n") * batch)  # noqa: B023
                    os.fsync(file.fileno())

                times["file"].append(timed(write))
        ratios = [s / f for s, f in zip(times["sqlite"], times["file"], strict=True)]
        rows.append(
            {
                "batch": batch,
                **{f"{name}_ms": statistics.median(ms) for name, ms in times.items()},
                "ratio": statistics.median(ratios),
                "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
            }
        )
    return rows


def timed(work) -> float:
    """Median ms of one append."""
    found = []
    for _ in range(APPENDS):
        start = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found)


def outage(place: Path) -> dict:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = place / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        f"persistence_location {place.absolute()}/\nmax_queued_messages 0\n"
        + ("user root\n" if os.geteuid() == 0 else "")
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"

    def start() -> subprocess.Popen:
        return subprocess.Popen([program, "-c", config], stderr=subprocess.DEVNULL)

    broker = start()
    time.sleep(0.5)
    heard: list[int] = []
    listener = Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
    listener.on_connect = lambda client, *_: client.subscribe("edge-fiqa/events", qos=1)
    listener.on_message = lambda client, data, message: heard.append(
        json.loads(message.payload)["sequence"]
    )
    listener.reconnect_delay_set(1, 1)
    listener.connect("127.0.0.1", port)
    listener.loop_start()
    sink = MqttSink(MqttConfig(host="127.0.0.1", port=port, spool=place / "spool"))
    for number in range(EVENTS):
        sink.publish(event(number), None)
        if number == EVENTS // 5:
            broker.terminate()  # keeps the listener's session; the gateway is not asked
            broker.wait()
        time.sleep(0.0005)
    while sink.spool.count < EVENTS - sink.delivered:
        time.sleep(0.01)
    waiting = sink.spool.count
    broker, began = start(), time.perf_counter()
    while sink.waiting:
        time.sleep(0.01)
    drained_s = time.perf_counter() - began
    deadline = time.monotonic() + 10
    while len(set(heard)) < EVENTS and time.monotonic() < deadline:
        time.sleep(0.05)
    sink.close(5)
    listener.disconnect()
    listener.loop_stop()
    broker.terminate()
    broker.wait()
    first = list(dict.fromkeys(heard))
    return {
        "events": EVENTS,
        "waited_on_disk": waiting,
        "reconnect_and_drain_s": drained_s,
        "lost": EVENTS - len(first),
        "in_order": first == sorted(first),
        "twice": len(heard) - len(first),
    }


if __name__ == "__main__":
    main()
