"""edge-fiqa calibrate: from a folder of faces to a file that scoring obeys."""

import csv
import json
import re

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.cli import main
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.policies.policy import Fixed
from tests.distributed.sets import scored


@pytest.fixture(scope="module")
def persons(tmp_path_factory):
    """Two faces of each of 160 persons, one folder a person."""
    folder = tmp_path_factory.mktemp("persons")
    for number, face in enumerate(synthetic_faces(320, seed=8)):
        place = folder / f"p{number // 2:03}"
        place.mkdir(exist_ok=True)
        Image.fromarray(face).save(place / f"{number % 2}.png")
    return folder


@pytest.fixture
def run(bundle, capsys):
    def command(name, *arguments, backend=("--backend", "ov")):
        flags = ["--bundle", str(bundle.folder), *backend]
        try:
            status = main([name, *flags, *map(str, arguments)])
        except SystemExit as exc:
            status = exc.code
        out, err = capsys.readouterr()
        return status, out, err

    return command


@pytest.fixture(scope="module")
def made(bundle, persons, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "calibration.json"
    flags = ["--bundle", str(bundle.folder), "--backend", "ov", "--gate", "40", "--risk", "0.05"]
    assert main(["calibrate", str(persons), "-o", str(path), *flags]) == 0
    return path


def test_the_file_says_what_it_is(made, bundle):
    found = load_calibration(made, bundle.manifest.fingerprint)
    assert (found.faces, found.gate, found.exits) == (320, 40, (1, 2, 3, 4))
    assert [p.risk for p in found.rules["FW"].promises] == [0.05]
    assert found.rules["FW"].promises[0].faces == 192  # whole persons: 96 of 160
    assert sum(found.reference.histogram) == 320


def test_the_report_has_a_line_per_gate(run, persons, tmp_path):
    status, out, err = run("calibrate", persons, "-o", tmp_path / "c.json", "--risk", "0.01")
    assert status == 1
    assert "nothing is promised at any gate (risk 0.01): --policy gate will run every face" in err
    assert "NOT PROMISED: that needs 299 held-out faces" in out
    stops, _, means = out.partition("what a gate means")
    rows = [line.split() for line in stops.splitlines() if line[:6].strip().isdigit()]
    assert [row[0] for row in rows] == ["10", "25", "50", "75", "90"]
    assert "the calibration's own: 320 faces of persons" in means
    assert {row[3] for row in rows} == {"4.00"}  # mean depth: nothing is safe, so nothing stops


def test_two_folders_of_many_faces_promise_nothing(run, tmp_path):
    """A folder a camera: what flips together there cannot be told from one folder held out."""
    for number, face in enumerate(synthetic_faces(400, seed=9)):
        place = tmp_path / f"faces/camera{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place / f"{number}.png")
    flags = ("-o", tmp_path / "c.json", "--risk", "0.05")
    status, out, err = run("calibrate", tmp_path / "faces", *flags)
    assert status == 1
    assert "nothing is promised at any gate" in err
    assert "NOT PROMISED: these faces are of too few persons (folders); give more" in out
    promise = load_calibration(tmp_path / "c.json").rules["FW"].promises[0]
    assert set(promise.gates) == {promise.all_gates} == {None}


def test_faces_that_are_all_alike_calibrate_nothing(run, tmp_path):
    folder = tmp_path / "grey"
    folder.mkdir()
    for number in range(120):
        Image.new("RGB", (112, 112), (128, 128, 128)).save(folder / f"{number}.png")
    status, _, err = run("calibrate", folder, "-o", tmp_path / "c.json", "--risk", "0.05")
    assert status == 1
    assert "the scores of all 120 faces are the same" in err


def test_copies_under_other_names_are_found(run, tmp_path):
    """Each of 160 faces four times: as 640 persons they would promise what 160 cannot."""
    folder = tmp_path / "copies"
    folder.mkdir()
    for number, face in enumerate(synthetic_faces(160, seed=8)):
        for copy in range(4):
            Image.fromarray(face).save(folder / f"{number}-{copy}.png")
    _, _, err = run("calibrate", folder, "-o", tmp_path / "c.json", "--risk", "0.05")
    assert "warning: 480 of 640 faces are copies" in err


def test_scoring_under_the_gate(run, made, persons):
    flags = ("--calibration", made, "--format", "ndjson", "--policy", "gate", "--audit", "0")
    status, out, _ = run("score", persons, *flags)
    assert status == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert len(records) == 320
    assert {r["exit"]["reason"] for r in records} == {"gate", "full"}
    assert {(r["decision"]["gate"], r["decision"]["risk"]) for r in records} == {(40, 0.05)}
    for record in records:
        assert record["decision"]["accepted"] == (record["quality"]["scalar"] >= 40)
        low, high = record["quality"]["interval"]
        assert low <= record["quality"]["scalar"] <= high
        assert record["quality"]["calibration"].startswith("sigmoid:")
    _, full, _ = run("score", persons, "--calibration", made, "--format", "ndjson")
    decisions = [json.loads(line)["decision"]["accepted"] for line in full.splitlines()]
    flips = [r["decision"]["accepted"] != d for r, d in zip(records, decisions, strict=True)]
    assert np.mean(flips) <= 0.05


def test_audits_show_in_the_records(run, made, persons):
    flags = ("--calibration", made, "--format", "ndjson", "--policy", "gate", "--audit", "0.5")
    _, out, _ = run("score", persons, *flags)
    reasons = [json.loads(line)["exit"]["reason"] for line in out.splitlines()]
    assert 100 < reasons.count("audit") < 220


def test_a_gate_from_a_reject_rate(run, persons, tmp_path):
    status, _, _ = run("calibrate", persons, "-o", tmp_path / "c.json", "--reject-rate", "0.2")
    assert status == 0
    gate = load_calibration(tmp_path / "c.json").gate
    _, out, _ = run("score", persons, "--calibration", tmp_path / "c.json", "--format", "ndjson")
    accepted = [json.loads(line)["decision"]["accepted"] for line in out.splitlines()]
    assert 0.1 < 1 - np.mean(accepted) <= 0.2
    assert 0 < gate < 50


NOT_ALIGNED = "edge-fiqa calibrate: warning: {} of {} faces do not look like aligned crops\n"
"""The faces of these tests are coloured noise."""


def test_a_gate_from_pairs_and_a_recogniser(run, persons, tmp_path, recogniser_file):
    """The recogniser sees mean colour: mated pairs of these persons match by chance."""
    pairs, rng = tmp_path / "pairs.csv", np.random.default_rng(0)
    with pairs.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path_a", "path_b", "same"])
        for number in range(160):
            writer.writerow([f"p{number:03}/0.png", f"p{number:03}/1.png", 1])
        for a, b in rng.integers(0, 160, (400, 2)):
            writer.writerow([f"p{a:03}/0.png", f"p{b:03}/1.png", 0])
    flags = ("--pairs", pairs, "--recogniser", recogniser_file, "--fmr", "0.9")
    output = tmp_path / "c.json"
    status, out, err = run("calibrate", persons, "-o", output, "--fnmr", "0.2", *flags)
    assert status == 0
    assert re.fullmatch(NOT_ALIGNED.format(r"\d+", 320), err)
    assert "<- stored" in out
    status, _, err = run("calibrate", persons, "-o", output, "--fnmr", "0", *flags)
    assert status == 2
    assert "no gate brings the FNMR to 0 and keeps it there: the best of 160 pairs" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gate", "40", "--reject-rate", "0.1"], "give one"),
        (["--fnmr", "0.1"], "go together"),
        (["--x0", "1"], "--x0 and --w go together"),
        (["--gate", "101"], "0 to 100"),
        (["--risk", "2"], "between 0 and 1"),
        (["--limit", "50"], "at least 100 faces, found 50"),
        (["--fusion", "1,2"], "2 weights"),
        (["--seed", "-1"], "--seed must not be negative"),
        (["--fmr", "0.1"], "--fmr is about --pairs and --recogniser, which are not given"),
        (["--scores", "set"], "--backend computes nothing beside --scores"),
        (["-o", "/nowhere/c.json"], "/nowhere/c.json cannot be written"),
    ],
)
def test_what_cannot_be_done(run, persons, tmp_path, flags, message):
    status, _, err = run("calibrate", persons, "-o", tmp_path / "c.json", *flags)
    assert status == 2
    *warnings, mistake = err.splitlines()
    assert message in mistake
    assert all(re.fullmatch(NOT_ALIGNED.strip().format(r"\d+", r"\d+"), w) for w in warnings)
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize("faces", ["-", "nowhere"])
def test_faces_that_are_no_folder_are_refused(run, tmp_path, faces):
    status, _, err = run("calibrate", faces, "-o", tmp_path / "c.json")
    assert (status, err) == (2, f"edge-fiqa calibrate: {faces} is not a folder of faces\n")


