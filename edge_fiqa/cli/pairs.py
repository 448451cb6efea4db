"""Pairs of faces, as the command line names them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import FaceSet


def read_pairs(path: Path, faces: FaceSet) -> npt.NDArray[np.intp]:
    """(P, 3): rows of both faces, and whether they are one person. Pairs of other files are left."""
    row_of = {name: row for row, name in enumerate(faces.names)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = [
                (row_of[pair["path_a"]], row_of[pair["path_b"]], int(pair["same"]))
                for pair in csv.DictReader(file)
                if pair["path_a"] in row_of and pair["path_b"] in row_of
            ]
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (KeyError, ValueError, csv.Error) as exc:
        raise ConfigError(f"{path}: expected columns path_a,path_b,same ({exc})") from exc
    if not found:
        raise ConfigError(f"{path}: none of its pairs is among the faces; paths are below FACES")
    return np.array(found)
