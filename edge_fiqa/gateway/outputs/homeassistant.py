"""Home Assistant's MQTT discovery: messages that make every camera appear by itself.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_fiqa import __version__
from edge_fiqa.gateway.outputs.names import safe_name


def discovery(root: str, prefix: str, camera: str, *, snapshots: bool) -> Mapping[str, Any]:
    """Topic -> configuration of the entities of one camera: a device of Home Assistant's.

    root: Home Assistant's discovery topic; prefix: the gateway's own.
    """
    name = safe_name(camera)
    device = f"{prefix.replace('/', '_')}_{name}"
    state = f"{prefix}/{name}/state"

    def entity(kind: str, object_id: str, **more: object) -> tuple[str, Mapping[str, Any]]:
        return f"{root}/{kind}/{device}/{object_id}/config", {
            "unique_id": f"{device}_{object_id}",
            "availability_topic": f"{prefix}/available",
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
    ]
    if snapshots:
        entities.append(
            entity(
                "image",
                "best_shot",
                name="Best shot",
                content_type="image/jpeg",
                image_topic=f"{prefix}/{name}/face/snapshot",
            )
        )
    return dict(entities)
