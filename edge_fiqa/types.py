"""Plain data passed between the layers, with shapes. No logic that needs a library.

Words: a *block* is one transformer layer, counted from 1; *exit* k is the score available after k
blocks; a *segment* is a run of blocks executed as one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError

Array = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
"""Positions in an array."""
Point = tuple[float, float]
"""(x, y) in pixels."""
Box = tuple[float, float, float, float]
"""(x, y, width, height) in pixels."""
Region = tuple[int, int, int, int]
"""(x, y, width, height) in whole pixels."""
Mode = Literal["token", "crfiqa", "full"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]

IMAGE = 112  # pixels a side of an aligned face
PATCH = 9  # pixels a side of a patch; 12 * 9 = 108: the last 4 rows and columns are never read
PATCHES = (IMAGE // PATCH) ** 2  # 144


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Shape of a ViT-FIQA. The official ViT-S is the default (arXiv:2508.13957)."""

    mode: Mode = "token"
    width: int = 512  # D
    depth: int = 12  # blocks, and exits
    heads: int = 8
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.mode not in ("token", "crfiqa", "full"):
            raise ConfigError(f"mode {self.mode!r} is not one of token, crfiqa, full")
        for name in ("width", "depth", "heads", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not divisible by {self.heads} heads")

    @property
    def has_quality_token(self) -> bool:
        return self.mode != "crfiqa"

    @property
    def tokens(self) -> int:
        """T: 144 patches, and the quality token in front where the mode has one."""
        return PATCHES + self.has_quality_token

    @property
    def head_tokens(self) -> int:
        """How many tokens the quality head reads: 1 in token mode, else all of them."""
        return 1 if self.mode == "token" else self.tokens


@dataclass(frozen=True)
class FaceSet:
    """Aligned faces to measure on. crops: (N, 112, 112, 3) uint8 RGB.

    groups: N names; faces of one name (a person, or a file) stay together when the set is split.
    names: their files, relative to the folder. described: what they are, in words.
    """

    crops: Bytes
    groups: tuple[str, ...]
    described: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Segment:
    """Blocks first..last (1-based, both included) run as one call.

    A *body* returns the tokens for the next segment and the scores of all its blocks. A *tail*
    (token mode only) is where execution stops: its last block is computed for the quality token
    alone, and it returns scores but no tokens.
    """

    first: int
    last: int
    tail: bool = False

    def __hash__(self) -> int:  # looked up several times a segment run: no tuple, no generated code
        return self.first * 4096 + self.last * 2 + self.tail

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise ConfigError(f"segment {self.first}..{self.last}: blocks count from 1, in order")

    @property
    def name(self) -> str:
        return f"{'tail' if self.tail else 'body'}-{self.first:02d}-{self.last:02d}"

    @property
    def exits(self) -> slice:
        """Columns of a trail (N, E) that this segment fills."""
        return slice(self.first - 1, self.last)
