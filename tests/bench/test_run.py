"""The table from a tiny bundle, with a meter that the test makes up."""

import numpy as np
import pytest

from edge_fiqa.bench import report
from edge_fiqa.bench import run as bench
from edge_fiqa.bench.cost_check import WAYS, check_costs, errors
from edge_fiqa.bench.environment import environment
from edge_fiqa.bench.libraries import fastest_product
from edge_fiqa.bench.run import BenchPlan, run_benchmark
from edge_fiqa.bench.timing import Effort
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.machine import read_machine
from edge_fiqa.errors import BackendMissing, ConfigError
from edge_fiqa.exits.cost import segment_gflops
from edge_fiqa.measurement.segment_costs import cost_table
from edge_fiqa.scoring.controller import Controller
from edge_fiqa.types import FaceSet, Segment

FEW = Effort(rounds=3, turn_ms=1, warm_up=1)


@pytest.fixture(scope="module")
def few(faces):
    return FaceSet(faces, ("a",) * len(faces), "noise")


@pytest.fixture(scope="module", autouse=True)
def _small_products():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_fiqa.bench.libraries.CPU_SHAPES", ((64, 64, 64), (128, 64, 64)))
        yield


class FakeMeter:
    """5 W whatever happens, so that gross energy is 5 W x time and net energy is about none."""

    name = "fake"

    def joules(self):
        import time

        return 5 * time.perf_counter()

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def result(bundle, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "find_meter", lambda device: (FakeMeter(), ""))
        patch.setattr(bench, "idle_watts", lambda meter: 5.0)
        plan = BenchPlan((1, 4), (1, 8), ("ov", "ort"), ("one", "steps"), 1, FEW, False, 0.02)
        return run_benchmark([bundle], plan, few)


def test_every_combination_is_one_row(result):
    assert len({row.key for row in result.rows}) == len(result.rows) == 2 * 2 * 2 * 2
    for row in result.rows:
        assert 0 < row.p50_ms <= row.p90_ms
        assert row.p99_ms is None or row.p90_ms <= row.p99_ms
        assert row.faces_per_s == pytest.approx(1e3 * row.batch / row.p50_ms, rel=0.01)
        assert len(row.round_ms) == FEW.rounds
        assert row.peak_mb is None


def test_gflops_are_those_of_the_segments_run(result, bundle):
    whole, last = Segment(1, 4, tail=True), Segment(4, 4, tail=True)
    steps = [Segment(1, 1), Segment(2, 2), Segment(3, 3), last]
    gflops = {row.way: row.gflops for row in result.rows if row.exit == 4}
    assert gflops["one"] == pytest.approx(segment_gflops(bundle.config, whole), abs=1e-5)
    assert gflops["steps"] == pytest.approx(
        sum(segment_gflops(bundle.config, s) for s in steps), abs=1e-5
    )


def test_peaks_are_measured_by_the_same_library(result):
    assert [(p.backend, p.precision, p.why) for p in result.peaks] == [
        ("ov", "fp32", None),
        ("ort", "fp32", None),
    ]
    for row in result.rows:
        peak = next(p for p in result.peaks if p.backend == row.backend)
        assert row.peak_share == pytest.approx(row.gflops_per_s / peak.gflops_per_s, rel=0.02)


def test_energy_is_a_face_s_share(result):
    assert result.power.meter == "fake"
    for row in result.rows:
        assert row.gross_mj > 0
        assert abs(row.net_mj) < 0.05 * row.gross_mj


def test_the_report_says_all_of_it(result, tmp_path):
    text = "\n".join(report.table(result))
    assert "energy: fake, idle 5.0 W" in text
    assert text.count("\n") > len(result.rows)
    report.plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    with pytest.raises(ConfigError, match="No such file"):
        report.plot(result, tmp_path / "absent" / "plot.png")


def test_no_meter_is_null_and_why(bundle, few):
    plan = BenchPlan((1,), threads=1, effort=FEW, backends=("ov",))
    measured = run_benchmark([bundle], plan, few)
    row = measured.rows[0]
    assert row.peak_mb > 20  # Python and numpy alone need that
    if measured.power.meter is None:
        assert "INA3221" in measured.power.why
        assert row.gross_mj is None
        assert row.net_mj is None


def test_refused(bundle, few):
    with pytest.raises(ConfigError, match="exit 9 does not exist; this bundle can stop at 1, 2, 3"):
        run_benchmark([bundle], BenchPlan((9,), backends=("ov",), effort=FEW), few)
    with pytest.raises(ConfigError, match="batches of at least 1"):
        run_benchmark([bundle], BenchPlan((1,), (0,), effort=FEW), few)
    empty = FaceSet(np.zeros((0, 112, 112, 3), np.uint8), (), "none")
    with pytest.raises(ConfigError, match="needs faces"):
        run_benchmark([bundle], BenchPlan((1,), effort=FEW), empty)


@pytest.mark.parametrize("backend", ["ov", "ort", "pt"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_products_run_or_say_why(backend, precision):
    if (backend, precision) in {("ort", "bf16"), ("pt", "int8")}:
        with pytest.raises(BackendMissing, match=r"no bfloat16|no int8"):
            fastest_product(backend, precision, 1, "cpu")
        return
    product = fastest_product(backend, precision, 1, "cpu")
    m, k, n = product.shape
    assert product.gflop == pytest.approx(2e-9 * m * k * n)
    product.run()


def test_an_unknown_library_has_no_peak():
    with pytest.raises(BackendMissing, match="'tpu'"):
        fastest_product("tpu", "fp32", 1, "cpu")


def test_cost_tables_are_checked_for_every_way_and_exit(bundle, faces):
    with open_engine(bundle, "ov", threads=1) as engine:
        controller = Controller(engine, cost_table(engine))
        predictions = check_costs(controller, faces[:1], FEW)
    assert {(p.way, p.exit) for p in predictions} == {
        (way, k) for way in WAYS for k in (1, 2, 3, 4)
    }
    median, p90 = errors(predictions)
    assert 0 <= median <= p90


def test_the_environment_of_a_jetson(tmp_path):
    for name, text in {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimddp i8mm\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "var/lib/nvpmodel/status": "pmode:0001\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    machine = environment(tmp_path)
    assert machine["board"] == "NVIDIA Jetson Orin Nano"
    assert machine["governor"] == "schedutil"
    assert machine["power_mode"] == read_machine(tmp_path).power_mode == "mode 1"
    assert machine["instructions"] == ["asimddp", "i8mm"]
