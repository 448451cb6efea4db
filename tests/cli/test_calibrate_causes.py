"""edge-fiqa calibrate and build with a model that reads causes: limits, and records that obey them."""

import json

import numpy as np
import pytest
from PIL import Image

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.cli import main
from edge_fiqa.config import BuildRecipe
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.causes import NAMES, logits_of

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


def by_definition(weights, faces):
    """(E, D): of three causes and 5 %, the 100th of 100 sorted logits of the persons' first faces."""
    return logits_of(weights, faces[::2]).max(0)


def test_limits_are_those_of_the_persons_first_faces(made, tiny_causes, faces):
    limits = load_calibration(made).causes
    assert (limits.names, limits.exits, limits.faces) == (NAMES, (1, 2, 3, 4), PERSONS)
    expected = by_definition(tiny_causes, faces)
    np.testing.assert_allclose(np.array(limits.limits), expected, atol=2e-4)


@pytest.mark.parametrize("depth", [2, 4])
def test_records_report_what_is_above_the_limit_of_their_exit(
    depth, made, tiny_causes, cause_bundle, faces, folder, tmp_path, capsys
):
    others = synthetic_faces(40, seed=77)
    for number, face in enumerate(others):
        (tmp_path / "faces").mkdir(exist_ok=True)
        Image.fromarray(face).save(tmp_path / f"faces/{number:02}.png")
    output = tmp_path / "scores.ndjson"
    flags = ["--bundle", str(cause_bundle.folder), "--calibration", str(made), "-o", str(output)]
    assert main(["score", str(tmp_path / "faces"), "--aligned", "--exit", str(depth), *flags]) == 0
    logits = logits_of(tiny_causes, others)[:, depth - 1]
    above = logits - by_definition(tiny_causes, faces)[depth - 1]
    records = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len(records) == len(others)
    assert (above > 0).any()  # else nothing is tested
    for record, face_logits, over in zip(records, logits, above, strict=True):
        reasons = record["reasons"]
        certain = [NAMES[row] for row in np.argsort(-over) if over[row] > 0]
        assert [each["cause"] for each in reasons["reported"]] == certain
        strengths = 1 / (1 + np.exp(-face_logits.astype(np.float64)))
        for name, strength in zip(NAMES, strengths, strict=True):
            assert abs(reasons["values"][name] - 100 * (1 - strength)) < 0.51


def test_a_bundle_that_is_built_on_faces_has_limits(cause_checkpoint, face_set, tmp_path):
    built = build_bundle(cause_checkpoint, tmp_path / "b", BuildRecipe(), faces=face_set)
    limits = built.calibration.causes
    assert (limits.names, limits.exits, limits.faces) == (NAMES, (1, 2, 3, 4), 200)
    assert all(None not in row for row in limits.limits)


def test_too_few_persons_give_values_and_a_warning(cause_bundle, faces, tmp_path, capsys):
    for number, face in enumerate(faces[:110]):
        place = tmp_path / f"faces/p{number % 55}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place / f"{number}.png")
    path = tmp_path / "c.json"
    flags = ["--bundle", str(cause_bundle.folder), "--gate", "40", "--risk", "0.2"]
    main(["calibrate", str(tmp_path / "faces"), "-o", str(path), *flags])
    assert "no cause of low quality will be reported: that needs 59 persons" in (
        capsys.readouterr().err
    )
    assert load_calibration(path).causes.limits == ((None,) * 3,) * 4


def test_a_bundle_without_heads_gets_no_limits(bundle, folder, tmp_path):
    path = tmp_path / "c.json"
    flags = ["--bundle", str(bundle.folder), "--gate", "40", "--risk", "0.2"]
    main(["calibrate", str(folder), "-o", str(path), "--backend", "ov", *flags])
    assert load_calibration(path).causes is None
