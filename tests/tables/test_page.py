"""The page of a set: its counts, from records whose counts are known."""

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from edge_fiqa.reasons.report import Reasons, ReportedCause
from edge_fiqa.tables.page import SetSummary, ShardCounts, summary_of, summary_page
from edge_fiqa.tables.score_set import ScoreSet
from tests.scoring.records import record


def of_quality(name, scalar, reason="full", warnings=()):
    made = record(name)
    return msgspec.structs.replace(
        made,
        quality=msgspec.structs.replace(made.quality, scalar=scalar),
        exit=msgspec.structs.replace(made.exit, reason=reason),
        warnings=warnings,
    )


def make_set(folder):
    folder.mkdir(exist_ok=True)
    stored = ScoreSet(str(folder))
    records = [
        of_quality("a.tar/x/1.png", 0),
        of_quality("a.tar/2.png", 100, warnings=("looks stretched in width",)),
        of_quality("pictures/3.png", 54, "gate"),
    ]
    stored.write("files-0000000000000000.parquet", records)
    failures = [
        record("pictures/<b>.png", code="no_face"),
        of_quality("alone.png", 55),
        of_quality("b.png", 5),
    ]
    stored.write("files-0000000000000001.parquet", failures)
    return stored


def test_every_face_is_counted_once(tmp_path):
    summary = summary_of(make_set(tmp_path))
    assert summary.faces == 6
    assert summary.quality == {0: 1, 1: 1, 19: 1, 10: 1, 11: 1}
    assert summary.codes == {"ok": 5, "no_face": 1}
    assert summary.reasons == {"full": 4, "gate": 1}
    assert summary.depths == {1: 5}
    assert summary.warnings == {"looks stretched in width": 1}
    assert summary.shards == {
        "a.tar": ShardCounts(2, 2, 100, 0),
        "pictures": ShardCounts(2, 1, 54, 1),
        ".": ShardCounts(2, 2, 60, 0),
    }


def test_the_page_shows_them_and_runs_nothing(tmp_path):
    page = summary_page(make_set(tmp_path / "<script>"))
    assert "6 faces, 5 with a score" in page
    assert "<script" not in page
    assert page.index(">pictures<") < page.index(">a.tar<")  # the worst first


def test_an_empty_set_has_a_page(tmp_path):
    stored = ScoreSet(str(tmp_path))
    stored.write("files-0000000000000000.parquet", [])
    assert summary_of(stored) == SetSummary()
    assert "0 faces" in summary_page(stored)


def test_a_part_whose_reasons_another_program_typed_as_nothing(tmp_path):
    """As pandas writes a column without values."""
    part = tmp_path / "files-0000000000000000.parquet"
    ScoreSet(str(tmp_path)).write(part.name, [record("a.png")])
    table = pq.read_table(part)
    place = table.schema.get_field_index("reasons")
    pq.write_table(table.set_column(place, "reasons", pa.nulls(1)), part)
    summary = summary_of(ScoreSet(str(tmp_path)))
    assert (summary.faces, summary.causes) == (1, {})


def test_reported_causes_are_counted_and_shown(tmp_path):
    stored = make_set(tmp_path)
    summary = summary_of(stored)
    assert summary.causes == {}
    assert "Reported causes" not in summary_page(stored)
    two = Reasons(
        None, (ReportedCause("noise", None, 3), ReportedCause("yaw", "HeadPoseYaw", 9)), {}
    )
    one = Reasons(None, (ReportedCause("noise", None, 30),), {"noise": 30, "yaw": 90})
    records = [
        msgspec.structs.replace(record(f"{number}.png"), reasons=reasons)
        for number, reasons in enumerate([two, None, one, Reasons(None, (), {"yaw": 95})])
    ]
    stored.write("files-0000000000000002.parquet", records)
    assert summary_of(stored).causes == {"noise": 2, "yaw": 1}
    page = summary_page(stored)
    assert "<h2>Reported causes of low quality</h2>" in page
    assert '<td>noise</td><td class="number">2</td>' in page
