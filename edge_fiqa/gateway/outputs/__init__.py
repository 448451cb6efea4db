"""All outputs of a gateway, opened from its configuration.

sinks = open_sinks(mqtt=config.mqtt, file=config.file, store=config.store)
...                                # make the gateway, which publishes to them, and its View
watch(view, sinks)                 # statistics and discovery over MQTT
server = serve(view, config.http, sinks)
...
server.close()
close_sinks(sinks, timeout_s=10)   # after the last `end`
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from edge_fiqa.gateway.config.outputs import FileConfig, HttpConfig, MqttConfig, StoreConfig
from edge_fiqa.gateway.events.event import Sink
from edge_fiqa.gateway.outputs.file_sink import FileSink
from edge_fiqa.gateway.outputs.metrics import EventMetrics
from edge_fiqa.gateway.outputs.mqtt import MqttSink
from edge_fiqa.gateway.outputs.server import HttpServer, check_certificate
from edge_fiqa.gateway.outputs.store import StoreSink
from edge_fiqa.gateway.view import View

__all__ = [
    "FileConfig",
    "HttpConfig",
    "HttpServer",
    "MqttConfig",
    "StoreConfig",
    "check_outputs",
    "close_sinks",
    "open_sinks",
    "serve",
    "watch",
]


def open_sinks(
    *,
    mqtt: MqttConfig | None = None,
    file: FileConfig | None = None,
    store: StoreConfig | None = None,
) -> list[Sink]:
    """Those configured, and the one behind the metrics. Raises ConfigError, and then none is open."""
    sinks: list[Sink] = [EventMetrics()]
    try:
        if file is not None:
            sinks.append(FileSink(file))
        if store is not None:
            sinks.append(StoreSink(store))
        if mqtt is not None:
            sinks.append(MqttSink(mqtt))
    except BaseException:
        close_sinks(sinks, 1.0)
        raise
    return sinks


def watch(view: View, sinks: Sequence[Sink]) -> None:
    """Give the view to the sinks that report on the gateway itself."""
    for sink in sinks:
        if isinstance(sink, MqttSink):
            sink.watch(view)


def serve(view: View, http: HttpConfig, sinks: Sequence[Sink]) -> HttpServer:
    """Page, API and metrics. Raises ConfigError if the token, certificate or address cannot be used."""
    return HttpServer(view, http, sinks)


def check_outputs(*, mqtt: MqttConfig | None = None, http: HttpConfig | None = None) -> None:
    """Secrets and certificates, without opening anything. Raises ConfigError."""
    if mqtt is not None:
        mqtt.password()
    if http is not None:
        http.token()
        check_certificate(http)


def close_sinks(sinks: Sequence[Sink], timeout_s: float) -> None:
    """Close all of them within the time."""
    until = time.monotonic() + timeout_s
    for sink in sinks:
        sink.close(max(0.0, until - time.monotonic()))
