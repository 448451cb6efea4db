"""Recipes: those shipped are valid, and mistakes name file and key."""

import pytest

from edge_fiqa.bundle.bundle import SHIPPED
from edge_fiqa.errors import ConfigError
from edge_fiqa.model.weights import load_weights
from edge_fiqa.training.recipe import load_config

MINIMAL = "faces: faces\nteachers: [{path: r.onnx}]\n"


def test_the_shipped_recipe_fits_the_shipped_weights():
    config, weights = (
        load_config("small"),
        load_weights(SHIPPED["small"].parent / "small.safetensors"),
    )
    assert len(config.teachers) == 3
    assert config.schedule.supervision == "depth"
    assert config.model.config() == weights.config


def test_five_lines_suffice(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert load_config(str(path)).model.config().width == 128


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("variants: -1", "variants"),
        ("shedule: {}", "shedule"),
        ("schedule: {steps: 0}", "steps"),
        ("schedule: {clean: 2}", "clean"),
        ("schedule: {supervision: none}", "none"),
        ("schedule: {kept_patches: 200}", "kept_patches"),
        ("schedule: {shift: 9}", "shift"),
        ("model: {mode: crfiqa}", "kept_patches"),
        ("model: {width: 100, heads: 7}", "100"),
        ("label: beauty", "beauty"),
        ("mixed: 0", "mixed"),
        ("schedule: {steps: 5, decay_steps: 6}", "decay_steps"),
        ("quality_teachers: [{path: q.onnx}]", "share"),
        ("quality_teachers: [{path: q.onnx, share: 1.5}]", "shares"),
        ("teachers: []", "teachers"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path, added, said):
    path = tmp_path / "mine.yaml"
    start = MINIMAL if not added.startswith("teachers") else "faces: f\n"
    path.write_text(start + added, encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(str(path))
    assert "mine.yaml" in str(caught.value)


def test_unknown_recipes_and_teachers(tmp_path):
    with pytest.raises(ConfigError, match="recipe: small"):
        load_config("huge")
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        load_config(str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigError, match=r"edgeface.*read from"):
        load_config("small").teachers[0].recogniser(tmp_path)