def test_a_calibration_of_another_model_is_refused(run, made, persons, tmp_path):
    found = msgspec.structs.replace(load_calibration(made), fingerprint="sha256:other")
    found.save(tmp_path / "c.json")
    status, _, err = run("score", persons, "--calibration", tmp_path / "c.json")
    assert status == 2
    assert "was made for another model" in err


def test_pasted_parameters_and_the_other_form(run, persons, tmp_path):
    output = tmp_path / "c.json"
    run("calibrate", persons, "-o", output, "--x0", "0.5", "--w", "0.1")
    scale = load_calibration(output).rules["F"].scale
    assert (scale.x0, scale.w) == (0.5, 0.1)
    run("calibrate", persons, "-o", output, "--scale", "quantile", "--fusion", "1,1,1,3")
    (rule,) = load_calibration(output).rules.items()
    assert rule[0] == "1,1,1,3"
    flags = ("--calibration", output, "--fusion", "1,1,1,3", "--format", "ndjson")
    _, out, _ = run("score", persons, *flags)
    quality = [json.loads(line)["quality"] for line in out.splitlines()]
    assert quality[0]["calibration"].startswith("quantile:")
    assert np.mean([q["scalar"] < 50 for q in quality]) == pytest.approx(0.5, abs=0.02)


def test_wrong_colours_are_said_after_scoring(run, made, persons, tmp_path):
    """Synthetic noise has no skin; a reference with some makes grey noise suspicious."""
    found = load_calibration(made)
    cues = {**found.reference.cues}
    cues["saturation"] = msgspec.structs.replace(cues["saturation"], mean=9.0)
    reference = msgspec.structs.replace(found.reference, cues=cues)
    msgspec.structs.replace(found, reference=reference).save(tmp_path / "c.json")
    status, _, err = run("score", persons, "--calibration", tmp_path / "c.json", "--format", "csv")
    assert status == 0
    assert "warning: faces have" in err


