"""edge-fiqa edc: numbers by hand, and what it refuses to make a number of."""

import json

import numpy as np
import pytest

from edge_fiqa.cli import main


@pytest.fixture
def pairs(tmp_path):
    """2,000 mated pairs of 200 persons, of which the worst 100 fail, and 20,000 others."""
    mated = np.where(np.arange(2000) < 100, 0.1, 0.9)
    path = tmp_path / "pairs.npz"
    np.savez(
        path,
        similarity=np.concatenate((mated, np.linspace(-1, 0.5, 20_000))),
        same=np.arange(22_000) < 2000,
        pair_quality=np.concatenate((np.arange(2000), np.arange(20_000) / 10)),
        identity=np.concatenate((np.arange(2000) // 10, np.zeros(20_000, int))),
    )
    return path


def result(capsys, *arguments):
    assert main(["edc", *map(str, arguments), "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_fixed_by_hand(pairs, capsys):
    edc = result(capsys, pairs, "--threshold", "0.5", "--limit", "0.2")
    fnmr = {round(p["discard"], 2): p["fnmr"] for p in edc["points"]}
    assert fnmr[0] == pytest.approx(0.05)
    assert fnmr[0.02] == pytest.approx(60 / 1960)
    assert fnmr[0.05] == fnmr[0.2] == 0
    exact = sum((100 - i) / (2000 - i) for i in range(100)) / 2000
    assert edc["pauc"] == pytest.approx(exact, abs=1e-12)
    assert edc["pauc_theoretical_best"] == pytest.approx(0.05**2 / 2)
    assert edc["pauc_interval_95"][0] < edc["pauc"] < edc["pauc_interval_95"][1]
    assert (edc["mated"], edc["non_mated"], edc["identities"]) == (2000, 20_000, 200)
    assert edc["notes"] == []


def test_a_threshold_may_come_from_impostors_or_from_errors(pairs, capsys):
    by_fmr = result(capsys, pairs)
    assert by_fmr["setting"] == "FMR 0.001 with nothing discarded"
    assert 0.498 < by_fmr["threshold"] < 0.5
    assert result(capsys, pairs, "--starting-error", "0.05")["threshold"] == pytest.approx(0.9)


def test_crfiqa_shows_only_what_is_resolved(pairs, capsys):
    edc = result(capsys, pairs, "--protocol", "crfiqa", "--fmr", "0.001")
    assert edc["pauc"] is None
    assert edc["pauc_resolved"]["limit"] == pytest.approx(0.5)
    assert any("resolved up to a discard of 0.5 only" in note for note in edc["notes"])
    assert [p["fnmr"] is None for p in edc["points"]] == [p["discard"] > 0.5 for p in edc["points"]]
    assert result(capsys, pairs, "--protocol", "crfiqa", "--fmr", "0.01")["pauc"] is not None


def test_a_table_and_a_plot_for_people(pairs, tmp_path, capsys):
    assert main(["edc", str(pairs), "--limit", "0.1", "--plot", str(tmp_path / "edc.png")]) == 0
    out = capsys.readouterr().out
    assert "2,000 mated and 20,000 non-mated pairs, 200 identities" in out
    assert "pAUC to 0.1" in out
    assert (tmp_path / "edc.png").read_bytes().startswith(b"\x89PNG")


def test_distances_and_costs_are_the_same_curve_upside_down(pairs, tmp_path, capsys):
    data = dict(np.load(pairs))
    turned = tmp_path / "turned.npz"
    np.savez(
        turned,
        **{**data, "similarity": 1 - data["similarity"], "pair_quality": -data["pair_quality"]},
    )
    one = result(capsys, pairs, "--threshold", "0.5")
    two = result(capsys, turned, "--threshold", "0.5", "--distance", "--lower-is-better")
    assert two["threshold"] == 0.5
    assert two["pauc"] == pytest.approx(one["pauc"], abs=1e-12)


def write(tmp_path, mated, others, identity=False):
    path = tmp_path / "few.csv"
    rows = [f"0.{i % 10},1,{i}" for i in range(mated)] + [f"0.1,0,{i}" for i in range(others)]
    path.write_text("similarity,same,pair_quality\n" + "\n".join(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("mated", "others", "flags", "said"),
    [
        (5, 5, [], "5 mated pairs say nothing about an error rate; at least 30"),
        (0, 100, [], "0 mated pairs"),
        (100, 0, [], "0 impostor pairs cannot resolve an FMR of 0.001; that needs 10,000; or give"),
        (100, 500, ["--fmr", "0.01"], "500 impostor pairs cannot resolve an FMR of 0.01"),
        (100, 500, ["--fmr", "0.01", "--protocol", "crfiqa"], "cannot resolve an FMR of 0.01"),
        (100, 500, ["--fmr", "1.5"], "an FMR lies between 0 and 1"),
        (100, 500, ["--starting-error", "0.05"], "cannot resolve a starting error of 0.05"),
        (100, 500, ["--starting-error", "0"], "a starting error lies between 0 and 1"),
        (100, 500, ["--threshold", "0.5", "--limit", "2"], "--limit lies in"),
        (100, 500, ["--threshold", "1", "--protocol", "crfiqa"], "finds its thresholds by --fmr"),
        (100, 500, ["--resamples", "0", "--protocol", "crfiqa"], "--resamples is about --protocol"),
        (100, 500, ["--threshold", "0.5", "--plot", "out.xyz"], "out.xyz"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(tmp_path, capsys, mated, others, flags, said):
    assert main(["edc", str(write(tmp_path, mated, others)), *flags]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_no_identities_and_few_errors_are_said(tmp_path, capsys):
    edc = result(capsys, write(tmp_path, 50, 0), "--threshold", "0.15")
    assert any("no identities" in note for note in edc["notes"])
    assert any("only 10 errors" in note for note in edc["notes"])
    spotless = result(capsys, write(tmp_path, 50, 0), "--threshold", "-1")
    assert spotless["pauc"] == 0
    assert spotless["pauc_relative"] is None
