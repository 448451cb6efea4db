"""edge-fiqa evaluate end to end on synthetic persons, and every way in which it must say no."""

import csv
import json
import shutil

import numpy as np
import pytest

from edge_fiqa.cli import main
from edge_fiqa.evaluation.datasets import open_pairs
from edge_fiqa.evaluation.edc import edc_fixed, threshold_at_fmr
from edge_fiqa.evaluation.recognition import Recogniser
from tests.distributed.sets import by_id, scored


@pytest.fixture
def evaluate(world, write_plan, tmp_path, capsys):
    def run(expect=0, root=world, **changes):
        plan = write_plan(**changes)
        out = tmp_path / "report"
        arguments = [
            str(plan),
            "-o",
            str(out),
            "--root",
            str(root),
            "--cache",
            str(tmp_path / "cache"),
        ]
        assert main(["evaluate", *arguments]) == expect
        said = capsys.readouterr()
        if expect:
            line = said.err.splitlines()[-1]
            assert line.startswith("edge-fiqa evaluate: ")
            assert "Traceback" not in said.err
            assert not out.exists()
            return line
        return json.loads((out / "results.json").read_text(encoding="utf-8")), out, said.out

    return run


def test_a_report_with_every_exit_and_fusion(evaluate, world):
    results, out, said = evaluate()
    qualities = {row["quality"] for row in results["rows"]}
    assert {f"tiny exit {k}" for k in (1, 2, 3, 4)} <= qualities
    assert {f"tiny stop {k}" for k in (1, 2, 3, 4)} <= qualities
    assert {"tiny F", "tiny FW", "tiny 0-100", "light", "sharpness", "embedding norm"} <= qualities
    # The numbers are those of the definition, from similarities computed here.
    pairs = open_pairs(world / "pairs.csv")
    network = Recogniser(path=world / "colour.onnx", mean=(128.0,) * 3, std=(64.0,) * 3)
    crops = np.stack([pairs.faces.crop(row)[0] for row in range(len(pairs.faces))])
    embedding = network.embed(crops)
    similarity = (embedding[pairs.a] * embedding[pairs.b]).sum(axis=1)
    light = crops.mean(axis=(1, 2, 3))
    quality = np.minimum(light[pairs.a], light[pairs.b])
    threshold = threshold_at_fmr(similarity[~pairs.same], 0.05)
    expected = edc_fixed(similarity[pairs.same], quality[pairs.same], threshold)
    row = next(r for r in results["rows"] if r["quality"] == "light" and r["fmr"] == 0.05)
    assert row["pauc"] == pytest.approx(expected.pauc(0.3), abs=2e-4)
    assert row["low"] <= row["pauc"] <= row["high"]
    assert expected.at(0) > 0  # the persons' third pictures do fail
    # What impostors cannot resolve has no number anywhere, and is said.
    assert all(r["fmr"] == 0.05 for r in results["rows"])
    assert any(
        "cannot resolve an FMR of 0.001" in (c["unresolved"] or "") for c in results["cells"]
    )
    assert "not resolved: 7,020 impostor pairs cannot resolve an FMR of 0.001" in said
    rows = list(csv.DictReader((out / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(results["rows"])
    assert results["sets"][0]["identities"] == 40


def test_the_page_needs_nothing_else(evaluate):
    _, out, _ = evaluate(title="A <title> & more")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "A &lt;title&gt; &amp; more" in page
    assert page.count("<svg") >= 3
    for outside in ("<script", "<link", "<img", "@import", "src="):
        assert outside not in page
    assert "prefers-color-scheme: dark" in page
    for name in ("tradeoff", "exits", "edc-colours"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_computed_twice_and_an_interruption_costs_one_chunk(evaluate, tmp_path):
    first, _, _ = evaluate()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert len(kept) == 5  # bundle, recogniser, two baselines, what was readable
    again, _, _ = evaluate()
    assert again["rows"] == first["rows"]
    assert kept == {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.npy")}
    damaged = min(kept)
    damaged.write_bytes(b"\x93NUMPY cut")  # as a full disk may leave it
    repaired, _, _ = evaluate()
    assert repaired["rows"] == first["rows"]


def test_embeddings_and_scores_from_elsewhere(evaluate, world, tmp_path):
    pairs = open_pairs(world / "pairs.csv")
    rng = np.random.default_rng(0)
    person = np.array([int(name.split("/")[1][1:]) for name in pairs.faces.names])
    table = rng.normal(size=(40, 8))[person] + rng.normal(0, 1.0, (len(person), 8))
    order = rng.permutation(len(person))
    np.savez(tmp_path / "e.npz", names=np.array(pairs.faces.names)[order], embeddings=table[order])
    with (tmp_path / "s.csv").open("w", encoding="utf-8") as file:
        file.write("path,score\n")
        file.writelines(f"{name},{n % 29 or ''}\n" for n, name in enumerate(pairs.faces.names))
    results, _, _ = evaluate(
        recognisers=[{"name": "mine", "embeddings": {"colours": str(tmp_path / "e.npz")}}],
        baselines=[
            {"name": "up", "scores": {"colours": str(tmp_path / "s.csv")}},
            {
                "name": "down",
                "scores": {"colours": str(tmp_path / "s.csv")},
                "lower_is_better": True,
            },
        ],
    )
    rows = {r["quality"]: r["pauc"] for r in results["rows"]}
    assert rows["up"] != rows["down"]  # one file, read in two directions
    assert {r["recogniser"] for r in results["rows"]} == {"mine"}


def test_unreadable_faces_are_left_out_and_said(evaluate, world, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(world, root)
    (root / "faces/p00/0.png").write_bytes(b"no picture")
    results, _, _ = evaluate(root=root)
    assert "1 face cannot be read; pairs with them are left out" in results["sets"][0]["notes"]
    assert results["cells"][0]["mated"] == 118


def few(root, name, pairs):
    (root / name).write_text("path_a,path_b,same\n" + "\n".join(pairs), encoding="utf-8")
    return [{"path": name}]


def test_what_cannot_be_evaluated_is_one_line(evaluate, world, tmp_path):
    mated = [f"faces/p{i:02d}/0.png,faces/p{i:02d}/1.png,1" for i in range(40)]
    others = [f"faces/p{i:02d}/0.png,faces/p{i + 1:02d}/1.png,0" for i in range(39)]
    cases = [
        (few(world, "empty.csv", []), "no pairs in it"),
        (few(world, "alone.csv", mated), "40 pairs and none is non-mated"),
        (few(world, "ten.csv", mated[:5] + others[:5]), "5 mated pairs say nothing"),
        (few(world, "short.csv", mated + others), "nothing is resolved: short: 39 impostor pairs"),
        (few(world, "gone.csv", ["x.png,y.png,1"]), "none of its faces is below"),
        ([{"path": "none.bin"}], "none.bin: no such data set"),
    ]
    for data, said in cases:
        assert said in evaluate(2, data=data)


def test_networks_that_do_not_fit_are_one_line(evaluate, world, tmp_path):
    assert "it takes 3x160x160, and is fed 3x112x112; say size" in evaluate(
        2, recognisers=[{"path": "large.onnx"}]
    )
    evaluate(recognisers=[{"path": "large.onnx", "size": 160, "mean": [128.0] * 3}])
    shutil.rmtree(tmp_path / "report")
    assert "no such recogniser" in evaluate(2, recognisers=[{"path": "none.onnx"}])
    (world / "text.onnx").write_text("no model", encoding="utf-8")
    assert "not a readable ONNX model" in evaluate(2, recognisers=[{"path": "text.onnx"}])
    assert "a quality network has one output, this has 3" in evaluate(
        2, baselines=[{"path": "colour.onnx"}]
    )
    assert "is not a bundle" in evaluate(2, bundles=["nowhere"])


def test_missing_embeddings_are_one_line(evaluate, world, tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, names=["faces/p00/0.png"], embeddings=np.ones((1, 4)))
    given = [{"name": "mine", "embeddings": {"colours": str(path)}}]
    assert "no embedding for 119 of 120 faces, such as faces/p00/1.png" in evaluate(
        2, recognisers=given
    )
    np.savez(path, embeddings=np.ones((7, 4)))
    assert "7 embeddings for 120 faces" in evaluate(2, recognisers=given)
    np.savez(path, vectors=np.ones((7, 4)))
    assert "expected an array embeddings" in evaluate(2, recognisers=given)
    path.unlink()
    assert "No such file" in evaluate(2, recognisers=given)
    other = [{"name": "mine", "embeddings": {"LFW": str(path)}}]
    assert "no file for data set colours (there is ['LFW'])" in evaluate(2, recognisers=other)
    (tmp_path / "s.csv").write_text("path,score\nx,high\n", encoding="utf-8")
    scores = [{"name": "theirs", "scores": {"colours": str(tmp_path / "s.csv")}}]
    assert "line 2: 'high' is no number" in evaluate(2, baselines=scores)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": []}, "$.data"),
        ({"limit": 2.0}, "$.limit"),
        ({"fmr": [0.0]}, "$.fmr[0]"),
        ({"colour": "RGB"}, "unknown field `colour`"),
        ({"recognisers": [{"name": "x"}]}, "recogniser x: give path or embeddings"),
        ({"baselines": [{"name": "x"}]}, "baseline x: give one of path, measure, scores"),
        ({"bundles": ["nano", "nano"]}, "two scores are called nano"),
    ],
)
def test_a_bad_plan_names_file_and_key(evaluate, changes, said):
    line = evaluate(2, **changes)
    assert said in line
    assert "plan.yaml" in line


def test_scores_from_a_parquet_set_give_the_same_report(evaluate, world, bundle, tmp_path):
    """The set was scored once, by a worker; the report is that of scoring here."""
    results, out, _ = evaluate()
    shutil.rmtree(out)
    scored([world / "faces"], tmp_path / "set", bundle, per_file=50)
    stored = {bundle.folder.name: {"colours": str(tmp_path / "set")}}
    baseline = {"name": "stored", "scores": {"colours": str(tmp_path / "set")}}
    again, out, _ = evaluate(scores=stored, baselines=[baseline])
    tiny = [row for row in results["rows"] if row["quality"].startswith("tiny")]
    assert [row for row in again["rows"] if row["quality"].startswith("tiny")] == tiny
    worth = {row["quality"]: row["pauc"] for row in again["rows"] if row["fmr"] == 0.05}
    assert worth["stored"] == pytest.approx(worth["tiny FW"])
    shutil.rmtree(out)
    line = evaluate(2, scores={"other": {}})
    assert line.endswith("scores: other is not one of bundles: ['tiny']")
    parts = sorted((tmp_path / "set").glob("files-*"))
    parts[0].unlink()
    there = len(by_id(tmp_path / "set"))
    assert f"no record of {120 - there} of 120 faces" in evaluate(2, scores=stored)
