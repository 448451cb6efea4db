"""The page of a gallery: why a picture is not kept."""

from pathlib import Path

import msgspec
import pytest

from edge_fiqa.gallery.choose import GalleryFace, PersonFaces, choose
from edge_fiqa.gallery.page import render_page
from edge_fiqa.gallery.pictures import ScoredPicture
from edge_fiqa.gallery.result import judged
from edge_fiqa.reasons.report import Reasons, ReportedCause
from tests.scoring.records import record

BLURRED = Reasons("hold still", (ReportedCause("motion_blur", "Sharpness", 12),), {})


def page_of(quality, reasons):
    """Of one person with one picture."""
    kept = msgspec.structs.replace(record("ann/a.jpg"), reasons=reasons)
    face = GalleryFace("ann/a.jpg", quality)
    picture = ScoredPicture(Path("ann/a.jpg"), kept, face, b"jpeg")
    choice = choose([PersonFaces("ann", (face,))], 40.0, 3)
    persons = judged(["ann"], [[picture]], choice)
    page = render_page(Path("g"), persons, gate=40.0, most=3, threshold=None, notes=())
    return page.decode()


@pytest.mark.parametrize(
    ("quality", "reasons", "why"),
    [
        (20.0, BLURRED, ["below the gate: motion blur"]),
        (20.0, Reasons(None, (), {"yaw": 90}), ["below the gate"]),
        (20.0, None, ["below the gate"]),
        (80.0, BLURRED, []),  # kept: nothing is to be explained
    ],
)
def test_a_picture_below_the_gate_says_its_causes(quality, reasons, why):
    page = page_of(quality, reasons)
    assert page.count('class="why"') == len(why)
    for text in why:
        assert f'<div class="why">{text}</div>' in page
    assert "hold still" not in page  # nobody is in front of a camera
