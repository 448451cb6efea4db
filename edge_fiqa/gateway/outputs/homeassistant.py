"""Home Assistant's MQTT discovery: messages that make every camera appear by itself.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from edge_fiqa import __version__
from edge_fiqa.gateway.outputs.names import safe_name
from edge_fiqa.reasons.causes import CAUSES

INSTRUCTIONS = sorted({cause.instruction for cause in CAUSES.values() if cause.instruction})


def device_id(prefix: str, camera: str) -> str:
    """Of a camera of a gateway: two never have the same.

    The first `_` ends the prefix. A prefix that holds one, or a slash, gets a hash in its place.
    """
    if "_" in prefix or "/" in prefix:
        digest = hashlib.sha256(prefix.encode()).hexdigest()[:8]
        prefix = f"{prefix.replace('_', '-').replace('/', '-')}-{digest}"
    return f"{prefix}_{safe_name(camera)}"


NO_INSTRUCTION = "none"
"""State of the sensor where there is nothing to say. `None` would be unknown to Home Assistant."""


def discovery(
    root: str, prefix: str, camera: str, *, snapshots: bool, instructions: bool = False
) -> Mapping[str, Any]:
    """Topic -> configuration of the entities of one camera: a device of Home Assistant's.

    root: Home Assistant's discovery topic; prefix: the gateway's own.
    instructions: whether the model reads causes of low quality, for which there are instructions.
    What a camera shows is available while the gateway and the camera are; whether the camera is
    connected, while the gateway is.
    """
    device, topic = device_id(prefix, camera), f"{prefix}/{safe_name(camera)}"
    gateway, connected = {"topic": f"{prefix}/available"}, f"{topic}/available"
    state = f"{topic}/state"

    def entity(kind: str, object_id: str, **more: object) -> tuple[str, Mapping[str, Any]]:
        return f"{root}/{kind}/{device}/{object_id}/config", {
            "unique_id": f"{device}_{object_id}",
            "availability": [gateway, {"topic": connected}],
            "availability_mode": "all",
            "device": {
                "identifiers": [device],
                "name": camera,
                "manufacturer": "edge_fiqa",
                "model": "camera of a gateway",
                "sw_version": __version__,
            },
            "origin": {"name": "edge_fiqa", "sw_version": __version__},
            **more,
        }

    entities = [
        entity(
            "sensor",
            "quality",
            name="Face quality",
            icon="mdi:face-recognition",
            state_class="measurement",
            state_topic=state,
            value_template="{{ value_json.quality }}",
        ),
        entity(
            "binary_sensor",
            "person",
            name="Person",
            device_class="occupancy",
            state_topic=state,
            value_template="{{ value_json.person }}",
        ),
        entity(
            "binary_sensor",
            "connected",
            name="Camera connected",
            device_class="connectivity",
            entity_category="diagnostic",
            availability=[gateway],
            state_topic=connected,
            payload_on="online",
            payload_off="offline",
        ),
    ]
    if instructions:
        entities.append(
            entity(
                "sensor",
                "instruction",
                name="Instruction",
                icon="mdi:account-voice",
                device_class="enum",
                options=[NO_INSTRUCTION, *INSTRUCTIONS],
                state_topic=state,
                value_template=f"{{{{ value_json.instruction or '{NO_INSTRUCTION}' }}}}",
            )
        )
    if snapshots:
        entities.append(
            entity(
                "image",
                "best_shot",
                name="Best shot",
                content_type="image/jpeg",
                image_topic=f"{topic}/face/snapshot",
            )
        )
    return dict(entities)
