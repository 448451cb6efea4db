"""A recogniser and pairs of faces, as the command line names them."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edge_fiqa.config import read_yaml
from edge_fiqa.errors import ConfigError
from edge_fiqa.recognition import Recogniser
from edge_fiqa.types import FaceSet


def read_recogniser(path: Path) -> Recogniser:
    """An .onnx fed with RGB pixels as they are, or a .yaml with path, mean, std, columns."""
    if path.suffix == ".onnx":
        return Recogniser(path=path)
    try:
        found = msgspec.convert(read_yaml(path), _Feeding)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    return Recogniser(
        path=path.parent / found.path, mean=found.mean, std=found.std, columns=found.columns
    )


class _Feeding(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    columns: tuple[int, int] = (0, 112)


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
