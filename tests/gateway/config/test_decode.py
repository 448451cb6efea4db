"""The section `decode` of a camera, and what a source says that it cannot decode."""

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge_fiqa.gateway.config.decode import DecodeConfig
from edge_fiqa.gateway.video.capture import SourceLost, open_capture
from tests.gateway.people import camera_config

PIPELINE = "rtspsrc location={source} ! decodebin ! appsink"


def test_an_address_enters_a_pipeline_as_one_word():
    decode = DecodeConfig(gstreamer=PIPELINE)
    address = 'rtsp://a/b" ! filesink location=/etc/x'
    assert decode.pipeline_of(address) == (
        'rtspsrc location="rtsp://a/b\\" ! filesink location=/etc/x" ! decodebin ! appsink'
    )
    assert DecodeConfig().pipeline_of(address) is None


@pytest.mark.parametrize(
    "decode",
    [
        {"gstreamer": "rtspsrc ! appsink"},
        {"gstreamer": "rtspsrc location={source} ! fakesink"},
        {"gstreamer": PIPELINE, "acceleration": "vaapi"},
        {"acceleration": "cuda"},
    ],
)
def test_what_cannot_work_is_refused(decode):
    with pytest.raises(ValidationError):
        DecodeConfig.model_validate(decode)


@pytest.fixture
def video(tmp_path):
    file = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for level in range(5):
        writer.write(np.full((48, 64, 3), 40 * level, np.uint8))
    writer.release()
    return file


def test_any_falls_back_to_the_processor(video):
    capture = open_capture(camera_config(str(video), decode={"acceleration": "any"}))
    assert capture.grab()
    assert capture.retrieve().shape == (48, 64, 3)
    capture.close()


def test_a_pipeline_that_cannot_be_opened_names_the_doctor(video):
    pipeline = "filesrc location={source} ! nosuchelement ! appsink"
    with pytest.raises(SourceLost, match="edge-fiqa doctor"):
        open_capture(camera_config(str(video), decode={"gstreamer": pipeline}))
