"""Heads of causes in a checkpoint: beside the network, checked, and without a say in its scores."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_fiqa.errors import CheckpointError
from edge_fiqa.model.weights import load_weights

NAMES = ("yaw", "motion_blur", "noise")


@pytest.fixture
def heads(tiny):
    """Of three causes at each of four exits."""
    rng = np.random.default_rng(5)
    shapes = {"weight": (3, tiny.config.width), "bias": (3,)}
    return {
        f"causes.{index}.{part}": rng.normal(size=shape).astype(np.float16)
        for index in range(tiny.config.depth)
        for part, shape in shapes.items()
    }


@pytest.fixture
def written(tmp_path, tiny):
    """A function that writes the tiny network with these heads; names: None states nothing."""

    def write(heads, names=NAMES, **more):
        stated = {"heads": str(tiny.config.heads), **more}
        if names is not None:
            stated["causes"] = names if isinstance(names, str) else json.dumps(names)
        save_file({**tiny.arrays, **heads}, str(tmp_path / "with_heads.safetensors"), stated)
        return tmp_path / "with_heads.safetensors"

    return write


def test_heads_change_neither_the_network_nor_its_fingerprint(tiny, heads, written):
    weights = load_weights(written(heads))
    assert weights.fingerprint == tiny.fingerprint
    assert weights.config == tiny.config
    assert weights.arrays.keys() == tiny.arrays.keys()
    assert weights.causes.names == NAMES
    assert weights.causes.arrays.keys() == heads.keys()
    for name, array in weights.causes.arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, heads[name])


def test_how_often_heads_are_right_is_read_where_it_is_stated(heads, written):
    assert load_weights(written(heads)).causes.right == ()
    stated = load_weights(written(heads, causes_right="[0.5, 0.75, 1, null]")).causes
    assert stated.right == (0.5, 0.75, 1.0, None)
    assert stated.sha256 != load_weights(written(heads)).causes.sha256  # other limits


@pytest.mark.parametrize(
    "shares", ["[0.5]", "[]", "[0.5, 0.5, 0.5, 1.5]", "0.5", "x", "[NaN]", "null"]
)
def test_shares_that_cannot_be_are_refused(heads, written, shares):
    with pytest.raises(
        CheckpointError, match=r"with_heads\.safetensors: its metadata must say how"
    ):
        load_weights(written(heads, causes_right=shares))


def test_a_network_without_heads_has_none(tiny, written):
    weights = load_weights(written({}, None))
    assert weights.causes is None
    assert weights.fingerprint == tiny.fingerprint


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: h.pop("causes.2.bias"), r"missing causes\.2\.bias \(3,\)"),
        (lambda h: h.update({"causes.4.bias": np.ones(3, "f2")}), r"unexpected causes\.4\.bias"),
        (
            lambda h: h.update({"causes.0.bias": np.ones(2, "f2")}),
            r"causes\.0\.bias has shape \(2,\)",
        ),
        (lambda h: h["causes.1.bias"].fill(np.nan), r"causes\.1\.bias holds NaN"),
        (lambda h: h.clear(), r"missing causes\.0\.weight \(3, 32\)"),
    ],
)
def test_heads_that_do_not_fit_are_named(heads, written, spoil, message):
    spoil(heads)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(written(heads))
    assert "with_heads.safetensors does not hold heads for 3 causes" in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        None,
        "",
        "[]",
        "yaw",
        '{"yaw": 1}',
        "[1, 2, 3]",
        '["yaw", "yaw", "noise"]',
        '["a\\u001b[2J"]',
    ],
)
def test_heads_without_a_name_for_each_are_refused(heads, written, names):
    with pytest.raises(CheckpointError, match="must name the causes"):
        load_weights(written(heads, names))


def test_a_network_without_a_quality_token_has_no_causes(tiny, heads, tmp_path):
    arrays = {name: array for name, array in tiny.arrays.items() if name != "qs_token"}
    path = tmp_path / "c.safetensors"
    stated = {"heads": "2", "causes": json.dumps(NAMES)}
    save_file({**arrays, **heads}, str(path), stated)
    with pytest.raises(CheckpointError, match="crfiqa network has no token to read causes from"):
        load_weights(path)


def test_a_foreign_number_of_attention_heads_is_refused(tiny, tmp_path):
    save_file(dict(tiny.arrays), str(tmp_path / "a.safetensors"), {"heads": "two"})
    with pytest.raises(CheckpointError, match=r"a\.safetensors: .* no number of attention heads"):
        load_weights(tmp_path / "a.safetensors")
