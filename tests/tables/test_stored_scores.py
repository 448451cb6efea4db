"""Scores read back from a set: those of the faces that were asked for, and no others."""

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.tables.page import summary_of
from edge_fiqa.tables.score_set import ScoreSet
from edge_fiqa.tables.stored_scores import stored_raw, stored_trails
from tests.scoring.records import record


def with_scores(name, scores, **changes):
    made = record(name, exits=len(scores), **changes)
    return msgspec.structs.replace(
        made, exit=msgspec.structs.replace(made.exit, scores=tuple(scores))
    )


@pytest.fixture
def stored(tmp_path):
    stored = ScoreSet(str(tmp_path))
    records = [with_scores("faces/p1/a.png", (0.1, 0.2)), with_scores("faces/p2/a.png", (1.5, 2.5))]
    stored.write("files-0000000000000000.parquet", records)
    failed = msgspec.structs.replace(record("x.tar/c.png", code="no_face"))
    failed = msgspec.structs.replace(
        failed, exit=msgspec.structs.replace(failed.exit, scores=(None, None))
    )
    stored.write("files-0000000000000001.parquet", [failed])
    return stored


def test_trails_are_in_the_order_of_the_names(stored):
    names = ["p2/a.png", "c.png", "faces/p1/a.png"]
    trails = stored_trails(stored, names, "sha256:ab")
    expected = np.array([[1.5, 2.5], [np.nan, np.nan], [0.1, 0.2]], np.float32)
    np.testing.assert_array_equal(trails, expected)
    np.testing.assert_array_equal(stored_raw(stored, names), [1.0, np.nan, 1.0])


def test_a_name_that_may_be_two_pictures_is_refused(stored):
    with pytest.raises(ConfigError, match=r"a.png may be faces/p1/a.png#0 or faces/p2/a.png#0"):
        stored_raw(stored, ["a.png"])


def test_a_face_without_a_record_is_refused(stored):
    with pytest.raises(ConfigError, match=r"no record of 1 of 2 faces, such as d.png"):
        stored_raw(stored, ["c.png", "d.png"])


def test_another_model_and_early_exits_are_refused(stored):
    with pytest.raises(
        ConfigError, match="was scored with nano sha256:ab, the model here is other"
    ):
        stored_trails(stored, ["p1/a.png"], "other")
    early = with_scores("e.png", (0.5, None))
    stored.write("files-0000000000000002.parquet", [early])
    with pytest.raises(ConfigError, match="stopped after exit 1; score the set to full depth"):
        stored_trails(stored, ["e.png"], "sha256:ab")


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no Parquet files of records"):
        stored_raw(ScoreSet(str(tmp_path)), ["a"])
    (tmp_path / "other.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match=r"other.parquet cannot be read"):
        stored_raw(ScoreSet(str(tmp_path)), ["a"])


def test_parts_of_older_versions_without_reasons_are_read_alike(stored, tmp_path):
    part = tmp_path / "files-0000000000000000.parquet"
    pq.write_table(pq.read_table(part).drop_columns(["reasons"]), part)
    names = ["p2/a.png", "c.png", "faces/p1/a.png"]
    np.testing.assert_array_equal(stored_raw(stored, names), [1.0, np.nan, 1.0])
    assert summary_of(stored).faces == 3
    pq.write_table(pq.read_table(part).drop_columns(["exit"]), part)
    with pytest.raises(ConfigError, match="has no column exit: it holds no records of edge-fiqa"):
        stored_raw(stored, names)
