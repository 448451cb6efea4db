"""Checkpoints: official names load unchanged, everything else is refused by name."""

import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from edge_fiqa.errors import CheckpointError
from edge_fiqa.model.weights import fingerprint, infer_config, load_weights, verify
from edge_fiqa.types import VitConfig


def save(path, arrays, heads=None):
    save_file(dict(arrays), str(path), {"heads": str(heads)} if heads else None)
    return path


def test_official_extras_and_wrappers_are_accepted(tiny, tmp_path):
    state = {f"module.{k}": torch.from_numpy(v) for k, v in tiny.arrays.items()}
    state["module.mask_token"] = torch.zeros(1, 1, 32)
    state["module.early_norms.0.weight"] = torch.ones(32)
    state["module.head_qs.0.num_batches_tracked"] = torch.tensor(7)
    state["module.feature.0.weight"] = torch.zeros(32, 144 * 32)  # recognition only in token mode
    for name, content in (("plain.pt", state), ("wrapped.pth", {"state_dict": state})):
        torch.save(content, tmp_path / name)
        found = load_weights(tmp_path / name, heads=2)
        assert found.fingerprint == tiny.fingerprint
        assert found.config == tiny.config


def test_the_head_count_comes_from_the_file_or_the_caller(tiny, tmp_path):
    assert load_weights(save(tmp_path / "a.safetensors", tiny.arrays, heads=2)).config.heads == 2
    untold = save(tmp_path / "b.safetensors", tiny.arrays)
    assert load_weights(untold, heads=4).config.heads == 4
    with pytest.raises(CheckpointError, match="give --heads"):
        load_weights(untold)
    with pytest.raises(CheckpointError, match="not divisible by 5 heads"):
        load_weights(untold, heads=5)


def test_official_width_means_eight_heads():
    arrays = {
        "pos_embed": np.zeros((1, 144, 512)),
        "patch_embed.proj.weight": np.zeros((512, 3, 9, 9)),
        "blocks.0.mlp.fc1.weight": np.zeros((2048, 512)),
    }
    assert infer_config(arrays) == VitConfig(mode="crfiqa", width=512, depth=1, heads=8)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.pop("norm.bias"), r"missing norm\.bias \(32,\)"),
        (lambda a: a.update({"blocks.0.extra": np.ones(1, "f4")}), r"unexpected blocks\.0\.extra"),
        (
            lambda a: a.update({"norm.bias": np.ones(7, "f4")}),
            r"norm\.bias has shape \(7,\), expected \(32,\)",
        ),
        (
            lambda a: a.update({"norm.bias": np.full(32, np.nan, "f4")}),
            r"norm\.bias holds NaN or infinity",
        ),
    ],
)
def test_every_problem_is_named(tiny, tmp_path, spoil, message):
    arrays = dict(tiny.arrays)
    spoil(arrays)
    path = save(tmp_path / "spoilt.safetensors", arrays, heads=2)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_list_of_problems_is_cut(tiny, tmp_path):
    arrays = {k: v for k, v in tiny.arrays.items() if "norm" not in k}
    with pytest.raises(CheckpointError, match="and 14 more"):
        load_weights(save(tmp_path / "cut.safetensors", arrays, heads=2))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("resnet.safetensors", None),
        ("rubbish.safetensors", b"\x00" * 64),
        ("rubbish.pt", b"not a zip"),
        ("empty.pth", b""),
        ("weights.bin", b"x"),
    ],
)
def test_foreign_files(tmp_path, name, content):
    path = tmp_path / name
    if content is None:
        save(path, {"layer1.0.conv1.weight": np.ones((2, 2), "f4")})
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_weights(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_weights(tmp_path / "absent.pt")


class _Trap:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return (open, (self.flag, "w"))


def test_a_checkpoint_cannot_run_code(tmp_path):
    flag = tmp_path / "was_run"
    torch.save({"state_dict": _Trap(str(flag))}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="weights-only"):
        load_weights(tmp_path / "trap.pt", heads=2)
    assert not flag.exists()


def test_the_fingerprint_sees_one_weight_and_the_heads(tiny):
    arrays = {k: v.copy() for k, v in tiny.arrays.items()}
    assert fingerprint(arrays, tiny.config) == tiny.fingerprint
    arrays["norm.bias"][3] += 1e-6
    assert fingerprint(arrays, tiny.config) != tiny.fingerprint
    other = VitConfig(mode="token", width=32, depth=4, heads=4)
    assert verify(tiny.arrays, other, "x").fingerprint != tiny.fingerprint


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damage_is_a_checkpoint_error_whatever_it_does(tiny, tmp_path, suffix):
    path = tmp_path / f"damaged{suffix}"
    if suffix == ".pt":
        torch.save({k: torch.from_numpy(v) for k, v in tiny.arrays.items()}, path)
    else:
        save(path, tiny.arrays, heads=2)
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    messages = []
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: int(rng.integers(len(data)))]
        else:  # headers live at both ends of a file
            near = int(rng.integers(min(4000, len(data))))
            data[near if trial % 3 == 1 else -1 - near] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            load_weights(path, heads=2)
        except CheckpointError as exc:
            messages.append(str(exc))
    assert len(messages) > 50
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize(
    "state",
    [
        {"pos_embed": torch.ones(3, 3).to_sparse()},
        {"pos_embed": torch.ones(3, dtype=torch.complex64)},
        {"pos_embed": torch.ones(3, device="meta")},
        {k: torch.tensor(1.0) for k in ("pos_embed", "patch_embed.proj.weight")},
        {
            "pos_embed": torch.ones(1, 144, 8),
            "patch_embed.proj.weight": torch.ones(0, 3, 9, 9),
            "blocks.0.mlp.fc1.weight": torch.ones(8, 8),
        },
        {
            "pos_embed": torch.ones(1, 144, 512),
            "patch_embed.proj.weight": torch.ones(512, 3, 9, 9),
            "blocks.0.mlp.fc1.weight": torch.ones(8, 512),
            "blocks.99999999.norm1.weight": torch.ones(8),
        },
        [1, 2],
        {"state_dict": {"a": "text"}},
    ],
)
def test_strange_torch_files_are_refused_by_name(tmp_path, state):
    torch.save(state, tmp_path / "strange.pt")
    with pytest.raises(CheckpointError, match="strange"):
        load_weights(tmp_path / "strange.pt")


def test_a_compressed_checkpoint_that_unpacks_to_gigabytes_is_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(1 << 20))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", (1 << 32) - 16)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"would become 4\.3 GB in memory: it is not read"):
        load_weights(path)


def test_a_number_stretched_to_terabytes_is_refused(tmp_path):
    """A tensor may repeat one number by strides of 0: 1 kB would be copied to 4 TB."""
    width = 1 << 20
    state = {
        "pos_embed": torch.ones(1).expand(1, 145, width),
        "patch_embed.proj.weight": torch.ones(1).expand(width, 3, 9, 9),
        "blocks.0.mlp.fc1.weight": torch.ones(1).expand(4 * width, width),
    }
    torch.save(state, tmp_path / "stretched.pt")
    assert (tmp_path / "stretched.pt").stat().st_size < 10_000
    with pytest.raises(
        CheckpointError, match=r"stretched\.pt: tensors of .* GB in a file of 0\.0 MB"
    ):
        load_weights(tmp_path / "stretched.pt", heads=8)
