"""edge-fiqa explain: a picture and the maps, from a checkpoint; a clear line without one."""

import cv2
import numpy as np
import pytest

from edge_fiqa.bundle.bundle import SHIPPED
from edge_fiqa.cli import main
from edge_fiqa.measurement.all_exits import synthetic_faces


@pytest.fixture
def folder(tmp_path):
    for number, face in enumerate(synthetic_faces(3)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), face[..., ::-1])
    return tmp_path


def test_maps_of_a_folder(folder, checkpoint, tmp_path, capsys):
    out, npz = tmp_path / "maps.svg.png", tmp_path / "maps.npz"
    arguments = [str(folder), "-o", str(out), "--npz", str(npz), "--model", str(checkpoint)]
    assert main(["explain", *arguments, "--samples", "2"]) == 0
    assert "attention of the quality token, 3 faces, 4 exits" in capsys.readouterr().out
    assert cv2.imread(str(out)).shape[1] > 300
    maps_file = np.load(npz)
    assert maps_file["maps"].shape == (3, 4, 12, 12)
    assert out.stat().st_mode & 0o777 == 0o600  # it shows faces
    assert maps_file["names"].tolist() == ["0.png", "1.png", "2.png"]


def test_a_bundle_with_float_weights_will_do(folder, bundle, tmp_path):
    out = tmp_path / "x.png"
    assert main(["explain", str(folder), "-o", str(out), "--model", str(bundle.folder)]) == 0
    assert out.stat().st_size > 1000


def test_without_weights_it_says_what_to_give(folder, tmp_path, capsys, monkeypatch):
    out = ["-o", str(tmp_path / "x.png")]
    shipped = str(SHIPPED["nano"])
    assert main(["explain", str(folder), *out, "--model", shipped]) == 2
    assert "give the checkpoint it was built from" in capsys.readouterr().err
    monkeypatch.setitem(SHIPPED, "nano", tmp_path / "installed" / "nano-int8")
    assert main(["explain", str(folder), *out]) == 2
    assert "are in the source repository, not in the installed" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "none"), *out, "--model", "none.pth"]) == 2
    assert "no such checkpoint" in capsys.readouterr().err
