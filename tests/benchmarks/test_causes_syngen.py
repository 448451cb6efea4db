"""How benchmarks/causes_syngen.py counts: by hand, of three faces."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.causes import limits_of

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("causes_syngen")
    monkeypatch.setattr(module, "NAMES", ["yaw", "noise", "crop"])
    yield module
    for name in ("causes_syngen", "common"):
        sys.modules.pop(name, None)


LIMITS = limits_of(("yaw", "noise", "crop"), (1, 2), (None, (0.0, 0.0, 0.0)))
SEEN = np.array([[3, 1, -2], [1, 3, -2], [-0.5, -2, -3]], np.float32)


def test_the_right_cause_is_counted_where_records_put_it(script):
    row = script.ranked(LIMITS.unusual(SEEN, 2), LIMITS.reported(SEEN, 2), ["yaw"])
    assert row == {
        "first": 0.6667, "first_two": 1.0, "reported": 0.6667, "any_reported": 0.6667,
        "first_reported": 0.3333, "most_often_first": "yaw",
    }  # fmt: skip


def test_what_is_reported_comes_before_what_is_more_unusual(script):
    unusual = np.array([[9.0, 2.0, 1.0]])
    row = script.ranked(unusual, np.array([[False, True, False]]), ["noise"])
    assert (row["first"], row["first_reported"]) == (1, 1)


def test_exits_that_report_nothing_have_no_rows(script):
    rows = list(script.rows_of(np.stack([SEEN, SEEN], 1), LIMITS, ["noise"]))
    assert [row["exit"] for row in rows] == [2]
    assert rows[0]["first_by_distance"] == 0.3333


def test_means_count_from_the_severity_that_is_judged(script):
    stated = {"operator": "Sharpness/", "exit": 2} | dict.fromkeys(script.MEANS, 1.0)
    rows = [
        stated | {"severity": 0.25} | dict.fromkeys(script.MEANS, 0.0),
        stated | {"severity": 0.5},
        stated | {"severity": 0.9, "first_reported": 0.5},
    ]
    found = script.judged(np.stack([SEEN, SEEN], 1), LIMITS, rows)
    assert found["all"][2]["first"] == 1
    assert found["all"][2]["reports_right"] == 0.75
    assert found["clean_blamed"] == {2: 0.6667}
    assert found["clean_blamed_at_any_exit"] == 0.6667


def test_a_bundle_without_limits_is_refused(script, bundle):
    from edge_fiqa import Scorer

    with (
        Scorer.open(bundle, backend="ov", threads=1) as scorer,
        pytest.raises(SystemExit, match="has no limits of causes"),
    ):
        script.own_limits(scorer)
