"""Which decoders of video this machine offers to the gateway's cameras."""

from __future__ import annotations

import re
from pathlib import Path

import cv2

RENDER_NODES = "dev/dri"
NVIDIA_DECODER = ("dev/nvhost-nvdec", "dev/v4l2-nvdec")
"""Of a Jetson: older and newer releases."""


def decoder_lines(root: Path = Path("/")) -> list[str]:
    """One line each: what OpenCV was built with, and which devices decode."""
    built = cv2.getBuildInformation()
    render = [str(path) for path in sorted((root / RENDER_NODES).glob("renderD*"))]
    nvdec = [str(root / name) for name in NVIDIA_DECODER if (root / name).exists()]
    vaapi = "yes" if built_with(built, "VA") else "no: OpenCV was built without it"
    gstreamer = built_with(built, "GStreamer")
    return [
        f"FFmpeg in OpenCV {cv2.__version__}: {'yes' if built_with(built, 'FFMPEG') else 'no'}",
        f"GStreamer in OpenCV (decode.gstreamer): "
        f"{'yes' if gstreamer else 'no; a Jetson has it in the OpenCV of its system'}",
        f"VA-API (decode.acceleration: vaapi): {vaapi}; devices: {', '.join(render) or 'none'}",
        f"NVIDIA's decoder of a Jetson (nvv4l2decoder): {', '.join(nvdec) or 'no device'}",
    ]


def built_with(information: str, part: str) -> bool:
    """Whether OpenCV's build information says YES to a part."""
    line = re.search(rf"^\s+{re.escape(part)}:\s+YES", information, re.MULTILINE)
    return line is not None
