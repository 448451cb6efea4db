"""edge-fiqa score --crops, --sort, --top, --per-person."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_fiqa.cli import main
from edge_fiqa.faces.crop_file import read_crop_record
from edge_fiqa.faces.images import decode
from edge_fiqa.measurement.all_exits import synthetic_faces


@pytest.fixture
def persons(tmp_path):
    """Three faces of each of two persons, and a picture that is none."""
    for number, face in enumerate(synthetic_faces(6, seed=3)):
        place = tmp_path / f"persons/p{number // 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place / f"{number}.png")
    Image.fromarray(np.zeros((40, 90, 3), np.uint8)).save(tmp_path / "persons/p0/wide.png")
    return tmp_path / "persons"


@pytest.fixture
def score(bundle, capsys):
    def run(*arguments):
        flags = ["--bundle", str(bundle.folder), "--backend", "ov", "--aligned"]
        try:
            status = main(["score", *flags, *map(str, arguments)])
        except SystemExit as exc:
            status = exc.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


def records_of(text):
    return [json.loads(line) for line in text.splitlines()]


def crops_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_face_becomes_a_file_that_holds_its_pixels_and_its_record(score, persons, tmp_path):
    crops = tmp_path / "kept/crops"
    status, out, err = score(persons, "--crops", crops, "--format", "ndjson")
    assert status == 1  # one is no face
    assert f"6 crops written to {crops}" in err
    by_source = {record["source"]: record for record in records_of(out)}
    kept = {read_crop_record(path).source: path for path in crops.iterdir()}
    assert len(by_source) == 7
    assert set(kept) == {source for source, r in by_source.items() if r["quality"]["code"] == "ok"}
    for source, path in kept.items():
        assert np.array_equal(decode(path), decode(source))
        assert read_crop_record(path).quality.raw == by_source[source]["quality"]["raw"]
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert crops.stat().st_mode & 0o777 == 0o700


def test_nothing_is_kept_unless_asked(score, persons, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    score(persons)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_second_run_writes_what_is_missing_and_replaces_nothing(score, persons, tmp_path):
    crops = tmp_path / "crops"
    score(persons, "--crops", crops)
    before = crops_in(crops)
    (crops / min(before)).unlink()
    _, _, err = score(persons, "--crops", crops)
    assert f"1 crop written to {crops}, 5 there already" in err
    assert set(crops_in(crops)) == set(before)
    assert "warning" not in err


def test_a_picture_that_changed_keeps_its_old_crop_and_is_named(score, persons, tmp_path):
    crops = tmp_path / "crops"
    score(persons, "--crops", crops)
    before = crops_in(crops)
    Image.fromarray(synthetic_faces(1, seed=77)[0]).save(persons / "p0/0.png")
    _, _, err = score(persons, "--crops", crops)
    assert crops_in(crops) == before
    assert "warning: 1 file in" in err
    assert "give a new --crops folder" in err


@pytest.mark.parametrize("how", [["--top", "6"], ["--per-person", "9"], []])
def test_another_picture_of_the_same_name_is_not_there_already(
    score, persons, tmp_path, monkeypatch, how
):
    crops, other = tmp_path / "crops", tmp_path / "other/p0"
    monkeypatch.chdir(persons / "p0")
    score("0.png", "--crops", crops)
    before = crops_in(crops)
    other.mkdir(parents=True)
    Image.fromarray(synthetic_faces(1, seed=77)[0]).save(other / "0.png")
    monkeypatch.chdir(other)
    _, _, err = score("0.png", "--crops", crops, *how)
    assert crops_in(crops) == before
    assert "warning: 1 file in" in err


@pytest.mark.parametrize("how", [["--top", "6"], []])
def test_a_record_of_another_depth_is_not_there_already(score, persons, tmp_path, how):
    crops = tmp_path / "crops"
    score(persons, "--exit", "2", "--crops", crops)
    _, _, err = score(persons, "--crops", crops, *how)
    assert "0 crops written" in err
    assert "warning: 6 files in" in err


def test_resuming_an_output_completes_its_crops(score, persons, tmp_path):
    """The records were there before crops were asked for; nothing is scored or written twice."""
    output, crops = tmp_path / "all.ndjson", tmp_path / "crops"
    score(persons, "--output", output)
    before = output.read_bytes()
    _, _, err = score(persons, "--output", output, "--crops", crops)
    assert f"6 crops written to {crops}" in err
    assert {line for line in output.read_bytes().splitlines() if b'"ok"' in line} == {
        line for line in before.splitlines() if b'"ok"' in line
    }
    assert len(records_of(output.read_text())) == 7
    scalars = {r["id"]: r["quality"]["scalar"] for r in records_of(output.read_text())}
    for path in crops.iterdir():
        kept = read_crop_record(path)
        assert kept.quality.scalar == scalars[kept.id]
    _, _, err = score(persons, "--output", output, "--crops", crops)
    assert "0 crops written" in err
    assert "6 there already" in err


def test_sorted_the_best_comes_first(score, persons):
    plain = records_of(score(persons, "--format", "ndjson")[1])
    ordered = records_of(score(persons, "--format", "ndjson", "--sort", "quality")[1])
    qualities = [record["quality"]["scalar"] for record in ordered]
    assert sorted(r["id"] for r in plain) == sorted(r["id"] for r in ordered)
    assert qualities[:-1] == sorted(qualities[:-1], reverse=True)
    assert qualities[-1] is None


def test_only_the_best_of_each_person_are_shown_and_cropped(score, persons, tmp_path):
    crops = tmp_path / "crops"
    plain = [
        r
        for r in records_of(score(persons, "--format", "ndjson")[1])
        if r["quality"]["code"] == "ok"
    ]
    best = {}
    for record in sorted(plain, key=lambda r: (r["quality"]["scalar"], r["quality"]["raw"])):
        best[Path(record["source"]).parent] = record["id"]
    flags = ("--format", "ndjson", "--per-person", "1", "--crops", crops)
    _, out, err = score(persons, *flags)
    assert {record["id"] for record in records_of(out)} == set(best.values())
    assert {read_crop_record(path).id for path in crops.iterdir()} == set(best.values())
    assert f"2 crops written to {crops}" in err


def test_an_output_keeps_all_and_the_top_is_shown(score, persons, tmp_path):
    output = tmp_path / "all.ndjson"
    for _ in range(2):  # the second finds all of them there
        _, out, _ = score(persons, "--output", output, "--top", "2")
        assert len(out.splitlines()) == 3  # a header and two faces
        assert len(records_of(output.read_text())) == 7
    best = sorted(
        (r for r in records_of(output.read_text()) if r["quality"]["code"] == "ok"),
        key=lambda r: r["quality"]["raw"],
    )[-2:]
    assert all(record["id"] in out for record in best)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--crops", "{persons}/crops"], "the next run would score the crops"),
        (["--crops", "{file}"], "cannot hold crops"),
        (["--crops", "{new}", "--output", "{new}.csv"], "name it FILE.ndjson"),
        (["--top", "3", "--output", "{new}.ndjson", "--format", "csv"], "name it FILE.ndjson"),
        (["--top", "0"], "--top must be"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_scored(score, persons, tmp_path, flags, message):
    places = {"persons": persons, "file": tmp_path / "file", "new": tmp_path / "new"}
    places["file"].touch()
    before = sorted(tmp_path.rglob("*"))
    status, out, err = score(persons, *(flag.format(**places) for flag in flags))
    assert (status, out) == (2, "")
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before
