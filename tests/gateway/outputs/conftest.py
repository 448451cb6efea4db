"""A broker, who listens to it, and the sink under test."""

import pytest

from edge_fiqa.gateway.config.outputs import MqttConfig
from edge_fiqa.gateway.outputs.mqtt import MqttSink
from tests.gateway.outputs.broker import Broker, Listener


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker):
    listener = Listener(broker)
    yield listener
    listener.close()


@pytest.fixture
def sink_for(tmp_path):
    opened = []

    def make(port, **more):
        config = MqttConfig(host="127.0.0.1", port=port, spool=tmp_path / "spool", **more)
        opened.append(MqttSink(config))
        return opened[-1]

    yield make
    for sink in opened:
        sink.close(3)
