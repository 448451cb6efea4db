"""edge-fiqa gate --was: gates of the model before, from two calibrations of the same faces."""

import json

import msgspec
import numpy as np
import pytest

from edge_fiqa.calibration.gate_table import GateTable, kind_of_use
from edge_fiqa.cli import main

PERSONS = [str(number) for number in range(1000)]
QUALITY = np.random.default_rng(0).integers(20, 90, 1000)


@pytest.fixture
def written(bundle, tmp_path):
    """A function that writes a calibration whose faces have these qualities."""

    def write(name, quality, use="door", model="model"):
        table = GateTable("FW", (kind_of_use(quality, PERSONS, name=use, images="faces"),))
        calibration = msgspec.structs.replace(bundle.calibration, model=model, gate_table=table)
        calibration.save(tmp_path / name)
        return str(tmp_path / name)

    return write


def test_a_gate_of_the_model_before_becomes_one_that_as_many_faces_pass(written, capsys):
    old, new = (
        written("old.json", QUALITY, model="old"),
        written("new.json", QUALITY + 7, model="new"),
    )
    share = f"{100 * (QUALITY >= 45).mean():.1f} %"
    assert main(["gate", "45", "--calibration", new, "--was", old]) == 0
    title, line = capsys.readouterr().out.splitlines()
    assert "gates of old (calibration " in title
    assert "those of new (" in title
    assert line == f"door: gate 45 passed {share} of the faces; gate 52 passes {share}"
    main(["gate", "45", "--calibration", new, "--was", old, "--format", "json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["use"], row["was"], row["gate"]) == ("door", 45, 52)
    assert row["passed"] == row["passing"]
    main(["gate", "--calibration", new, "--was", old, "--format", "markdown"])
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(int(before), int(now)) for before, now in rows] == [
        (10, 10), (20, 20), *((gate, gate + 7) for gate in range(30, 100, 10)),
    ]  # fmt: skip


def test_where_no_gate_passes_nearly_as_many_it_is_said(written, capsys):
    old, new = written("old.json", QUALITY), written("new.json", np.repeat([20, 80], 500))
    main(["gate", "30", "--calibration", new, "--was", old])
    assert "no gate is nearer" in capsys.readouterr().out
    main(["gate", "30", "--calibration", new, "--was", old, "--format", "json"])
    assert json.loads(capsys.readouterr().out)[0]["gate"] is None
    main(["gate", "30", "--calibration", new, "--was", old, "--format", "markdown"])
    assert capsys.readouterr().out.splitlines()[-1] == "| 30 | NA |"


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["45"], "on other faces"), (["--accept", "0.9"], "without --accept and --fnmr")],
)
def test_gates_of_other_faces_and_contradictions_are_refused(written, capsys, flags, message):
    old, new = written("old.json", QUALITY), written("new.json", QUALITY, use="street")
    assert main(["gate", *flags, "--calibration", new, "--was", old]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_a_calibration_without_a_table_says_how_to_get_one(written, bundle, tmp_path, capsys):
    bare = tmp_path / "bare.json"
    msgspec.structs.replace(bundle.calibration, gate_table=None).save(bare)
    assert main(["gate", "--calibration", written("new.json", QUALITY), "--was", str(bare)]) == 2
    assert "does not say what its gates mean" in capsys.readouterr().err
