"""The causes of low quality that a network can name, and what a person can do about each.

A cause is a degradation with which networks are trained (`edge_fiqa/training/degradations/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """component: the quality component of ISO/IEC 29794-5 that a cause comes nearest to, as OFIQ writes
    it; None where there is none. instruction: for the person in front of the camera; None where the
    person cannot change anything."""

    component: str | None
    instruction: str | None


CAUSES: Mapping[str, Cause] = {
    "yaw": Cause("HeadPoseYaw", "look straight into the camera"),
    "pitch": Cause("HeadPosePitch", "keep your chin level"),
    "roll": Cause("HeadPoseRoll", "hold your head upright"),
    "crop": Cause(None, "move to the middle of the picture"),
    "occlusion_upper": Cause("EyesVisible", "uncover your eyes and forehead"),
    "occlusion_lower": Cause("MouthOcclusionPrevention", "uncover your mouth and chin"),
    "uneven_light": Cause("IlluminationUniformity", "turn towards the light"),
    "under_exposure": Cause("UnderExposurePrevention", "more light from the front"),
    "over_exposure": Cause("OverExposurePrevention", "less light on your face"),
    "low_contrast": Cause("DynamicRange", "avoid light from behind"),
    "colour": Cause("NaturalColour", None),
    "defocus": Cause("Sharpness", "change your distance to the camera a little"),
    "motion_blur": Cause("Sharpness", "hold still"),
    "low_resolution": Cause(None, "come closer"),
    "noise": Cause(None, "more light from the front"),
    "compression": Cause("CompressionArtifacts", None),
}
"""Every cause by its name, in the order of columns in tables."""
