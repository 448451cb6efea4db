"""Section `motion`: how much of a camera's frames the detector looks at."""

from __future__ import annotations

from pydantic import Field

from edge_fiqa.gateway.config.section import Section


class MotionConfig(Section):
    """motion: the detector looks where a frame differs from what it looked at there before.

    gate: false: every frame is looked at as a whole.
    threshold: levels of luma (of 255, mean of some pixels) that are a difference; a camera with much
    noise needs more.
    still_s: seconds after which the whole frame is looked at again, whatever changed.
    """

    gate: bool = True
    threshold: float = Field(default=8.0, ge=1, le=255)
    still_s: float = Field(default=1.0, gt=0, le=60)
