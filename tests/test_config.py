"""Recipes: YAML with the command line on top; mistakes are named."""

import pytest

from edge_fiqa.config import BuildRecipe, CalibrationRecipe, load_recipe
from edge_fiqa.errors import ConfigError


def test_the_command_line_wins(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("precision: int8\nsegments: 3,6,9,12\nrange_faces: 64\n", encoding="utf-8")
    assert load_recipe(file, {"precision": "bf16"}, BuildRecipe) == BuildRecipe(
        precision="bf16", segments="3,6,9,12", range_faces=64
    )
    assert load_recipe(None, {}, BuildRecipe) == BuildRecipe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precision: int4", "precision"),
        ("precison: int8", "precison"),
        ("threads: two", "threads"),
        ("- a\n- b", "expected keys"),
        ("a: [1", "not YAML"),
        ("", "expected keys"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path, text, message):
    file = tmp_path / "r.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(file, {}, BuildRecipe)
    assert str(file) in str(caught.value)


def test_exits_decided_on_the_device_were_removed(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("backend: trt\nplans: {exit_on: device}\n", encoding="utf-8")
    said = "exit_on: device was removed.*delete exit_on from the recipe"
    with pytest.raises(ConfigError, match=said) as caught:
        load_recipe(file, {}, BuildRecipe)
    assert str(file) in str(caught.value)
    file.write_text("backend: trt\nplans: {exit_on: host}\n", encoding="utf-8")
    assert load_recipe(file, {}, BuildRecipe) == BuildRecipe(backend="trt")


def test_an_absent_recipe(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_recipe(tmp_path / "absent.yaml", {}, BuildRecipe)


def test_shipped_recipes_are_valid():
    from pathlib import Path

    recipes = list((Path(__file__).parents[1] / "engines/recipes").rglob("*.yaml"))
    assert recipes
    for file in recipes:
        load_recipe(file, {}, BuildRecipe)
    calibrations = list((Path(__file__).parents[1] / "calibration/recipes").glob("*.yaml"))
    read = {file.stem: load_recipe(file, {}, CalibrationRecipe) for file in calibrations}
    assert read["default"] == CalibrationRecipe()
    assert read["gate-45"].gate == 45
