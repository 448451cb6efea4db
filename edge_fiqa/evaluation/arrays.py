"""Arrays from an npz file of any origin; nothing is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of the file, by name. Raises ConfigError naming it if it holds anything else."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or exc}") from exc
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as exc:
        raise ConfigError(f"{path}: not an npz file of plain arrays ({exc})") from exc
