"""The record: the published form, in JSON and as a row."""

import json
import math

import msgspec
import pytest

from edge_fiqa.reasons.report import Reasons, ReportedCause
from edge_fiqa.record import (
    Algorithm,
    Cost,
    Decision,
    Exit,
    Quality,
    Record,
    escape_json,
    flatten,
    to_json,
)

ALGORITHM = Algorithm("nano", "1.0", "sha256:ab")
GOOD = Record(
    id="photos/a.jpg#0",
    source="photos/a.jpg",
    box=(1.0, 2.0, 3.0, 4.0),
    landmarks=tuple((float(i), float(i) + 0.5) for i in range(5)),
    quality=Quality(73, 1.184, (68, 78), "ok", ALGORITHM, "sigmoid:1f3a9c2e"),
    exit=Exit(2, "gate", (0.91, 1.02, None), "FW"),
    cost=Cost(4.8, 7.9, None),
    decision=Decision(45, True, 0.01, 0.95),
    reasons=Reasons(
        "hold still",
        (ReportedCause("motion_blur", "Sharpness", 21), ReportedCause("noise", None, 40)),
        {"motion_blur": 21, "noise": 40, "yaw": 93},
    ),
    warnings=("one", "two"),
)
FAILED = Record(
    id="b#0",
    source="b",
    box=None,
    landmarks=None,
    quality=Quality(None, None, None, "unreadable", ALGORITHM, None),
    exit=Exit(None, None, (None, None, None), "FW"),
    cost=Cost(None, None, None),
    decision=Decision(None, None, None, None),
    warnings=(),
)


def test_json_has_the_published_keys_in_their_order():
    content = json.loads(to_json(GOOD))
    assert list(content) == [
        "schema",
        "id",
        "source",
        "frame_time",
        "box",
        "landmarks",
        "quality",
        "exit",
        "cost",
        "decision",
        "reasons",
        "warnings",
    ]
    assert content["schema"] == "edge-fiqa/1"
    assert content["quality"]["algorithm"] == {
        "name": "nano",
        "version": "1.0",
        "fingerprint": "sha256:ab",
    }
    assert content["exit"] == {
        "depth": 2,
        "reason": "gate",
        "scores": [0.91, 1.02, None],
        "fusion": "FW",
    }
    assert content["cost"] == {"gflops": 4.8, "ms": 7.9, "mj": None}
    assert msgspec.json.decode(to_json(GOOD), type=Record) == GOOD


def test_unknown_values_are_null_never_invented():
    content = json.loads(to_json(FAILED))
    assert content["quality"]["scalar"] is None
    assert content["quality"]["code"] == "unreadable"
    assert content["exit"]["scores"] == [None, None, None]
    assert b"NaN" not in to_json(FAILED)


def test_rows_have_the_same_columns_whatever_happened():
    good, failed = flatten(GOOD), flatten(FAILED)
    assert list(good) == list(failed)
    assert good["exit.scores.2"] == 1.02
    assert (good["box.w"], good["landmarks.5.y"], good["quality.interval.low"]) == (3.0, 4.5, 68)
    assert good["quality.interval.high"] == 78
    assert good["warnings"] == "one;two"
    assert failed["quality.scalar"] is None


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("\u202eé.jpg", rb'"\u202e\xc3\xa9.jpg"'.replace(rb"\xc3\xa9", "é".encode())),
        ("\x7f\x85", rb'"\u007f\u0085"'),
        ("\U000e0001", rb'"\udb40\udc01"'),  # a tag: two units of UTF-16
        ("a\tb", rb'"a\tb"'),
        ("plain é", '"plain é"'.encode()),
    ],
)
def test_json_steers_no_terminal_and_means_the_same(name, written):
    escaped = escape_json(msgspec.json.encode(name))
    assert escaped == written
    assert json.loads(escaped) == name


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_would_be_null(value):
    cost = msgspec.json.decode(msgspec.json.encode(Cost(value, None, None)))
    assert cost["gflops"] is None


def test_reasons_become_columns_of_all_causes():
    row = flatten(GOOD)
    assert row["reasons.instruction"] == "hold still"
    assert row["reasons.reported"] == "motion_blur;noise"
    assert (row["reasons.motion_blur"], row["reasons.yaw"]) == (21, 93)
    assert row["reasons.crop"] is None  # not among the causes of this model
    assert flatten(FAILED).keys() == row.keys()
    assert {row for key, row in flatten(FAILED).items() if key.startswith("reasons.")} == {None}


def test_a_record_of_an_older_version_has_no_reasons():
    """In NDJSON files, pictures of faces, stored events: whoever reads one takes both."""
    tree = json.loads(to_json(GOOD))
    del tree["reasons"]
    old = msgspec.json.decode(json.dumps(tree), type=Record)
    assert old == msgspec.structs.replace(GOOD, reasons=None)
