"""Heads that read causes of low quality: kept beside a network, and no score depends on them.

In a file they are `causes.K.weight` (D, W) and `causes.K.bias` (D,), for the quality token behind
`blocks.K`. The metadata `causes` of a .safetensors names the D causes, as a JSON list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from edge_fiqa.errors import CheckpointError
from edge_fiqa.model.named_arrays import checked
from edge_fiqa.types import Array, VitConfig

PREFIX = "causes."
METADATA = "causes"
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class CauseHeads:
    """names: D causes. arrays: as in the file; at exit k the logits (N, D) of tokens (N, T, W) are
    `norm(tokens)[:, 0] @ weight.T + bias`, with the weight and the bias of K = k - 1, float32."""

    names: tuple[str, ...]
    arrays: Mapping[str, Array]

    @property
    def sha256(self) -> str:
        """Of names and arrays. A network's fingerprint does not tell one set of heads from another."""
        digest = hashlib.sha256(msgspec.json.encode(self.names))
        for name in sorted(self.arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.arrays[name], np.float32).tobytes())
        return digest.hexdigest()


def cause_heads(
    arrays: Mapping[str, Array], stated: str | None, config: VitConfig, file: str
) -> CauseHeads | None:
    """The heads of a checkpoint; None if it has none.

    arrays: those whose name begins with PREFIX. stated: the metadata. Raises CheckpointError if heads
    or names are missing, or do not fit the network.
    """
    if not arrays and stated is None:
        return None
    if not config.has_quality_token:
        raise CheckpointError(f"{file}: a {config.mode} network has no token to read causes from")
    names = _names(stated, file)
    what = f"{file} does not hold heads for {len(names)} causes at every exit"
    return CauseHeads(names, checked(arrays, _shapes(len(names), config), what))


def metadata_of(names: Sequence[str]) -> dict[str, str]:
    """What a file with heads for these causes states."""
    return {METADATA: msgspec.json.encode(names).decode()}


def _shapes(causes: int, config: VitConfig) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(config.depth):
        shapes[f"{PREFIX}{index}.weight"] = (causes, config.width)
        shapes[f"{PREFIX}{index}.bias"] = (causes,)
    return shapes


def _names(stated: str | None, file: str) -> tuple[str, ...]:
    try:
        names = msgspec.json.decode(stated or "[]", type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeEncodeError):
        names = ()
    if not names or len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
        raise CheckpointError(
            f"{file}: its metadata must name the causes that its heads read, as a JSON list of "
            "different words in lower case"
        )
    return names
