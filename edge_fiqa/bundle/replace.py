"""A bundle that was made beside its place gets its name, in one rename."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


def replace_bundle(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`. An old bundle there is removed after the new one has its name."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.rename(old / "bundle")
        folder.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(target)