def test_scores_from_a_parquet_set_give_the_same_calibration(run, made, persons, bundle, tmp_path):
    scored([persons], tmp_path / "set", bundle, per_file=100)
    flags = ["--gate", 40, "--risk", 0.05, "--scores", tmp_path / "set"]
    assert run("calibrate", persons, "-o", tmp_path / "c.json", *flags, backend=())[0] == 0
    assert load_calibration(tmp_path / "c.json") == load_calibration(made)
    early = scored([persons], tmp_path / "early", bundle, per_file=400, policies=(Fixed(2),))
    assert early[0].pictures == 320
    flags[-1] = tmp_path / "early"
    status, _, err = run("calibrate", persons, "-o", tmp_path / "d.json", *flags, backend=())
    assert status == 2
    assert "stopped after exit 2; score the set to full depth, with --all-exits" in err


def test_an_engine_has_nothing_to_do_beside_stored_scores(run, persons, tmp_path):
    flags = ("-o", tmp_path / "c.json", "--scores", tmp_path / "set", "--threads", 2)
    status, out, err = run("calibrate", persons, *flags, backend=())
    assert (status, out) == (2, "")
    assert err == "edge-fiqa calibrate: --threads computes nothing beside --scores\n"


def test_a_kept_calibration_takes_nothing_of_a_fit_and_no_faces_for_nothing(
    run, made, persons, tmp_path
):
    recipe, output = tmp_path / "recipe.yaml", tmp_path / "c.json"
    recipe.write_text("confidence: 0.9\ngate: 50\n", encoding="utf-8")
    keep = ("--keep", made, "-o", output)
    for flags, name in ((("--recipe", recipe), "confidence in --recipe"), (("--w", 1), "--w")):
        status, _, err = run("calibrate", persons, *keep, *flags)
        assert (status, err.endswith(f"and no {name}\n")) == (2, True)
    status, _, err = run("calibrate", persons, *keep, "--use", f"door={persons}")
    assert status == 2
    assert f"FACES, {persons}, does nothing beside --keep and --use" in err
    assert not output.exists()
    recipe.write_text("gate: 50\n", encoding="utf-8")
    assert run("calibrate", persons, *keep, "--recipe", recipe)[0] == 0
    assert load_calibration(output).gate == 50
