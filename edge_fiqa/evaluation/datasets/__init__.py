"""Verification data sets as people have them on disk: faces, and pairs of them.

| path | is read as |
|---|---|
| `*.bin` | insightface's pickle of encoded faces and pairs (LFW, AgeDB-30, CFP-FP, CALFW, CPLFW) |
| `*.csv` | columns path_a, path_b, same, and identity if known; paths below the folder of faces |
| `*.txt` | pairs.txt of LFW view 2, or XQLFW's |
| folder with `fold_*_data.txt` | Adience: all mated pairs of a person, impostors drawn |
| folder with `meta/*_face_tid_mid.txt` | IJB-B or IJB-C, aligned by its five points |
"""

from __future__ import annotations

from pathlib import Path

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets.adience import read_adience
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs
from edge_fiqa.evaluation.datasets.ijb import read_ijb
from edge_fiqa.evaluation.datasets.insightface import read_bin
from edge_fiqa.evaluation.datasets.lists import read_csv_list, read_lfw_list


def open_pairs(path: Path, faces: Path | None = None, name: str | None = None) -> FacePairs:
    """The data set at `path`. faces: the folder that paths in a list are below (default: the list's).

    Raises ConfigError, one line that says what was looked for.
    """
    name = name or path.stem
    if path.is_dir():
        if any(path.glob("meta/*_face_tid_mid.txt")):
            return read_ijb(path, name)
        if any(path.glob("fold_*_data.txt")):
            return read_adience(path, name, faces)
        raise ConfigError(
            f"{path}: neither Adience (fold_0_data.txt) nor IJB (meta/ijbc_face_tid_mid.txt) is in it"
        )
    if not path.is_file():
        raise ConfigError(f"{path}: no such data set")
    root = faces or path.parent
    if path.suffix == ".bin":
        return read_bin(path, name)
    if path.suffix == ".csv":
        return read_csv_list(path, root, name)
    if path.suffix == ".txt":
        return read_lfw_list(path, root, name)
    raise ConfigError(f"{path}: unknown kind of data set; expected .bin, .csv, .txt or a folder")
