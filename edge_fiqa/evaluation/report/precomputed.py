"""Embeddings and scores that were computed elsewhere, matched to a data set's faces by their names."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.evaluation.arrays import read_npz
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs
from edge_fiqa.types import Array, Floats


def precomputed_embeddings(
    files: Mapping[str, str], pairs: FacePairs, root: Path, name: str
) -> Array:
    """(N, F) from an npz with names (M,) and embeddings (M, F); without names, M must be N.

    Raises ConfigError for a face that has none.
    """
    path = _file(files, pairs, root, f"recogniser {name}")
    arrays = read_npz(path)
    table = arrays.get("embeddings")
    if table is None or table.ndim != 2 or table.dtype.kind != "f":
        raise ConfigError(f"{path}: expected an array embeddings (N, F) of floating-point numbers")
    if "names" not in arrays:
        if len(table) != len(pairs.faces):
            raise ConfigError(
                f"{path}: {counted(len(table), 'embedding')} for "
                f"{counted(len(pairs.faces), 'face')}; give names as well"
            )
        return table.astype(np.float32)
    names = arrays["names"].astype(str).tolist()
    if len(names) != len(table):
        raise ConfigError(
            f"{path}: {counted(len(names), 'name')} for {counted(len(table), 'embedding')}"
        )
    return np.asarray(table[_rows(names, pairs, path, "embedding")], np.float32)


def precomputed_scores(files: Mapping[str, str], pairs: FacePairs, root: Path, name: str) -> Floats:
    """(N,) from a CSV with columns path and score; an empty score is undefined (NaN). Or from a Parquet
    set of records: their fused raw scores.

    Raises ConfigError for a face that has no line.
    """
    path = _file(files, pairs, root, f"baseline {name}")
    if path.is_dir() or path.suffix == ".parquet":
        from edge_fiqa.tables.score_set import ScoreSet  # needs pyarrow
        from edge_fiqa.tables.stored_scores import stored_raw

        return stored_raw(ScoreSet(str(path)), pairs.faces.names)
    names, scores = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"path", "score"} <= set(reader.fieldnames or ()):
                raise ConfigError(f"{path}: expected columns path and score")
            for row in reader:
                names.append(row["path"])
                try:
                    scores.append(float(row["score"] or "nan"))
                except ValueError:
                    raise ConfigError(
                        f"{path}, line {reader.line_num}: {row['score']!r} is no number"
                    ) from None
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    return np.array(scores)[_rows(names, pairs, path, "score")]


def precomputed_trails(file: str, root: Path, pairs: FacePairs, bundle: Bundle) -> Array:
    """(N, E) raw scores of every exit from a Parquet set of records of this bundle's model.

    file: a path below `root`, or a URI. Raises ConfigError for a face without its record.
    """
    from edge_fiqa.tables.places import is_uri  # needs pyarrow
    from edge_fiqa.tables.score_set import ScoreSet
    from edge_fiqa.tables.stored_scores import stored_trails

    stored = ScoreSet(file if is_uri(file) else str(root / file))
    return stored_trails(stored, pairs.faces.names, bundle.manifest.fingerprint)


def _file(files: Mapping[str, str], pairs: FacePairs, root: Path, what: str) -> Path:
    if pairs.name not in files:
        raise ConfigError(f"{what}: no file for data set {pairs.name} (there is {sorted(files)})")
    return root / files[pairs.name]


def _rows(names: Sequence[str], pairs: FacePairs, path: Path, what: str) -> list[int]:
    row_of = {name: row for row, name in enumerate(names)}
    if len(row_of) < len(names):
        raise ConfigError(f"{path}: a name is there twice")
    absent = [name for name in pairs.faces.names if name not in row_of]
    if absent:
        raise ConfigError(
            f"{path}: no {what} for {len(absent)} of {counted(len(pairs.faces), 'face')}, such as "
            f"{absent[0]}"
        )
    return [row_of[name] for name in pairs.faces.names]
