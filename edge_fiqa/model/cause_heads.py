"""Heads that read causes of low quality: kept beside a network, and no score depends on them.

In a file they are `causes.K.weight` (D, W) and `causes.K.bias` (D,), for the quality token behind
`blocks.K`. The metadata `causes` of a .safetensors names the D causes, as a JSON list; `causes_right`
may say how often each exit is right, as a JSON list of shares or nulls.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from edge_fiqa.errors import CheckpointError
from edge_fiqa.model.named_arrays import checked
from edge_fiqa.types import Array, VitConfig

PREFIX = "causes."
METADATA, RIGHT = "causes", "causes_right"
NAME = re.compile(r"[a-z][a-z0-9_]*")
StatedShare = Annotated[float, Meta(ge=0, le=1)] | None


@dataclass(frozen=True)
class CauseHeads:
    """names: D causes. arrays: as in the file; at exit k the logits (N, D) of tokens (N, T, W) are
    `norm(tokens)[:, 0] @ weight.T + bias`, with the weight and the bias of K = k - 1, float32.
    right: for each exit, of the held-out faces for which it reported a cause in training, the share
    whose first cause was there; None where it reported too few, empty where nobody measured it."""

    names: tuple[str, ...]
    arrays: Mapping[str, Array]
    right: tuple[float | None, ...] = ()

    @property
    def sha256(self) -> str:
        """Of all this. A network's fingerprint does not tell one set of heads from another."""
        digest = hashlib.sha256(msgspec.json.encode((self.names, self.right)))
        for name in sorted(self.arrays):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.arrays[name], np.float32).tobytes())
        return digest.hexdigest()


def cause_heads(
    arrays: Mapping[str, Array], metadata: Mapping[str, str], config: VitConfig, file: str
) -> CauseHeads | None:
    """The heads of a checkpoint; None if it has none.

    arrays: those whose name begins with PREFIX. Raises CheckpointError if heads or names are missing,
    or do not fit the network.
    """
    if not arrays and METADATA not in metadata:
        return None
    if not config.has_quality_token:
        raise CheckpointError(f"{file}: a {config.mode} network has no token to read causes from")
    names = _names(metadata.get(METADATA), file)
    what = f"{file} does not hold heads for {len(names)} causes at every exit"
    heads = checked(arrays, _shapes(len(names), config), what)
    return CauseHeads(names, heads, _shares(metadata.get(RIGHT), config, file))


def metadata_of(names: Sequence[str], right: Sequence[float | None]) -> dict[str, str]:
    """What a file with heads for these causes states."""
    stated = {METADATA: msgspec.json.encode(names).decode()}
    return stated | ({RIGHT: msgspec.json.encode(right).decode()} if right else {})


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


def _shares(stated: str | None, config: VitConfig, file: str) -> tuple[float | None, ...]:
    if stated is None:
        return ()
    try:
        right = msgspec.json.decode(stated, type=tuple[StatedShare, ...])
    except (msgspec.DecodeError, UnicodeEncodeError):
        right = ()
    if len(right) != config.depth:
        raise CheckpointError(
            f"{file}: its metadata must say how often the causes of each of its {config.depth} exits "
            "are right, as a JSON list of shares from 0 to 1, or null"
        )
    return right
