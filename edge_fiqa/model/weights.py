"""Read and verify checkpoints: official ViT-FIQA files, ours, or anybody's of another size.

`.safetensors` needs numpy alone; `.pt` and `.pth` need torch and are opened weights-only, so a
checkpoint can never run code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edge_fiqa.errors import BackendMissing, CheckpointError, ConfigError
from edge_fiqa.files import unpacking_bomb
from edge_fiqa.model.cause_heads import PREFIX, CauseHeads, cause_heads
from edge_fiqa.model.named_arrays import checked
from edge_fiqa.types import PATCH, PATCHES, Array, VitConfig

UNUSED = re.compile(r"mask_token$|early_norms\.|\.num_batches_tracked$|^num_batches_tracked$")
"""Keys that official checkpoints carry and no score depends on."""

OFFICIAL_WIDTH, OFFICIAL_HEADS = 512, 8


@dataclass(frozen=True)
class Weights:
    """A verified checkpoint: exactly the arrays that the scores depend on, float32.

    fingerprint: of these alone. causes: heads beside them, which no score depends on.
    """

    config: VitConfig
    arrays: Mapping[str, Array]
    fingerprint: str
    causes: CauseHeads | None = None


def load_weights(path: Path, heads: int | None = None) -> Weights:
    """Read a checkpoint. `heads` is needed where the file does not state it and the width is not 512.

    Raises CheckpointError naming what is missing, unexpected or of a wrong shape.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    content, stated = _read(path)
    content = {key.removeprefix("module."): value for key, value in content.items()}
    beside = {key: value for key, value in content.items() if key.startswith(PREFIX)}
    arrays = {key: value for key, value in content.items() if key not in beside}
    try:
        config = infer_config(arrays, heads or _heads(stated))
    except (CheckpointError, ConfigError) as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    causes = cause_heads(beside, stated, config, str(path))
    return replace(verify(arrays, config, str(path)), causes=causes)


def verify(arrays: Mapping[str, Array], config: VitConfig, name: str) -> Weights:
    """Check every key, shape and value against `config`; keep what scoring needs."""
    used = {key: array for key, array in arrays.items() if not _ignored(key, config)}
    kept = checked(used, expected_shapes(config), f"{name} is not a {config.mode} ViT-FIQA")
    return Weights(config, kept, fingerprint(kept, config))


