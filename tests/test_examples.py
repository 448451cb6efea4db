"""What the examples print is what the library says."""

import runpy
import sys
from pathlib import Path

import cv2

from edge_fiqa import Scorer
from edge_fiqa.cli.demo import portrait
from edge_fiqa.cli.effects import defocus

FOLDER = Path(__file__).parents[1] / "examples"


def test_a_pool_scores_every_face_in_order(tmp_path, monkeypatch, capsys):
    faces = [defocus(portrait(), strength) for strength in (0.0, 0.4, 0.8)]
    paths = [str(tmp_path / f"{n}.png") for n in range(3)]
    for path, face in zip(paths, faces, strict=True):
        cv2.imwrite(path, face[..., ::-1])
    monkeypatch.setattr(sys, "argv", ["pool.py", *paths, str(tmp_path / "none.png")])
    runpy.run_path(str(FOLDER / "pool.py"), run_name="__main__")
    with Scorer.open(threads=1) as scorer:
        expected = [
            f"{scorer.score_face(f).quality.scalar} ok {p}"
            for f, p in zip(faces, paths, strict=True)
        ]
    assert capsys.readouterr().out.splitlines() == [
        *expected,
        f"None unreadable {tmp_path / 'none.png'}",
    ]
