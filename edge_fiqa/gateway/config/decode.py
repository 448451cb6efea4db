"""Section `decode` of a camera: which part of the machine turns its stream into pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edge_fiqa.gateway.config.section import Section

Acceleration = Literal["none", "any", "vaapi", "d3d11", "mfx", "drm"]
PLACE = "{source}"


class DecodeConfig(Section):
    """decode: by default FFmpeg on the processor; `edge-fiqa doctor` says what this machine has.

    acceleration: of OpenCV's FFmpeg; `any` takes what there is, else the processor.
    gstreamer: a pipeline that ends in `appsink`, instead of FFmpeg; {source} in it is the address.
    """

    acceleration: Acceleration = "none"
    gstreamer: str | None = Field(default=None, max_length=2000)

    @model_validator(mode="after")
    def _check(self) -> DecodeConfig:
        if self.gstreamer is None:
            return self
        if self.acceleration != "none":
            raise ValueError("acceleration is FFmpeg's: a pipeline of GStreamer names its decoder")
        if PLACE not in self.gstreamer or "appsink" not in self.gstreamer:
            raise ValueError(f"a pipeline takes its address from {PLACE} and ends in appsink")
        return self

    def pipeline_of(self, address: str) -> str | None:
        """GStreamer's pipeline for an address, in quotes; None: FFmpeg decodes."""
        if self.gstreamer is None:
            return None
        quoted = address.replace("\\", "\\\\").replace('"', '\\"')
        return self.gstreamer.replace(PLACE, f'"{quoted}"')
