"""edge-fiqa gate, from files that edge-fiqa calibrate wrote."""

import csv
import json
import shutil

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import FILE, load_calibration
from edge_fiqa.cli import main
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.scoring.scorer import Scorer


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """Two faces of each of 120 persons, below two folders; those of the street are dark."""
    folder = tmp_path_factory.mktemp("faces")
    for number, face in enumerate(synthetic_faces(240, seed=8)):
        for use, picture in (("door", face), ("street", face // 8)):
            place = folder / use / f"p{number // 2:03}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"{number % 2}.png")
    return folder


@pytest.fixture
def pairs(tmp_path):
    """120 mated pairs, and 700 of two persons."""
    rng = np.random.default_rng(0)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path_a", "path_b", "same"])
        writer.writerows([f"p{n:03}/0.png", f"p{n:03}/1.png", 1] for n in range(120))
        for a, b in rng.integers(0, 120, (700, 2)):
            if a != b:
                writer.writerow([f"p{a:03}/0.png", f"p{b:03}/1.png", 0])
    return tmp_path / "pairs.csv"


@pytest.fixture
def run(bundle, capsys):
    def command(name, *arguments):
        flags = ["--bundle", str(bundle.folder)] if name != "gate" else []
        try:
            status = main([name, *flags, *map(str, arguments)])
        except SystemExit as exc:
            status = exc.code
        out, err = capsys.readouterr()
        return status, out, err

    return command


@pytest.fixture(scope="module")
def calibrated(bundle, door, tmp_path_factory):
    """Of the door's faces; too few for a promise, which the command says with its status."""
    path = tmp_path_factory.mktemp("calibrated") / "c.json"
    flags = ["--bundle", str(bundle.folder), "--gate", "40", "--risk", "0.05", "--fusion", "FW"]
    assert main(["calibrate", str(door / "door"), "-o", str(path), *flags]) in (0, 1)
    return path


def qualities(bundle, folder):
    paths = sorted(folder.rglob("*.png"))
    with Scorer.open(bundle.folder, calibration=load_calibration(folder.parent / FILE)) as scorer:
        return np.array([r.quality.scalar for r in scorer.score(map(str, paths))])


def test_the_shares_are_those_that_scoring_gives(run, bundle, door, calibrated):
    """Counted from records, which know nothing of the table."""
    shutil.copy(calibrated, door / FILE)
    quality = qualities(bundle, door / "door")
    status, out, _ = run("gate", "--calibration", calibrated)
    rows = {int(line.split()[0]): line.split()[1] for line in out.splitlines() if "%" in line[:20]}
    assert status == 0
    assert sorted(rows) == list(range(10, 100, 10))
    assert {g: float(share) for g, share in rows.items()} == {
        g: pytest.approx(100 * (quality >= g).mean(), abs=0.05) for g in rows
    }


def test_kinds_of_use_stand_beside_each_other(run, door, calibrated, tmp_path):
    more = tmp_path / "more.json"
    uses = ("--use", f"door={door / 'door'}", "--use", f"street={door / 'street'}")
    status, out, err = run("calibrate", "--keep", calibrated, *uses, "-o", more)
    assert status == 0, err
    assert "door: 240 faces of door, of 120 persons" in out
    kept, before = load_calibration(more), load_calibration(calibrated)
    assert kept.id == before.id
    assert kept.gate == 40
    assert [use.name for use in kept.gate_table.uses] == ["door", "street"]
    assert kept.gate_table.uses[0].passing == before.gate_table.uses[0].passing
    assert kept.gate_table.uses[1].passing != before.gate_table.uses[0].passing
    status, out, err = run("gate", "--calibration", more, "--use", "street", "50")
    assert out.startswith("gate 50: passed by ")
    assert "street" in out
    assert "door" not in out
    status, out, err = run("gate", "--calibration", more, "--use", "sea")
    assert (status, out) == (2, "")
    assert "--use sea is not one of door, street" in err


def test_a_wanted_share_gives_the_gate(run, calibrated):
    rates = load_calibration(calibrated).gate_table.uses[0].passing.rate
    status, out, _ = run("gate", "--calibration", calibrated, "--accept", "0.9")
    gate = int(out.split()[1])
    assert status == 0
    assert rates[gate] >= 0.9 > rates[gate + 1]
    status, _, err = run("gate", "--calibration", calibrated, "--accept", "95")
    assert status == 2
    assert "a share of faces lies above 0 and up to 1, got 95" in err


def test_a_wanted_error_gives_the_gate(run, door, calibrated, pairs, recogniser_file, tmp_path):
    """The recogniser sees mean colour. Counted again from its embeddings."""
    path = tmp_path / "with_pairs.json"
    flags = ("--pairs", pairs, "--recogniser", recogniser_file, "--fmr", "0.1", "-o", path)
    status, out, err = run("calibrate", door / "door", "--keep", calibrated, *flags)
    assert status == 0, err
    assert "FNMR at FMR 0.1, " in out
    errors = load_calibration(path).gate_table.uses[0].errors
    assert errors.pairs[0] == 120
    assert errors.fnmr.rate[0] == pytest.approx(
        expected_fnmr(door, pairs, recogniser_file), abs=1e-5
    )
    target = max(rate for rate in errors.fnmr.rate if rate is not None)
    status, out, err = run("gate", "--calibration", path, "--fnmr", str(target))
    assert status == 0, err
    assert out.startswith("gate 0 brings the FNMR of the calibration's own pairs to ")
    rates = [-1.0 if rate is None else rate for rate in errors.fnmr.rate]
    last = max(gate for gate, rate in enumerate(rates) if rate == target)
    if (rest := max(rates[last + 1 :], default=-1.0)) >= 0:
        _, out, _ = run("gate", "--calibration", path, "--fnmr", str(rest))
        assert out.startswith(f"gate {last + 1} brings")
        assert "not certain" in out  # the interval reaches above the target
    status, _, err = run("gate", "--calibration", path, "--fnmr", "0")
    assert status == 2
    assert "no gate brings the FNMR to 0 and keeps it there: the best of 120 pairs" in err


def test_a_pair_is_an_enrolled_face_and_one_of_the_kind_that_is_judged(
    run, door, calibrated, pairs, recogniser_file, tmp_path
):
    """The second face of each twin is a copy of the door's first, so every mated pair matches."""
    for person in (door / "door").iterdir():
        (tmp_path / "twins" / person.name).mkdir(parents=True)
        shutil.copy(person / "0.png", tmp_path / "twins" / person.name / "1.png")
    path = tmp_path / "two.json"
    uses = ("--use", f"door={door / 'door'}", "--use", f"twins={tmp_path / 'twins'}")
    flags = ("--pairs", pairs, "--recogniser", recogniser_file, "--fmr", "0.1", "-o", path)
    status, _, err = run("calibrate", "--keep", calibrated, *uses, *flags)
    assert status == 0, err
    errors = {use.name: use.errors for use in load_calibration(path).gate_table.uses}
    expected = expected_fnmr(door, pairs, recogniser_file)
    assert errors["door"].fnmr.rate[0] == pytest.approx(expected, abs=1e-5)
    assert expected > 0.5
    assert errors["twins"].fnmr.rate[0] == 0
    assert errors["twins"].pairs[0] == 120


def expected_fnmr(door, pairs, recogniser_file):
    recogniser, similarity = Recogniser(path=recogniser_file), {0: [], 1: []}
    with pairs.open() as file:
        for row in csv.DictReader(file):
            crops = [np.array(Image.open(door / "door" / row[k])) for k in ("path_a", "path_b")]
            a, b = recogniser.embed(np.stack(crops))
            similarity[int(row["same"])].append(float(a @ b))
    impostors = np.sort(similarity[0])[::-1]
    threshold = impostors[int(0.1 * len(impostors))]  # a tenth lies above
    return np.mean(np.array(similarity[1]) <= threshold)


def test_what_a_file_does_not_know_is_said_with_the_remedy(run, calibrated, tmp_path):
    old = tmp_path / "old.json"
    msgspec.structs.replace(load_calibration(calibrated), gate_table=None).save(old)
    status, out, err = run("gate", "--calibration", old)
    assert (status, out) == (2, "")
    assert "does not say what its gates mean" in err
    assert "edge-fiqa calibrate FACES --keep FILE -o FILE" in err
    status, _, err = run("gate", "--calibration", calibrated, "--fnmr", "0.01")
    assert status == 2
    assert "no pairs of own faces are known" in err
    status, _, err = run("gate", "--calibration", calibrated, "101")
    assert status == 2
    assert "0 to 100" in err


def test_json_holds_every_gate(run, calibrated):
    status, out, _ = run("gate", "--calibration", calibrated, "--format", "json")
    assert status == 0
    assert len(json.loads(out)["uses"][0]["passing"]["rate"]) == 101
    passing = load_calibration(calibrated).gate_table.uses[0].passing
    status, out, _ = run("gate", "--calibration", calibrated, "--accept", "0.9", "--format", "json")
    (answer,) = json.loads(out)
    gate = answer["gate"]
    assert answer["passing"] == [passing.rate[gate], passing.low[gate], passing.high[gate]]
    assert (answer["use"], answer["fnmr"]) == ("own", None)


def test_score_says_what_its_gate_means_below_the_table(run, door, calibrated):
    face = next((door / "door").rglob("*.png"))
    flags = ("--aligned", "--calibration", calibrated)
    _, out, err = run("score", face, *flags)
    line = next(line for line in err.splitlines() if line.startswith("edge-fiqa score: gate 40: "))
    assert "of the calibration's own faces" in line
    assert "gate 40" not in out
    for others in (["--format", "ndjson"], ["--quiet"]):
        assert "passed by" not in run("score", face, *flags, *others)[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give FACES, a folder of aligned crops"),
        (["--keep", "{keep}"], "give FACES, a folder of aligned crops"),
        (["{door}", "--use", "door"], "--use takes NAME=FOLDER"),
        (
            ["{door}", "--use", "a={door}", "--use", "a={door}"],
            "give each kind of use its own name",
        ),
        (["{door}", "--keep", "{keep}", "--risk", "0.1"], "and no --risk"),
        (["{door}", "--pairs", "p.csv"], "--pairs and --recogniser go together"),
    ],
)
def test_contradictions_are_named(run, door, calibrated, tmp_path, flags, message):
    flags = [flag.format(keep=calibrated, door=door / "door") for flag in flags]
    status, _, err = run("calibrate", *flags, "-o", tmp_path / "new.json")
    assert status == 2
    assert message in err
    assert not (tmp_path / "new.json").exists()


def test_a_bundle_gets_the_table_of_its_own_gates(run, bundle, door, calibrated, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundle.folder, copy)
    own = Bundle.open(copy).calibration
    assert own is not None
    status, _, err = run("calibrate", door / "door", "--keep", copy / FILE, "-o", copy)
    assert status == 0, err
    opened = Bundle.open(copy)  # verifies every hash
    assert opened.calibration.gate_table.uses[0].faces == 240
    assert opened.calibration.id == own.id
    before = {path.name for path in bundle.folder.iterdir()}
    assert {path.name for path in copy.iterdir()} == before
    status, _, err = run("calibrate", door / "door", "--keep", calibrated, "-o", copy)
    assert status == 2
    assert "a bundle takes only the meaning of its own calibration's gates" in err
    assert Bundle.open(copy).calibration == opened.calibration


def test_a_kept_file_without_the_usual_fusion_gets_a_table_of_its_own_and_a_word(
    run, bundle, door, tmp_path
):
    only_last, more = tmp_path / "last.json", tmp_path / "more.json"
    flags = ("--risk", "0.05", "--fusion", "last")
    run("calibrate", door / "door", "-o", only_last, *flags)
    status, _, err = run("calibrate", door / "door", "--keep", only_last, "-o", more)
    assert status == 0, err
    assert "has no fusion FW: the table of gates is of last, for --fusion last" in err
    assert load_calibration(more).gate_table.rule == "last"
    assert load_calibration(more).rules == load_calibration(only_last).rules


def test_a_calibration_beside_a_bundle_is_of_its_model(run, bundle, calibrated):
    status, out, err = run("gate", "--calibration", calibrated, "--bundle", bundle.folder, "40")
    assert (status, out.startswith("gate 40: "), err) == (0, True, "")
    status, out, err = run("gate", "--calibration", calibrated, "--bundle", "nano", "40")
    assert (status, out) == (2, "")
    assert "was made for another model" in err
