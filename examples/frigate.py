"""How good are the faces of Frigate's events? Beside a running Frigate:

    python examples/frigate.py --frigate http://127.0.0.1:5000 --broker 127.0.0.1 --gate 40

When an event of a person ends, its snapshot is fetched, its faces are scored, and the best face is
published as JSON on `edge_fiqa/frigate/CAMERA`: event, camera, quality, accepted, and the reason why
there is no quality. `--describe` also writes it into the event's description, where Frigate shows it.
No picture is kept. In Frigate, set `snapshots: {enabled: true, bounding_box: false}`: a drawn box may
cross a face.
"""

import argparse
import http.client
import json
import re
import tempfile
import urllib.request
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from edge_fiqa import FaceReader, Scorer, find_detector

EVENTS = "frigate/events"
PLAIN_NAME = re.compile(r"[\w.-]+")
"""Of cameras and events: they become part of an address and of a topic."""
SECONDS = 10


class FrigateFaces:
    def __init__(self, options: argparse.Namespace) -> None:
        self.frigate, self.topic, self.describe = options.frigate, options.topic, options.describe
        detector = find_detector()
        self.reader = FaceReader(detector.path if detector else None, crops_pass=True)
        self.scorer = Scorer.open(gate=options.gate)
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe(EVENTS, qos=1)
        self.client.on_subscribe = lambda *_: print("ready", flush=True)
        self.client.on_message = self._on_message
        host, _, port = options.broker.partition(":")
        self.client.connect(host, int(port or 1883))

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        event = ended_person(message.payload)
        if event is None:
            return
        answer = {"event": event["id"], "camera": event["camera"], **self._judged(event["id"])}
        client.publish(f"{self.topic}/{event['camera']}", json.dumps(answer), qos=1)
        if self.describe and answer["quality"] is not None:
            text = f"Best face: quality {answer['quality']} of 100"
            self._request(f"/api/events/{event['id']}/description", {"description": text})

    def _judged(self, event: str) -> dict[str, Any]:
        """The best face of an event's snapshot."""
        picture = self._request(f"/api/events/{event}/snapshot.jpg")
        if picture is None:
            return {"quality": None, "accepted": False, "reason": "no_snapshot"}
        with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
            file.write(picture)
            file.flush()
            records = self.scorer.score(self.reader.faces_of(file.name))
        best = max(records, key=lambda record: record.quality.scalar or -1)
        accepted = bool(best.decision.accepted)
        verdict = "accepted" if accepted else "below_gate"
        return {
            "quality": best.quality.scalar,
            "accepted": accepted,
            "reason": verdict if best.quality.code == "ok" else best.quality.code,
        }

    def _request(self, path: str, body: dict[str, str] | None = None) -> bytes | None:
        """GET, or POST with a body. None where Frigate does not answer with success."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.frigate + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return bytes(answer.read())
        except (OSError, http.client.HTTPException) as exc:
            print(f"{path}: {exc}", flush=True)
            return None


def ended_person(payload: bytes) -> dict[str, Any] | None:
    """The event of a message that says that a person left, else None."""
    try:
        message = json.loads(payload)
        event: dict[str, Any] = message["after"]
        names = str(event["id"]), str(event["camera"])
        person = message["type"] == "end" and event["label"] in ("person", "face")
    except (ValueError, KeyError, TypeError):
        return None
    plain = all(PLAIN_NAME.fullmatch(name) for name in names)
    return event if person and plain else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frigate", default="http://127.0.0.1:5000", metavar="URL")
    parser.add_argument("--broker", default="127.0.0.1", metavar="HOST[:PORT]")
    parser.add_argument("--topic", default="edge_fiqa/frigate")
    parser.add_argument("--gate", type=int, default=40, metavar="Q")
    parser.add_argument("--describe", action="store_true")
    FrigateFaces(parser.parse_args()).client.loop_forever()


if __name__ == "__main__":
    main()
