"""benchmarks/gpu_torch.py runs to its end where there is no GPU, and its rules are those it states."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPT = FOLDER / "gpu_torch.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_the_rehearsal_measures_everything():
    options = "--device cpu --model tiny --batch 1 2 4 --rounds 2 --turn-ms 1 --precision fp32 bf16"
    done = run(*options.split())
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rehearsal"] is True
    assert result["environment"]["gpu"] is None
    assert [group["precision"] for group in result["groups"]] == ["fp32", "bf16"]
    for group in result["groups"]:
        assert group["captured graphs"] > 0
        assert [row["batch"] for row in group["passes"]] == [1, 2, 4]
        for row in group["passes"]:
            assert all(ms > 0 for ms in row["ms"].values())
        assert set(group["verdict"]) == {"powers of two", "chosen"}
        mixes = {(row["batch"], row["mix"]) for row in group["compaction"]}
        assert {(2, "gate 50"), (4, "convergence")} <= mixes


def test_without_a_gpu_it_says_so_in_a_line(tmp_path):
    done = run()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "gpu_torch.py: torch finds no CUDA device; --device cpu rehearses without one"
    ]
    done = run("--device", "cpu", "-o", str(tmp_path / "result.json"))
    assert done.returncode == 1
    assert "a rehearsal on the CPU is not a result" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(
    ("block_ms", "keep_ms", "chosen"),
    [
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.9}, 0.1, [4, 8]),  # up to 4 a batch costs the same
        ({1: 1.0, 2: 2.0, 4: 4.0}, 0.1, [1, 2, 4]),
        ({1: 1.0, 2: 2.0, 4: 4.0}, 1.5, [2, 4]),  # 1 saves less than the selection costs
        ({1: 1.0, 2: 2.0, 4: 4.0}, 9.0, [4]),
        ({1: 1.0}, 0.0, [1]),
    ],
)
def test_batch_sizes_worth_having(script, block_ms, keep_ms, chosen):
    assert script["worth_having"](block_ms, keep_ms) == chosen


def test_the_verdict_says_what_the_intervals_say(script):
    def row(batch, low, high):
        return {"mix": "m", "batch": batch, "dropped over carried": [(low + high) / 2, low, high]}

    verdict = script["verdict"]
    assert verdict([row(2, 0.5, 0.6), row(4, 0.99, 1.02)]) == "holds"
    assert verdict([row(2, 0.5, 0.6), row(4, 0.99, 1.03)]) == "not resolved: m, batch 4"
    assert verdict([row(2, 1.03, 1.05), row(4, 0.99, 1.03)]) == "broken: m, batch 2"


def test_leaving_runs_each_face_to_its_exit_and_drops_where_the_batch_shrinks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from edge_fiqa.engines.fake import FakeEngine

    ways = runpy.run_path(str(FOLDER / "gpu_torch_ways.py"))
    engine = FakeEngine(np.zeros((4, 3)), tails=False)
    ways["leave"](engine, engine.faces, np.array([1, 3, 1, 2]), True)
    assert engine.calls == [("body-01-01", 4), ("body-02-02", 2), ("body-03-03", 1)]
    engine.calls.clear()
    ways["leave"](engine, engine.faces, np.array([1, 2, 1, 2]), False)
    assert engine.calls == [("body-01-01", 4), ("body-02-02", 4)]
