"""Folders of faces with a list of pairs: our CSV, LFW's pairs.txt (view 2) and XQLFW's."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets.face_files import FileFaces
from edge_fiqa.evaluation.datasets.face_pairs import FacePairs, pairs_of_names

Pair = tuple[str, str, bool]
SUFFIXES = (".jpg", ".png", ".jpeg", ".bmp")
TRUTH = {"1": True, "true": True, "0": False, "false": False}


def read_csv_list(path: Path, root: Path, name: str) -> FacePairs:
    """Columns path_a, path_b, same (1 or 0), and identity; without it a person is the folder of
    path_a. Pairs whose files are missing are left out and counted; ConfigError if all are."""
    rows, people = parse_csv(path)
    if people is None:
        people = [str(PurePosixPath(a).parent) for a, _, _ in rows]
        if len(set(people)) == 1:
            people = None
    return _with_files(path, root, name, rows, people)


def parse_csv(path: Path) -> tuple[list[Pair], list[str] | None]:
    """Pairs, and identities if there is such a column. ConfigError naming file, line and column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := {"path_a", "path_b", "same"} - set(reader.fieldnames or ()):
                raise ConfigError(
                    f"{path}: expected columns path_a,path_b,same; no {min(missing)} in it"
                )
            rows, people = [], []
            for row in reader:
                same = TRUTH.get((row["same"] or "").strip().lower())
                if same is None or not row["path_a"] or not row["path_b"]:
                    raise ConfigError(
                        f"{path}, line {reader.line_num}: expected two paths and 1 or 0"
                    )
                rows.append((row["path_a"], row["path_b"], same))
                people.append(row.get("identity") or "")
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (ValueError, csv.Error) as exc:
        if isinstance(exc, ConfigError):
            raise
        raise ConfigError(f"{path}: {exc}") from exc
    return rows, people if "identity" in (reader.fieldnames or ()) else None


def read_lfw_list(path: Path, root: Path, name: str) -> FacePairs:
    """`pairs.txt`: `name i j` is a mated pair, `name i other j` is not; faces are name/name_000i.jpg
    or name/000i.jpg below `root`."""
    rows, people = [], []
    kind = _naming(root)
    for number, line in enumerate(_lines(path), 1):
        parts = line.split("\t") if "\t" in line else line.split()
        try:
            if len(parts) == 3:
                first, second = (parts[0], int(parts[1])), (parts[0], int(parts[2]))
            elif len(parts) == 4:
                first, second = (parts[0], int(parts[1])), (parts[2], int(parts[3]))
            elif len(parts) <= 2 and all(part.isdigit() for part in parts):
                continue  # the header, folds and pairs a fold, or an empty line
            else:
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"{path}, line {number}: expected `name i j` or `name i other j`"
            ) from None
        rows.append((kind.format(*first), kind.format(*second), len(parts) == 3))
        people.append(parts[0])
    return _with_files(path, root, name, rows, people)


def _naming(root: Path) -> str:
    """How files are named below `root`, as the first file shows."""
    for suffix in SUFFIXES:
        for face in root.glob(f"*/*{suffix}"):
            long = face.stem.startswith(face.parent.name)
            return ("{0}/{0}_{1:04d}" if long else "{0}/{1:04d}") + suffix
    raise ConfigError(f"{root}: no folders of faces in it; expected name/name_0001.jpg")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: not a text file ({exc})") from exc


def _with_files(
    path: Path, root: Path, name: str, rows: list[Pair], people: list[str] | None
) -> FacePairs:
    if not rows:
        raise ConfigError(f"{path}: no pairs in it")
    absent = missing_files(root, {face for pair in rows for face in pair[:2]})
    kept = [i for i, pair in enumerate(rows) if pair[0] not in absent and pair[1] not in absent]
    if not kept:
        raise ConfigError(f"{path}: none of its faces is below {root}, such as {rows[0][0]}")
    notes: tuple[str, ...] = ()
    if len(kept) < len(rows):
        notes = (
            f"{len(rows) - len(kept)} of {len(rows)} pairs are left out: their files are missing, "
            f"such as {min(absent)}",
        )
    names, a, b, same = pairs_of_names([rows[i] for i in kept], str(path))
    identity = None if people is None else np.array([people[i] for i in kept])
    return FacePairs(name, FileFaces(root, names), a, b, same, identity, notes=notes)


def missing_files(root: Path, names: Iterable[str]) -> set[str]:
    return {name for name in names if not (root / name).is_file()}
