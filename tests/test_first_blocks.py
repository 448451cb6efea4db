"""engines/first_blocks.py: the first blocks of a network as a network of its own."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_fiqa.bundle.bundle import SHIPPED
from edge_fiqa.errors import CheckpointError
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.model.weights import load_weights
from tests.engines.conftest import expected

FOLDER = Path(__file__).parents[1] / "engines"
CAUSES = ["yaw", "noise"]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("first_blocks")
    sys.modules.pop("first_blocks", None)


@pytest.fixture
def whole(tmp_path, tiny):
    """The tiny network as a file, with heads of two causes at each of its exits."""
    rng = np.random.default_rng(6)
    heads = {
        f"causes.{block}.{part}": rng.normal(size=shape).astype(np.float32)
        for block in range(tiny.config.depth)
        for part, shape in (("weight", (2, tiny.config.width)), ("bias", (2,)))
    }
    right = [0.2 * block for block in range(tiny.config.depth)]
    stated = {"heads": tiny.config.heads, "causes": CAUSES, "causes_right": right}
    save_file(
        {**tiny.arrays, **heads},
        str(tmp_path / "whole.safetensors"),
        {key: json.dumps(value) for key, value in stated.items()},
    )
    return tmp_path / "whole.safetensors"


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_exits_that_are_kept_give_the_same_scores_and_causes(
    script, whole, blocks, tmp_path, monkeypatch
):
    out = tmp_path / "short.safetensors"
    monkeypatch.setattr(sys, "argv", ["first_blocks.py", str(whole), str(blocks), str(out)])
    script.main()
    long, short = load_weights(whole), load_weights(out)
    assert short.config.depth == blocks
    faces = synthetic_faces(3, seed=2)
    np.testing.assert_allclose(
        expected(short, faces), expected(long, faces)[:, :blocks], rtol=0, atol=1e-6
    )
    assert short.causes.names == tuple(CAUSES)
    assert short.causes.right == long.causes.right[:blocks]
    for name, array in short.causes.arrays.items():
        np.testing.assert_array_equal(array, long.causes.arrays[name])
    assert len(short.causes.arrays) == 2 * blocks


def test_all_blocks_are_the_same_network(script, whole, tiny, tmp_path):
    (tmp_path / "all.safetensors").write_bytes(script.first_blocks(whole, tiny.config.depth))
    assert load_weights(tmp_path / "all.safetensors").fingerprint == tiny.fingerprint


def test_the_shipped_nano_is_the_first_half_of_small(script, tmp_path):
    folder = SHIPPED["nano"].parent
    (tmp_path / "half.safetensors").write_bytes(
        script.first_blocks(folder / "small.safetensors", 6)
    )
    half, nano = (
        load_file(str(f / n))
        for f, n in ((tmp_path, "half.safetensors"), (folder, "nano.safetensors"))
    )
    assert half.keys() == nano.keys()
    for name, array in half.items():
        np.testing.assert_array_equal(array, nano[name])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_network_without_heads_of_causes_is_cut_as_well(script, tiny, tmp_path, prefix):
    plain = tmp_path / "plain.safetensors"
    arrays = {prefix + name: array for name, array in tiny.arrays.items()}
    save_file(arrays, str(plain), {"heads": str(tiny.config.heads)})
    (tmp_path / "short.safetensors").write_bytes(script.first_blocks(plain, 2))
    assert load_weights(tmp_path / "short.safetensors").config.depth == 2


@pytest.mark.parametrize("blocks", [0, -1, 5])
def test_more_blocks_than_there_are_cannot_be_kept(script, whole, blocks):
    with pytest.raises(ValueError, match=rf"4 blocks: 1 to 4 of them can be kept, not {blocks}$"):
        script.first_blocks(whole, blocks)


def test_another_kind_of_file_is_refused(script, tmp_path):
    (tmp_path / "official.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"official\.pth: only a \.safetensors file is cut"):
        script.first_blocks(tmp_path / "official.pth", 1)


def test_what_is_no_model_is_refused(script, tmp_path, monkeypatch):
    (tmp_path / "no.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"no\.safetensors"):
        script.first_blocks(tmp_path / "no.safetensors", 1)
    asked = ["first_blocks.py", str(tmp_path / "no.safetensors"), "1", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit, match=r"^first_blocks\.py: .*no\.safetensors"):
        script.main()
    assert not (tmp_path / "out").exists()
