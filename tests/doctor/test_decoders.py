"""What the doctor says about decoders, from OpenCV's words and the device files."""

from edge_fiqa.doctor.decoders import built_with, decoder_lines

INFORMATION = """
  Video I/O:
    FFMPEG:                      YES
      avcodec:                   YES (62.28.101)
    GStreamer:                   NO
    VA:                          YES
"""


def test_the_build_information_is_read_by_line():
    assert built_with(INFORMATION, "FFMPEG")
    assert built_with(INFORMATION, "VA")
    assert not built_with(INFORMATION, "GStreamer")
    assert not built_with(INFORMATION, "avformat")


def test_devices_are_named(tmp_path):
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/renderD128").touch()
    (tmp_path / "dev/v4l2-nvdec").touch()
    lines = decoder_lines(tmp_path)
    assert any("renderD128" in line for line in lines)
    assert any("v4l2-nvdec" in line for line in lines)
    bare = decoder_lines(tmp_path / "nothing")
    assert any("devices: none" in line for line in bare)
    assert any("no device" in line for line in bare)
