"""edge-fiqa train: from a folder of persons to a checkpoint that builds."""

import numpy as np
import pytest
from PIL import Image

from edge_fiqa.cli import main
from edge_fiqa.model.weights import load_weights


@pytest.fixture
def root(tmp_path, recogniser_file):
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "faces" / f"person {number // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "tiny.yaml").write_text(
        "faces: faces\n"
        f"teachers: [{{path: {recogniser_file.name}, map: pooled}}]\n"
        "variants: 2\n"
        "model: {width: 16, depth: 2, heads: 2}\n"
        "schedule: {steps: 3, batch: 4, held_out: 0}\n",
        encoding="utf-8",
    )
    return tmp_path


def train(root, *more):
    config = str(root / "tiny.yaml")
    return main(["train", "--config", config, "--data", str(root), "-o", str(root / "out"), *more])


def test_train_writes_a_model_a_log_and_a_curve_and_goes_on(root, capsys):
    assert train(root) == 0
    out = capsys.readouterr().out
    model = root / "out/model.safetensors"
    assert str(model) in out
    assert load_weights(model).config.depth == 2
    assert (root / "out/curve.png").stat().st_size > 5000
    stamp = load_weights(model).fingerprint
    assert train(root) == 0  # nothing left to do: the same model
    assert load_weights(model).fingerprint == stamp


def test_a_cache_is_prepared_ahead(root, capsys, monkeypatch):
    assert train(root, "--prepare-only") == 0
    assert "18 images are ready" in capsys.readouterr().out
    assert not (root / "out/model.safetensors").exists()
    monkeypatch.setattr("edge_fiqa.training.faces.random_mixture", None)  # all is there
    assert train(root) == 0
    assert (root / "out/model.safetensors").exists()


def test_mistakes_are_one_line(root, capsys):
    (root / "tiny.yaml").write_text("faces: faces\nteachers: [{path: no.onnx}]\n", encoding="utf-8")
    assert train(root) == 2
    err = capsys.readouterr().err
    assert "no.onnx" in err
    assert err.count("\n") == 1
