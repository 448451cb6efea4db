"""edge-fiqa bench as a user meets it."""

import json
import shutil

import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.cli import main


@pytest.fixture
def bench(bundle, capsys, monkeypatch):
    monkeypatch.setattr("edge_fiqa.bench.libraries.CPU_SHAPES", ((64, 64, 64),))

    def run(*flags):
        stated = [] if "--bundle" in flags else ["--bundle", str(bundle.folder)]
        backend = [] if "--backend" in flags else ["--backend", "ov"]
        status = main(["bench", *stated, *backend, *map(str, flags)])
        out, err = capsys.readouterr()
        return status, out, err

    return run


QUICK = ("--rounds", "2", "--quick", "--no-memory", "--threads", "1")


def test_table_json_and_comparison(bench, tmp_path):
    old = tmp_path / "old.json"
    status, out, _ = bench(*QUICK, "--exits", "1,4", "--batch", "1", "2", "--output", old)
    assert status == 0
    last = json.loads(out.splitlines()[-1])
    assert last == json.loads(old.read_text(encoding="utf-8"))
    assert [(r["exit"], r["batch"]) for r in last["rows"]] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    status, out, _ = bench(*QUICK, "--exits", "4", "--compare", old)
    assert status == 0
    assert "new / old" in out
    assert json.loads(out.splitlines()[-1])["schema"] == "edge-fiqa-bench/1"


def test_another_processors_result_is_refused_before_anything_is_measured(bench, tmp_path):
    old = tmp_path / "old.json"
    bench(*QUICK, "--exits", "4", "--output", old)
    result = json.loads(old.read_text(encoding="utf-8"))
    result["environment"]["cpu"] = "Pentium"
    old.write_text(json.dumps(result), encoding="utf-8")
    status, out, err = bench(*QUICK, "--exits", "4", "--compare", old)
    assert (status, out) == (2, "")
    assert "cpu Pentium, here" in err
    status, out, _ = bench(*QUICK, "--exits", "4", "--compare", old, "--other-processor")
    assert status == 0
    assert "warning: cpu was Pentium" in out


def test_minutes_without_a_pause(bench, tmp_path):
    flags = ("--minutes", "0.005", "--exits", "1,4", "--batch", "2", "--threads", "1")
    status, out, _ = bench(*flags, "--plot", tmp_path / "p.png")
    assert status == 0
    last = json.loads(out.splitlines()[-1])
    assert (last["schema"], last["exit"], last["batch"]) == ("edge-fiqa-endurance/1", 4, 2)
    assert len(last["intervals"]) == 60
    assert (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--exits", "99"), "exit 99 does not exist"),
        (("--exits", "deep"), "expected numbers like 1,3,6"),
        (("--rounds", "0"), "--rounds must be at least 1"),
        (("--faces", "EMPTY"), "no aligned 112x112 faces"),
        (("--compare", "EMPTY/x.json"), "No such file"),
        (("--bundle", "nowhere"), "is not a bundle"),
        (("--batch", "0"), "batches of at least 1"),
        (("--exit", "3"), "--exit is about --scenario"),
        (("--scenario", "server", "--backend", "ov", "ort"), "one bundle and one backend"),
        (("--scenario", "singlestream", "--jobs", "2"), "answered by one engine"),
        (("--update-costs", "--backend", "ov", "ort"), "give one --backend"),
        (("--jobs", "2"), "--jobs is about --scenario"),
        (("--fusion", "F"), "--fusion is about --scenario"),
        (("--other-processor",), "--other-processor is about --compare"),
        (("--update-costs", "--exits", "3"), "--exits does nothing beside --update-costs"),
        (("--update-costs", "--output", "x"), "--output does nothing beside --update-costs"),
        (("--scenario", "offline", "--batch", "8"), "--batch does nothing beside --scenario"),
        (("--scenario", "offline", "--minutes", "1"), "--minutes does nothing beside --scenario"),
        (("--scenario", "offline", "--latency-ms", "9"), "is about --scenario server"),
        (("--scenario", "singlestream", "--qps", "9"), "--scenario server and offline"),
        (("--minutes", "1", "--compare", "x"), "--compare does nothing beside --minutes"),
        (("--minutes", "0"), "0 seconds measures nothing"),
        (("--minutes", "1", "--batch", "1", "2"), "one bundle, one backend and one batch"),
    ],
)
def test_what_cannot_be_is_one_line_with_status_2(bench, tmp_path, flags, message):
    flags = tuple(flag.replace("EMPTY", str(tmp_path)) for flag in flags)
    status, out, err = bench(*flags)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_costs_are_measured_anew_and_kept(bench, bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle.folder, copy)
    status, out, _ = bench("--bundle", copy, "--update-costs", "--threads", "1", "--backend", "ort")
    assert status == 0
    assert "energy" in out
    costs = Bundle.open(copy).manifest.costs
    assert (costs.backend, costs.threads) == ("ort", 1)
    assert len(costs.segments) == len(bundle.segments)


def test_a_scenario(bench, tmp_path):
    pytest.importorskip("mlperf_loadgen", reason="needs mlcommons-loadgen")
    status, out, _ = bench(
        *("--scenario", "singlestream", "--seconds", "0.2", "--exit", "2"),
        *("--logs", tmp_path / "logs"),
    )
    assert status in (0, 1)  # as LoadGen judges
    last = json.loads(out.splitlines()[-1])
    assert (last["scenario"], last["mean_depth"]) == ("singlestream", 2)
    assert (tmp_path / "logs/mlperf_log_summary.txt").exists()
