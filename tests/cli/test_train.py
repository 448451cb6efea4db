"""edge-fiqa train: from a folder of persons to a checkpoint that builds."""

from edge_fiqa.cli import main
from edge_fiqa.model.weights import load_weights


def train(training_root, *more):
    config = str(training_root / "tiny.yaml")
    return main(
        [
            "train",
            "--config",
            config,
            "--data",
            str(training_root),
            "-o",
            str(training_root / "out"),
            *more,
        ]
    )


def test_train_writes_a_model_a_log_and_a_curve_and_goes_on(training_root, capsys):
    assert train(training_root) == 0
    out = capsys.readouterr().out
    model = training_root / "out/model.safetensors"
    assert str(model) in out
    assert load_weights(model).config.depth == 2
    assert (training_root / "out/curve.png").stat().st_size > 5000
    stamp = load_weights(model).fingerprint
    (training_root / "out/log.ndjson").unlink()
    assert train(training_root) == 0  # nothing left to do: the same model
    assert load_weights(model).fingerprint == stamp


def test_a_cache_is_prepared_ahead(training_root, capsys, monkeypatch):
    assert train(training_root, "--prepare-only") == 0
    assert "18 images are ready" in capsys.readouterr().out
    assert not (training_root / "out/model.safetensors").exists()
    monkeypatch.setattr("edge_fiqa.training.versions.random_mixture", None)  # all is there
    assert train(training_root) == 0
    assert (training_root / "out/model.safetensors").exists()


def test_a_run_goes_on_without_the_networks_that_gave_their_tables(training_root, recogniser_file):
    assert train(training_root, "--prepare-only") == 0
    recogniser_file.unlink()
    assert train(training_root) == 0
    assert load_weights(training_root / "out/model.safetensors").config.depth == 2


def test_mistakes_are_one_line(training_root, capsys):
    (training_root / "tiny.yaml").write_text(
        "faces: faces\nteachers: [{path: no.onnx}]\n", encoding="utf-8"
    )
    assert train(training_root) == 2
    err = capsys.readouterr().err
    assert "no.onnx" in err
    assert err.count("\n") == 1
