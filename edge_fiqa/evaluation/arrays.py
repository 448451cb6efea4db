"""Arrays from an npz file of any origin; nothing is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import unpacking_bomb


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of the file, by name. Raises ConfigError naming it if it holds anything else."""
    try:
        if (reason := unpacking_bomb(path)) is not None:
            raise ConfigError(f"{path}: {reason}: it is not read; save it without compression")
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or exc}") from exc
    except ConfigError:
        raise
    except MemoryError as exc:
        raise ConfigError(f"{path}: its arrays do not fit into memory") from exc
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as exc:
        raise ConfigError(f"{path}: not an npz file of plain arrays ({exc})") from exc