def expected_shapes(config: VitConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array that the scores of this network depend on."""
    d, hidden = config.width, config.mlp_ratio * config.width
    shapes: dict[str, tuple[int, ...]] = {"pos_embed": (1, config.tokens, d)}
    if config.has_quality_token:
        shapes["qs_token"] = (1, 1, d)
    shapes |= {"patch_embed.proj.weight": (d, 3, PATCH, PATCH), "patch_embed.proj.bias": (d,)}
    for index in range(config.depth):
        block = {
            "norm1.weight": (d,),
            "norm1.bias": (d,),
            "attn.qkv.weight": (3 * d, d),
            "attn.proj.weight": (d, d),
            "attn.proj.bias": (d,),
            "norm2.weight": (d,),
            "norm2.bias": (d,),
            "mlp.fc1.weight": (hidden, d),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (d, hidden),
            "mlp.fc2.bias": (d,),
        }
        shapes |= {f"blocks.{index}.{key}": shape for key, shape in block.items()}
    shapes |= {"norm.weight": (d,), "norm.bias": (d,)}
    if config.mode != "token":
        shapes |= {"feature.0.weight": (d, config.tokens * d), "feature.2.weight": (d, d)}
        shapes |= _batch_norm("feature.1", d) | _batch_norm("feature.3", d)
    return shapes | _batch_norm("head_qs.0", d) | {"head_qs.1.weight": (1, d)}


def _batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts}


def infer_config(arrays: Mapping[str, Array], heads: int | None = None) -> VitConfig:
    """The network's shape from its arrays; the head count is the one thing they do not show."""
    for key in ("pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"):
        if key not in arrays:
            raise CheckpointError(f"not a ViT-FIQA: {key} is missing")
        if not arrays[key].size or arrays[key].ndim < 2:
            raise CheckpointError(f"not a ViT-FIQA: {key} has shape {arrays[key].shape}")
    width = arrays["patch_embed.proj.weight"].shape[0]
    if heads is None:
        if width != OFFICIAL_WIDTH:
            raise CheckpointError(
                f"width {width} is not the official {OFFICIAL_WIDTH} and the file does not say "
                "how many attention heads it has; give --heads"
            )
        heads = OFFICIAL_HEADS
    numbers = [int(m[1]) for key in arrays if (m := re.match(r"blocks\.(\d+)\.", key))]
    if max(numbers) >= len(arrays):
        raise CheckpointError(f"not a ViT-FIQA: block {max(numbers)} in {len(arrays)} arrays")
    with_all_tokens = "feature.0.weight" in arrays and arrays["feature.0.weight"].shape[1:] == (
        (PATCHES + 1) * width,
    )
    return VitConfig(
        mode="crfiqa" if "qs_token" not in arrays else "full" if with_all_tokens else "token",
        width=width,
        depth=max(numbers) + 1,
        heads=heads,
        mlp_ratio=max(1, arrays["blocks.0.mlp.fc1.weight"].shape[0] // width),
    )


def fingerprint(arrays: Mapping[str, Array], config: VitConfig) -> str:
    """`sha256:` + hash of the shape and every array: equal networks, equal fingerprint."""
    digest = hashlib.sha256(repr(config).encode())
    for key in sorted(arrays):
        digest.update(key.encode() + arrays[key].tobytes())
    return "sha256:" + digest.hexdigest()


def _ignored(key: str, config: VitConfig) -> bool:
    recognition_only = config.mode == "token" and key.startswith("feature.")
    return bool(UNUSED.search(key)) or recognition_only


def _heads(stated: Mapping[str, str]) -> int | None:
    """Of the attention, as the metadata of a file states them."""
    text = stated.get("heads")
    try:
        return int(text) if text else None
    except ValueError:
        raise CheckpointError("its metadata states no number of attention heads") from None


def _read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays and metadata."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _read_torch(path), {}
    raise CheckpointError(f"{path}: unknown kind of checkpoint; expected .safetensors, .pt or .pth")


def _read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except (SafetensorError, ValueError, TypeError, OSError) as exc:
        raise CheckpointError(f"{path}: not a readable safetensors file ({exc})") from exc


def _read_torch(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError as exc:
        raise BackendMissing(f"{path}: reading it needs torch ({exc}); pip install torch") from exc
    # A damaged or hostile file makes torch's reader fail in any way whatever (KeyError, IndexError,
    # AttributeError, ...), so everything it raises means the same: this is not a checkpoint.
    if (reason := unpacking_bomb(path)) is not None:
        raise CheckpointError(f"{path}: {reason}: it is not read")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise CheckpointError(f"{path}: not a weights-only torch checkpoint ({reason})") from exc
    for wrapper in ("state_dict", "model", "backbone"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors")
    _check_size(path, sum(value.numel() for value in state.values()))
    arrays: dict[str, Array] = {}
    for key, value in state.items():
        if value.layout is not torch.strided or value.is_complex() or value.is_meta:
            raise CheckpointError(f"{path}: {key} is not a dense tensor of real numbers")
        arrays[str(key)] = value.detach().float().numpy()
    return arrays


def _check_size(path: Path, numbers: int) -> None:
    """Raises CheckpointError where a few numbers in the file are stretched to many in memory.

    Of each number there is a byte at least in the file.
    """
    if numbers > path.stat().st_size:
        raise CheckpointError(
            f"{path}: tensors of {4 * numbers / 1e9:.1f} GB in a file of "
            f"{path.stat().st_size / 1e6:.1f} MB: it is not read"
        )
