"""What was learned of a file, kept in the cache for the day when the file is gone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from edge_fiqa.errors import ConfigError
from edge_fiqa.kept import kept_or_none, why_not_kept, write_kept

FOLDER = "remembered"


def remembered(file: Path, what: str, read: Callable[[Path], bytes], cache: Path) -> bytes:
    """What `read` returns of the file, or did when the file was last there, at this path.

    read: raises FileNotFoundError for a file that is gone. what: a name of what it reads. Raises
    ConfigError for a file that is absent and was never read.
    """
    label = f"{what} of {os.path.abspath(file)}"  # noqa: PTH100 - links stay links
    name = hashlib.sha256(label.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    place = cache / FOLDER / name
    if (reason := why_not_kept(place.parent)) is not None:
        raise ConfigError(f"{place.parent}: {reason}; or name another folder with --cache")
    known = kept_or_none(place, label)
    try:
        content = read(file)
    except FileNotFoundError:
        if known is None:
            raise ConfigError(f"{file}: no such file, and {cache} knows nothing of it") from None
        return known
    except OSError as exc:
        raise ConfigError(f"{file}: {exc.strerror}") from exc
    if content != known:
        write_kept(place, content, label)
    return content
