"""edge-fiqa calibrate and build with a model that reads causes: limits, and records that obey them."""

import json
import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_fiqa import Scorer
from edge_fiqa.build.builder import build_bundle
from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.cli import main
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import open_engine
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces
from edge_fiqa.reasons.limits import fit_limits
from tests.causes import NAMES, limits_of, logits_of, write

PERSONS = 100


@pytest.fixture(scope="module")
def faces():
    return synthetic_faces(2 * PERSONS, seed=8)


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory):
    """Two faces of each of 100 persons, one folder a person."""
    folder = tmp_path_factory.mktemp("persons")
    for number, face in enumerate(faces):
        place = folder / f"p{number // 2:03}"
        place.mkdir(exist_ok=True)
        Image.fromarray(face).save(place / f"{number % 2}.png")
    return folder


@pytest.fixture(scope="module")
def made(cause_bundle, folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "calibration.json"
    flags = ["--bundle", str(cause_bundle.folder), "--gate", "40", "--risk", "0.2"]
    assert main(["calibrate", str(folder), "-o", str(path), *flags]) == 0
    return path


@pytest.fixture(scope="module")
def limits(made):
    return load_calibration(made).causes


def test_limits_are_from_the_logits_of_these_faces(limits, tiny_causes, cause_bundle, faces):
    """As the definition gives them from the float network."""
    with open_engine(cause_bundle, "ov") as engine:
        quality = fuse(all_exits(engine, faces), 4, "FW")
    expected = fit_limits(
        logits_of(tiny_causes, faces),
        quality,
        [f"p{number // 2:03}" for number in range(len(faces))],
        names=NAMES,
        exits=(1, 2, 3, 4),
        heads=tiny_causes.causes.sha256,
    )
    assert (limits.names, limits.exits, limits.heads) == (NAMES, (1, 2, 3, 4), expected.heads)
    assert limits.faces == expected.faces
    np.testing.assert_allclose(np.array(limits.limits), np.array(expected.limits), atol=2e-3)


@pytest.mark.parametrize("depth", [2, 4])
def test_records_report_what_is_above_the_limit_of_their_exit(
    depth, made, limits, tiny_causes, cause_bundle, tmp_path
):
    others = synthetic_faces(40, seed=77)
    for number, face in enumerate(others):
        (tmp_path / "faces").mkdir(exist_ok=True)
        Image.fromarray(face).save(tmp_path / f"faces/{number:02}.png")
    every = logits_of(tiny_causes, others)
    low = tuple(tuple(map(float, row)) for row in np.quantile(every, 0.7, axis=0))
    # Of strange faces few are above the real limits.
    limits = limits_of(NAMES, limits.exits, low, limits.heads)
    calibration, output = tmp_path / "low.json", tmp_path / "scores.ndjson"
    msgspec.structs.replace(load_calibration(made), causes=limits).save(calibration)
    flags = ["--bundle", str(cause_bundle.folder), "--calibration", str(calibration)]
    flags += ["--aligned", "--exit", str(depth), "-o", str(output)]
    assert main(["score", str(tmp_path / "faces"), *flags]) == 0
    logits = every[:, depth - 1]
    above = logits - np.array(low[depth - 1])
    records = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(records) == len(others)
    assert 0 < (above > 0).sum() < above.size
    for record, face_logits, over in zip(records, logits, above, strict=True):
        reasons = record["reasons"]
        certain = [NAMES[row] for row in np.argsort(-over) if over[row] > 0]
        assert [each["cause"] for each in reasons["reported"]] == certain
        strengths = 1 / (1 + np.exp(-face_logits.astype(np.float64)))
        for name, strength in zip(NAMES, strengths, strict=True):
            assert abs(reasons["values"][name] - 100 * (1 - strength)) < 0.51


def test_a_bundle_that_is_built_on_faces_has_limits(cause_checkpoint, face_set, tmp_path, capsys):
    built = build_bundle(cause_checkpoint, tmp_path / "b", BuildRecipe(), faces=face_set)
    limits = built.calibration.causes
    assert (limits.names, limits.exits) == (NAMES, (1, 2, 3, 4))
    assert limits.heads == built.manifest.cause_heads
    assert 100 <= limits.faces <= 200
    assert limits.reporting == (1, 2, 3, 4)
    assert main(["info", str(built.folder)]) == 0
    said = re.search(
        r"3 causes; at most 5 % of faces of quality (\d+) or more get any", capsys.readouterr().out
    )
    with Scorer.open(built.folder) as scorer:
        quality = [record.quality.scalar for record in scorer.score(face_set.crops)]
    assert abs(int(said[1]) - np.median(quality)) <= 1  # the better half of its own faces


@pytest.fixture
def built_with(tiny_causes, face_set, tmp_path):
    """A function that builds a bundle whose heads were so often right at each exit."""

    def build(*right):
        heads = replace(tiny_causes.causes, right=right)
        checkpoint = write(replace(tiny_causes, causes=heads), tmp_path / "c.safetensors")
        return build_bundle(checkpoint, tmp_path / "b", BuildRecipe(), faces=face_set)

    return build


def test_exits_that_are_seldom_right_report_nothing_and_info_says_which(built_with, capsys):
    built = built_with(0.3, 0.5, 0.8, 0.9)
    assert built.calibration.causes.reporting == (3, 4)
    assert main(["info", str(built.folder)]) == 0
    assert "or more get any; none at exits 1, 2" in capsys.readouterr().out


def test_rejected_faces_get_their_reasons_under_the_gate_policy(built_with, face_set):
    built = built_with(0.3, 0.5, 0.8, 0.9)
    with Scorer.open(built.folder, gate=50) as scorer:
        records = scorer.score(face_set.crops, scorer.gate_policy(0.05))
    depths = {taken: set() for taken in (True, False)}
    for record in records:
        depths[record.decision.accepted].add(record.exit.depth)
    assert depths == {True: {1, 2, 3, 4}, False: {3, 4}}


def test_without_heads_no_face_goes_on_for_the_sake_of_reasons(bundle):
    causes = limits_of(NAMES, (1, 2, 3, 4), (None, None, None, (1.0,) * 3))
    calibration = msgspec.structs.replace(bundle.calibration, causes=causes)
    with Scorer.open(bundle.folder, gate=50, calibration=calibration) as scorer:
        assert scorer.gate_policy().reasons_at == ()


def test_heads_that_are_right_nowhere_are_no_fault_of_the_faces(built_with, capsys):
    built = built_with(0.3, 0.4, 0.4, 0.45)
    assert built.calibration.causes.reporting == ()
    assert main(["info", str(built.folder)]) == 0
    assert "at no exit is what the model's cause heads say right often enough" in (
        capsys.readouterr().out
    )


def test_too_few_persons_give_values_and_a_warning(cause_bundle, faces, tmp_path, capsys):
    for number, face in enumerate(faces[:110]):
        place = tmp_path / f"faces/p{number % 30}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place / f"{number}.png")
    path = tmp_path / "c.json"
    flags = ["--bundle", str(cause_bundle.folder), "--gate", "40", "--risk", "0.2"]
    main(["calibrate", str(tmp_path / "faces"), "-o", str(path), *flags])
    assert "no cause of low quality will be reported: that needs 39 persons" in (
        capsys.readouterr().err
    )
    assert load_calibration(path).causes.limits == (None,) * 4


def test_a_bundle_without_heads_gets_no_limits(bundle, folder, tmp_path, capsys):
    path = tmp_path / "c.json"
    flags = ["--bundle", str(bundle.folder), "--gate", "40", "--risk", "0.2"]
    main(["calibrate", str(folder), "-o", str(path), "--backend", "ov", *flags])
    assert load_calibration(path).causes is None
    main(["info", str(bundle.folder)])
    assert "no heads that read causes" in capsys.readouterr().out


def test_a_kept_calibration_with_limits_for_other_heads_is_refused(
    cause_bundle, made, folder, tmp_path, capsys
):
    """The network is the same, and so is its fingerprint."""
    other, output = tmp_path / "other.json", tmp_path / "o.json"
    calibration = load_calibration(made)
    limits = msgspec.structs.replace(calibration.causes, heads="0" * 64)
    msgspec.structs.replace(calibration, causes=limits).save(other)
    flags = ["--bundle", str(cause_bundle.folder), "--keep", str(other), "-o", str(output)]
    assert main(["calibrate", str(folder), *flags]) == 2
    assert "other cause heads" in capsys.readouterr().err
    assert not output.exists()


def test_a_build_with_limits_for_other_heads_is_refused_before_it_writes(
    cause_checkpoint, bundle, tmp_path
):
    limits = limits_of(NAMES, bundle.calibration.exits, ((0.0,) * 3,) * 4)
    calibration = msgspec.structs.replace(bundle.calibration, causes=limits)
    with pytest.raises(ConfigError, match="other cause heads"):
        build_bundle(cause_checkpoint, tmp_path / "b", BuildRecipe(), calibration=calibration)
    assert not (tmp_path / "b").exists()


def test_a_build_with_a_calibration_without_limits_says_so(
    cause_checkpoint, bundle, tmp_path, capsys
):
    old = tmp_path / "old.json"
    bundle.calibration.save(old)
    arguments = ["build", str(cause_checkpoint), "-o", str(tmp_path / "b")]
    assert main([*arguments, "--calibration", str(old)]) == 0
    assert "no reasons will be given" in capsys.readouterr().err
