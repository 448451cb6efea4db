"""Pushes at a fixed rate to a gateway of its own: what is answered, and what it costs the gateway.

    python benchmarks/gateway_flood.py --rate 500 --seconds 300

Clients keep their connections. A push is a JPEG crop of 112x112 pixels. The gateway runs as a command,
with limits that let the flood through to the queue. Load at the side is asked for with /healthz.
"""

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from common import new_result, parser, write_result
from PIL import Image

from edge_fiqa.measurement.all_exits import synthetic_faces

CLIENTS = 24


def main():
    options = parser(__doc__)
    options.add_argument("--rate", type=float, default=500, help="pushes a second")
    options.add_argument("--seconds", type=float, default=30)
    options = options.parse_args()
    result = new_result("a flood of pushes: what is answered, and what it costs the gateway")
    with tempfile.TemporaryDirectory() as folder:
        gateway, port = start(Path(folder))
        try:
            result |= flood(gateway.pid, port, options.rate, options.seconds)
        finally:
            began = time.monotonic()
            gateway.send_signal(signal.SIGTERM)
            status = gateway.wait(60)
        result |= {"stopped_with": status, "stopped_in_s": round(time.monotonic() - began, 2)}
        log = (Path(folder) / "log").read_text(encoding="utf-8")
        result["errors_in_log"] = log.count("ERROR") + log.count("Traceback")
    print(json.dumps(result, indent=1))
    write_result(result, options.output)


def start(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "gateway.yaml"
    config.write_text(f"http: {{port: {port}, pushes_per_s: 100000}}\n", encoding="utf-8")
    command = [sys.executable, "-m", "edge_fiqa", "gateway", str(config)]
    log = (folder / "log").open("w")
    gateway = subprocess.Popen(command, stderr=log)
    while (
        request(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "GET", "/readyz") != 200
    ):
        time.sleep(0.2)
    return gateway, port


def request(connection, method, path, body=None):
    """The status; 0 where there is no answer."""
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
    return answer.status


def flood(pid, port, rate, seconds):
    crop, stream = Image.fromarray(synthetic_faces(1)[0]), io.BytesIO()
    crop.save(stream, "JPEG")
    body, until = stream.getvalue(), time.monotonic() + seconds
    answers, delays, health = Counter(), [], []
    memory = [resident_mb(pid)]

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        next_at = time.monotonic() + number / rate
        while (now := time.monotonic()) < until:
            if now < next_at:
                time.sleep(next_at - now)
            next_at = max(next_at + CLIENTS / rate, time.monotonic() - 0.1)
            began = time.monotonic()
            status = request(connection, "POST", "/api/faces", body)
            answers[status] += 1
            if status == 200:
                delays.append(time.monotonic() - began)

    def watch():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while time.monotonic() < until:
            began = time.monotonic()
            assert request(connection, "GET", "/healthz") == 200
            health.append(time.monotonic() - began)
            memory.append(resident_mb(pid))
            time.sleep(0.5)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "asked_per_s": rate,
        "seconds": seconds,
        "sent_per_s": round(answers.total() / seconds, 1),
        "answers": {str(status): count for status, count in sorted(answers.items())},
        "scored_p50_p99_ms": percentiles(delays),
        "health_p50_p99_ms": percentiles(health),
        "memory_first_most_last_mb": [memory[0], max(memory), memory[-1]],
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def percentiles(seconds):
    return [round(1000 * x, 1) for x in np.quantile(seconds, (0.5, 0.99))] if seconds else None


def resident_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) // 1000 for line in status.splitlines() if "VmRSS" in line)


if __name__ == "__main__":
    main()
