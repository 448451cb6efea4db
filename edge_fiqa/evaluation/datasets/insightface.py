"""insightface `.bin` files: a pickle of (encoded faces, pair labels), read without running it.

Faces 2i and 2i+1 are pair i. The unpickler knows lists, tuples, bytes, strings and booleans and no
name of any module, so a file cannot run code.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.evaluation.datasets.face_files import EncodedFaces
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs


def read_bin(path: Path, name: str) -> FacePairs:
    """Raises ConfigError for anything but a list of bytes with a list of booleans."""
    try:
        with path.open("rb") as file:
            content = _PlainOnly(file, encoding="bytes").load()
    except ConfigError:
        raise
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except Exception as exc:  # a damaged or hostile pickle can raise anything
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise ConfigError(f"{path}: not an insightface .bin ({reason})") from exc
    if not isinstance(content, (tuple, list)) or len(content) != 2:
        raise ConfigError(f"{path}: expected faces and labels, found a {type(content).__name__}")
    faces, labels = content
    if not isinstance(faces, list) or not all(isinstance(face, bytes) for face in faces):
        raise ConfigError(f"{path}: its faces are not a list of encoded images")
    if not isinstance(labels, list) or not all(type(label) in (bool, int) for label in labels):
        raise ConfigError(f"{path}: its labels are not a list of booleans")
    if not labels:
        raise ConfigError(f"{path}: no pairs in it")
    if len(faces) != 2 * len(labels):
        raise ConfigError(
            f"{path}: {counted(len(faces), 'face')} for {counted(len(labels), 'pair')}; some are "
            f"unpaired"
        )
    first = np.arange(0, len(faces), 2)
    return FacePairs(name, EncodedFaces(faces), first, first + 1, np.array(labels, bool))


class _PlainOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and is not opened")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside itself")
