"""The table of causes against the degradations that networks are trained with, and ISO's names."""

from pathlib import Path

import pytest

from edge_fiqa.reasons.causes import CAUSES

OFIQ = {
    "BackgroundUniformity", "IlluminationUniformity", "LuminanceMean", "LuminanceVariance",
    "UnderExposurePrevention", "OverExposurePrevention", "DynamicRange", "Sharpness",
    "CompressionArtifacts", "NaturalColour", "SingleFacePresent", "EyesOpen", "MouthClosed",
    "EyesVisible", "MouthOcclusionPrevention", "FaceOcclusionPrevention", "InterEyeDistance",
    "HeadSize", "HeadPoseYaw", "HeadPosePitch", "HeadPoseRoll", "ExpressionNeutrality",
    "NoHeadCoverings", "RadialDistortion",
}  # fmt: skip
"""Component names as the reference implementation of ISO/IEC 29794-5 (OFIQ) writes them."""


def test_components_are_iso_names():
    assert {cause.component for cause in CAUSES.values()} - {None} <= OFIQ


def test_instructions_are_short_and_plain():
    for cause in CAUSES.values():
        if cause.instruction is not None:
            assert cause.instruction == cause.instruction.lower()
            assert len(cause.instruction.split()) <= 8


def test_every_degradation_of_training_is_a_cause():
    pytest.importorskip("kornia", reason="kornia is not installed: pip install 'edge-fiqa[train]'")
    from edge_fiqa.training.degradations.table import DEGRADATIONS

    assert list(CAUSES) == list(DEGRADATIONS)


def test_the_page_lists_the_table():
    page = (Path(__file__).parents[2] / "docs/reasons.md").read_text(encoding="utf-8")
    for name, cause in CAUSES.items():
        cells = (f"`{name}`", cause.component or "", cause.instruction or "")
        assert "| " + " | ".join(cells).replace("  ", " ") in page.replace("|  |", "| |"), name
