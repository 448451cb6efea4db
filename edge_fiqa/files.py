"""Where engines keep what they compiled: EDGE_FIQA_CACHE, else the user's cache directory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder `edge_fiqa/name` in there, which need not exist, nor be writable."""
    base = os.environ.get("EDGE_FIQA_CACHE") or os.environ.get("XDG_CACHE_HOME")
    try:
        cache = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:  # a container's user without a name has no home
        cache = Path(os.devnull)  # where no folder can be
    return cache / "edge_fiqa" / name


def not_writable(folder: Path) -> str | None:
    """Makes the folder. Why nothing can be written there, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        return str(exc.strerror)
    return None if os.access(folder, os.W_OK) else "it may not be written"


def sha256(path: Path) -> str:
    digest = hashlib.sha256()  # hashlib.file_digest is Python 3.11's; JetPack 6 has 3.10
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
