"""One picture of a shard: where its bytes are, or why there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_fiqa.faces.images import MAX_BYTES

TOO_LARGE = f"the file is above {MAX_BYTES // 1_000_000} MB; reduce it first"


@dataclass(frozen=True)
class ShardPicture:
    """name: as records show it. One of: path, of a local file; read, its bytes; refusal, why there are
    none."""

    name: str
    path: Path | None = None
    read: Callable[[], bytes] | None = None
    refusal: str | None = None
