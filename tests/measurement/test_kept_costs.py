"""A cost table is measured once for a machine, and never taken for another engine's."""

import numpy as np
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import SegmentCost
from edge_fiqa.engines import open_engine
from edge_fiqa.measurement import kept_costs
from edge_fiqa.measurement.kept_costs import kept_cost_table


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path))
    kept_costs._keeps.cache_clear()
    yield tmp_path / "edge_fiqa/costs"
    kept_costs._keeps.cache_clear()


@pytest.fixture
def measured(monkeypatch):
    """How often costs were measured; each time they are other ones."""
    times = []

    def measure(engine, repeats):
        times.append(engine.threads)
        return tuple(
            SegmentCost(s.first, s.last, s.tail, float(len(times))) for s in sorted(engine.segments)
        )

    monkeypatch.setattr(kept_costs, "measure_costs", measure)
    return times


def ms_of(bundle, threads=1, backend="ov"):
    with open_engine(bundle, backend, threads) as engine:
        table = kept_cost_table(engine, bundle)
        assert set(table.ms) == set(engine.segments)
        return next(iter(set(table.ms.values())))


def test_the_next_process_takes_what_was_measured(bundle, cache, measured):
    assert [ms_of(bundle), ms_of(bundle)] == [1.0, 1.0]
    assert len(list(cache.iterdir())) == 1


def test_a_table_belongs_to_threads_backend_files_and_version(bundle, cache, measured, monkeypatch):
    ms_of(bundle)
    assert ms_of(bundle, threads=2) == 2.0
    assert ms_of(bundle, backend="pt") == 3.0
    monkeypatch.setattr(kept_costs, "cores", lambda: 999)
    assert ms_of(bundle) == 4.0
    monkeypatch.setattr(kept_costs, "library_version", lambda engine: "another")
    assert ms_of(bundle) == 5.0
    assert ms_of(bundle) == 5.0
    for number, (name, another) in enumerate(
        (("this_processor", lambda: "another"), ("_allowed", lambda: [5, 7])), start=6
    ):
        monkeypatch.setattr(kept_costs, name, another)
        assert ms_of(bundle, backend="pt") == number
    other = Bundle(bundle.folder, bundle.manifest)
    other.manifest.files["weights.bin"], before = "0" * 64, other.manifest.files["weights.bin"]
    try:
        with open_engine(bundle, "pt", 1) as engine:
            assert kept_cost_table(engine, other).ms
        assert len(measured) == 8
    finally:
        other.manifest.files["weights.bin"] = before


def test_a_damaged_one_is_measured_again(bundle, cache, measured, caplog):
    ms_of(bundle)
    (file,) = cache.iterdir()
    data = bytearray(file.read_bytes())
    data[data.index(b"1.0")] ^= 1
    file.write_bytes(data)
    assert [ms_of(bundle), ms_of(bundle)] == [2.0, 2.0]
    (line,) = caplog.messages
    assert str(file) in line
    assert "made again" in line


def test_a_folder_of_everyone_keeps_nothing(bundle, cache, measured, caplog):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert [ms_of(bundle), ms_of(bundle)] == [1.0, 2.0]
    assert list(cache.iterdir()) == []
    (line,) = caplog.messages
    assert line.startswith(f"measured costs are not kept: everyone may write {cache}; ")


def test_where_nothing_can_be_kept_it_is_measured(bundle, cache, measured, caplog):
    cache.parent.mkdir()
    cache.write_text("a file, not a folder", encoding="utf-8")
    assert [ms_of(bundle), ms_of(bundle)] == [1.0, 2.0]
    assert caplog.messages == []


def test_what_is_kept_is_what_was_measured(bundle, cache):
    with open_engine(bundle, "pt", 1) as engine:
        first, second = kept_cost_table(engine, bundle), kept_cost_table(engine, bundle)
    assert first.ms == second.ms
    assert np.all(np.array(list(first.ms.values())) > 0)
