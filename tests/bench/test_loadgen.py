"""MLPerf LoadGen over the tiny bundle: all four scenarios, briefly."""

import pytest

from edge_fiqa.bench.loadgen import SCENARIOS, Load, run_scenario
from edge_fiqa.errors import ConfigError, EngineFailed
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring.scorer import Scorer
from edge_fiqa.types import FaceSet

pytest.importorskip("mlperf_loadgen", reason="needs mlcommons-loadgen")


@pytest.fixture(scope="module")
def scorers(bundle):
    opened = [Scorer.open(bundle, backend="ov", threads=1) for _ in range(2)]
    yield opened
    for scorer in opened:
        scorer.close()


def library(faces):
    return FaceSet(faces, ("a",) * len(faces), "noise")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_is_judged_by_loadgen(scenario, scorers, faces, tmp_path):
    alone = scenario in ("singlestream", "multistream")
    load = Load(scenario, 0.2, 24, qps=200, latency_ms=1000)
    result = run_scenario(
        scorers[:1] if alone else scorers, [Fixed(2)], library(faces), load, tmp_path / "logs"
    )
    assert f"Scenario : {SCENARIOS[scenario]}" in result.summary
    assert result.answered >= 24
    if scenario != "multistream":  # whose queries of eight may end between
        assert result.answered % len(faces) == 0  # equal issue: every face equally often
    assert result.mean_depth == 2
    assert result.metrics["result_validity"] in ("VALID", "INVALID")
    assert (tmp_path / "logs/mlperf_log_detail.txt").exists()


def test_the_server_needs_a_rate(scorers, faces, tmp_path):
    with pytest.raises(ConfigError, match="--qps"):
        run_scenario(scorers, [Fixed()], library(faces), Load("server"), tmp_path)


@pytest.mark.parametrize("scenario", ["singlestream", "server"])
def test_a_failing_engine_ends_the_run_with_an_error(
    scenario, bundle, faces, tmp_path, monkeypatch
):
    with Scorer.open(bundle, backend="ov", threads=1) as scorer:
        scorer.prepare([Fixed(1)])

        def fail(*anything):
            raise EngineFailed("out of memory")

        monkeypatch.setattr(scorer, "assess", fail)
        load = Load(scenario, 0.1, 6, qps=100)
        with pytest.raises(EngineFailed, match="under load: out of memory"):
            run_scenario([scorer], [Fixed(1)], library(faces), load, tmp_path)
