"""What stands below the pictures of a contact sheet."""

import msgspec
import numpy as np
from PIL import Image, ImageFont

from edge_fiqa.footage.contact_sheet import SIDE, _time_and_cause, write_contact_sheets
from edge_fiqa.footage.result import PersonEntry, VideoResult
from edge_fiqa.reasons.causes import CAUSES
from edge_fiqa.reasons.report import Reasons, ReportedCause
from tests.scoring.records import record


def entry(*causes, reasons=True, time_s=83.25):
    reported = tuple(ReportedCause(cause, None, 9) for cause in causes)
    return PersonEntry(
        person=1,
        first_s=0.0,
        last_s=4000.0,
        time_s=time_s,
        frame=3,
        faces_seen=4,
        faces_scored=4,
        skipped={},
        picture="a.png",
        crop="b.png",
        record=msgspec.structs.replace(
            record("v.mp4"), reasons=Reasons(None, reported, {}) if reasons else None
        ),
    )


def test_the_most_certain_cause_stands_beside_the_time():
    assert _time_and_cause(entry("motion_blur", "noise"), 83.25) == "at 1:23.2, motion blur"
    assert _time_and_cause(entry(), 83.25) == "at 1:23.2"
    assert _time_and_cause(entry(reasons=False), 83.25) == "at 1:23.2"


def test_it_is_not_wider_than_the_picture():
    font = ImageFont.load_default(14)
    for cause in [*CAUSES, "a" * 200, "a_" * 100]:
        assert font.getlength(_time_and_cause(entry(cause), 35999.9)) <= SIDE


def test_a_sheet_of_a_face_with_reasons_is_drawn(tmp_path):
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / "a.png")
    result = VideoResult(
        video="v.mp4",
        complete=True,
        duration_s=100.0,
        stated_s=100.0,
        times="stamps",
        frames=10,
        frames_searched=10,
        unconfirmed_faces=0,
        warnings=(),
        persons=(entry("motion_blur"), entry()),
    )
    (file,) = write_contact_sheets(tmp_path, result)
    with Image.open(file) as sheet:
        pixels = np.asarray(sheet.convert("L")).astype(int)
    lines = pixels[74 + SIDE + 26 : 74 + SIDE + 44]  # the second below the pictures
    with_cause, without = lines[:, 16 : 16 + SIDE], lines[:, 32 + SIDE : 32 + 2 * SIDE]
    ink = [np.flatnonzero((part < 160).any(0)).max() for part in (with_cause, without)]
    assert ink[0] > ink[1] + 30  # more words
