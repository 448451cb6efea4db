"""Scored pairs: similarity, kind and quality of verification pairs, from a CSV or npz file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.evaluation.arrays import read_npz
from edge_fiqa.types import Floats, Mask

Undefined = Literal["worst", "drop", "refuse"]
FEWEST = 30
"""Fewest mated pairs for an error rate."""
MISSING = frozenset(("", "na", "nan", "null", "none"))
COLUMNS = ("similarity", "same", "quality_a", "quality_b", "pair_quality", "identity")
TRUE, FALSE = frozenset(("1", "true", "1.0")), frozenset(("0", "false", "0.0"))


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """P pairs. similarity, quality: (P,) finite, higher is better; a pair's quality is the lower of
    its two faces (arXiv:2303.13294). same: (P,) True for mated pairs. identity: (P,) or None.

    notes: what was unusual in the source, in words.
    """

    similarity: Floats
    same: Mask
    quality: Floats
    identity: npt.NDArray[np.str_] | None = None
    notes: tuple[str, ...] = field(default=())

    def need_enough(self, where: str) -> None:
        """Raises ConfigError if there are too few mated pairs for an error rate."""
        count = int(self.same.sum())
        if count < FEWEST:
            raise ConfigError(
                f"{where}: {counted(count, 'mated pair says', 'mated pairs say')} nothing about an "
                "error rate; "
                f"at least {FEWEST} are needed"
            )

    @property
    def genuine(self) -> Floats:
        return self.similarity[self.same]

    @property
    def impostor(self) -> Floats:
        return self.similarity[~self.same]


def score_pairs(
    similarity: npt.ArrayLike,
    same: npt.ArrayLike,
    quality: npt.ArrayLike,
    identity: npt.ArrayLike | None = None,
    *,
    undefined: Undefined = "worst",
    where: str = "pairs",
) -> ScoredPairs:
    """Checks arrays (P,), and applies the rule for pairs without a quality.

    quality: NaN where a face got none. undefined: such pairs count as the `worst` quality, so that
    they leave first and together (a system would ask for another image), or are dropped, or refused.
    A pair whose similarity is not finite was never compared: it is dropped, with a note.
    Raises ConfigError naming `where`.
    """
    s, q = np.asarray(similarity, np.float64), np.asarray(quality, np.float64)
    mated = np.asarray(same)
    people = None if identity is None else np.asarray(identity).astype(str)
    _check_arrays(s, mated, q, people, where)
    compared, has_quality = np.isfinite(s), np.isfinite(q)
    notes = _undefined_notes(compared, has_quality, undefined, where)
    kept = compared & (has_quality | (undefined == "worst"))
    if not kept.any():
        raise ConfigError(f"{where}: no pair is left")
    worst = np.nextafter(q[has_quality].min(), -np.inf) if has_quality.any() else 0.0
    return ScoredPairs(
        s[kept],
        mated[kept].astype(bool),
        np.where(has_quality, q, worst)[kept],
        None if people is None else people[kept],
        notes,
    )


def _check_arrays(
    similarity: Floats,
    same: npt.NDArray[Any],
    quality: Floats,
    identity: npt.NDArray[np.str_] | None,
    where: str,
) -> None:
    """Raises ConfigError unless there are pairs, shapes agree, and same holds 1 and 0 only."""
    if not similarity.size:
        raise ConfigError(f"{where}: it holds no pairs")
    if identity is not None and identity.shape != similarity.shape:
        raise ConfigError(f"{where}: {identity.size} identities for {similarity.size} pairs")
    if similarity.ndim != 1 or not similarity.shape == quality.shape == same.shape:
        raise ConfigError(
            f"{where}: similarity, same and quality must have one length, got "
            f"{similarity.shape}, {same.shape}, {quality.shape}"
        )
    if not np.isin(same, (0, 1)).all():
        raise ConfigError(
            f"{where}: same must be 1 (mated) or 0, found {np.unique(same)[:5].tolist()}"
        )


def _undefined_notes(
    compared: Mask, has_quality: Mask, undefined: Undefined, where: str
) -> tuple[str, ...]:
    """Notes on pairs without similarity or quality; ConfigError where these are refused."""
    notes = []
    if without := int((~compared).sum()):
        pairs = counted(without, "pair without a similarity is", "pairs without a similarity are")
        notes.append(f"{pairs} left out")
    if without := int((~has_quality[compared]).sum()):
        if undefined == "refuse":
            pairs = counted(without, "pair has", "pairs have")
            raise ConfigError(f"{where}: {pairs} no quality; see --undefined")
        treatment = "counted as the worst quality" if undefined == "worst" else "left out"
        pairs = counted(without, "pair without a quality is", "pairs without a quality are")
        notes.append(f"{pairs} {treatment}")
    return tuple(notes)


def read_scored(
    path: Path,
    *,
    undefined: Undefined = "worst",
    distance: bool = False,
    lower_is_better: bool = False,
    columns: Mapping[str, str] | None = None,
) -> ScoredPairs:
    """CSV or npz with similarity, same, quality_a and quality_b or pair_quality, and maybe identity.

    distance: the similarity is a distance: smaller is more alike. lower_is_better: of qualities.
    columns: of these names (COLUMNS), what the file calls them, where that differs.
    Raises ConfigError naming file, column and line.
    """
    names = {name: name for name in COLUMNS} | dict(columns or {})
    values = _read_npz(path, names) if path.suffix == ".npz" else _read_csv(path, names)
    similarity = -values["similarity"] if distance else values["similarity"]
    pairs = score_pairs(
        similarity,
        values["same"],
        _pair_quality(values, lower_is_better),
        values.get("identity"),
        undefined=undefined,
        where=str(path),
    )
    return _with_duplicates(pairs)


def _pair_quality(values: dict[str, Floats], lower_is_better: bool) -> Floats:
    """(P,), higher is better: the lower of both faces, where the pair has no quality of its own."""
    sign = -1.0 if lower_is_better else 1.0
    if "pair_quality" in values:
        return sign * values["pair_quality"]
    return np.minimum(sign * values["quality_a"], sign * values["quality_b"])


def _known(there: Iterable[str], names: Mapping[str, str], path: Path) -> dict[str, str]:
    """Of the columns that are there, those we read: ours -> theirs. Raises ConfigError if some lack."""
    present = list(there)
    known = {ours: theirs for ours, theirs in names.items() if theirs in present}
    missing = [names[ours] for ours in ("similarity", "same") if ours not in known]
    if not ({"quality_a", "quality_b"} <= known.keys() or "pair_quality" in known):
        missing.append(
            f"{names['quality_a']} and {names['quality_b']} (or {names['pair_quality']})"
        )
    if missing:
        if {"quality.scalar", "source"} <= set(present):
            raise ConfigError(
                f"{path} lists faces, as edge-fiqa score writes them, and edc reads pairs: a row for "
                "each two faces, with their similarity. edge-fiqa evaluate makes them from a plan; "
                "by hand: docs/evaluation.md"
            )
        raise ConfigError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(present) or 'none'}. "
            "Other names: --columns similarity=score,same=label,..."
        )
    return known


def _with_duplicates(pairs: ScoredPairs) -> ScoredPairs:
    """Equal rows are noted, not removed: two different pairs may have equal values."""
    rows = np.column_stack((pairs.similarity, pairs.same, pairs.quality))
    extra = len(rows) - len(np.unique(rows, axis=0))
    if extra <= 0.01 * len(rows):
        return pairs
    note = f"{extra} of {len(rows)} rows repeat another; are pairs listed twice?"
    return ScoredPairs(
        pairs.similarity, pairs.same, pairs.quality, pairs.identity, (*pairs.notes, note)
    )


def _read_npz(path: Path, names: Mapping[str, str]) -> dict[str, Floats]:
    arrays = read_npz(path)
    known = _known(arrays, names, path)
    try:
        return {
            ours: arrays[theirs] if ours == "identity" else arrays[theirs].astype(np.float64)
            for ours, theirs in known.items()
        }
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{path}: an array is not of numbers ({exc})") from exc


def _read_csv(path: Path, names: Mapping[str, str]) -> dict[str, Floats]:
    values: dict[str, list[float | str]]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            known = _known(reader.fieldnames or (), names, path)
            values = {ours: [] for ours in known}
            for row in reader:
                for ours, theirs in known.items():
                    values[ours].append(_value(ours, row[theirs]))
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except ConfigError:
        raise
    except (ValueError, csv.Error) as exc:
        raise ConfigError(f"{path}, line {reader.line_num}: {exc}") from exc
    return {name: np.array(column) for name, column in values.items()}


def _value(name: str, text: str | None) -> float | str:
    if name == "identity":
        return text or ""
    word = (text or "").strip().lower()
    if name == "same":
        if word not in TRUE | FALSE:
            raise ValueError(f"same must be 1 or 0, got {text!r}")
        return float(word in TRUE)
    return float("nan") if word in MISSING else float(word)
