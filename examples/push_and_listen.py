"""Push faces to a gateway, and receive its events: beside a running `edge-fiqa gateway`

    python examples/push_and_listen.py http://127.0.0.1:8080 127.0.0.1 3 FACE.png ...

A pushed picture is answered at once, over HTTP, with a record for each face in it. Events tell of
people before the cameras, over MQTT; this prints the next 3. A gateway with a token reads it from the
header `Authorization: Bearer ...`.
"""

import json
import queue
import sys
import urllib.request
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion


def push(gateway: str, path: str) -> list[dict]:
    """Records of the faces in one picture: an aligned crop, or any picture if there is a detector."""
    address = f"{gateway}/api/faces?deadline_ms=10000"  # a 503 says that it cannot be kept
    request = urllib.request.Request(address, Path(path).read_bytes())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def events(broker: str, topic: str = "edge-fiqa/events"):
    """Yields events as they come. QoS 1: each at least once, in order; `id` tells a second copy."""
    waiting: queue.Queue[dict] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
    client.on_message = lambda client, _, message: waiting.put(json.loads(message.payload))
    host, _, port = broker.partition(":")
    client.connect(host, int(port or 1883))
    client.loop_start()
    while True:
        yield waiting.get()


def main(gateway: str, broker: str, wanted: int, paths: list[str]) -> None:
    for path in paths:
        for record in push(gateway, path):
            print("pushed", record["quality"]["scalar"], path, flush=True)
    for _, event in zip(range(wanted), events(broker), strict=False):
        quality = event["record"]["quality"]["scalar"]
        print("event", event["type"], event["camera"], event["track"], quality, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
