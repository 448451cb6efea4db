"""edge-fiqa edc: error versus discard of the scores of any method."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_fiqa.cli.edc_output import plot, table
from edge_fiqa.cli.options import check_none_given
from edge_fiqa.cli.printing import say
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.evaluation.bootstrap import identity_weights, interval, weighted_pauc
from edge_fiqa.evaluation.crfiqa import DISCARDS, MovingThreshold, edc_crfiqa
from edge_fiqa.evaluation.direction import check_similarity, quality_note
from edge_fiqa.evaluation.edc import (
    Edc,
    edc_fixed,
    relative_pauc,
    resolves,
    theoretical_best,
    threshold_at_fmr,
    threshold_at_fnmr,
)
from edge_fiqa.evaluation.scored_pairs import COLUMNS, ScoredPairs, Undefined, read_scored

USUAL_RESAMPLES = 1000
OF_FIXED = ("threshold", "starting_error", "resamples")
NO_THRESHOLD = (
    "is about --protocol fixed: crfiqa finds its thresholds by --fmr, and has no interval"
)
USUAL_LIMIT = {"fixed": 0.3, "crfiqa": 0.95}
SHOWN: tuple[float, ...] = (0.0, 0.01, 0.02, *np.arange(0.05, 1, 0.05).round(2).tolist())


@dataclass(frozen=True, kw_only=True)
class EdcRequest:
    """The command line. At most one of fmr, starting_error and threshold is not None.

    limit: largest discard. resamples: of the bootstrap; 0: no interval. distance: a smaller similarity
    is more alike. columns: ours -> the file's name for it.
    """

    pairs: Path
    protocol: Literal["fixed", "crfiqa"]
    fmr: float | None
    starting_error: float | None
    threshold: float | None
    limit: float
    resamples: int
    undefined: Undefined
    distance: bool
    lower_is_better: bool
    columns: Mapping[str, str]

    @classmethod
    def of(cls, options: argparse.Namespace) -> EdcRequest:
        """Raises ConfigError where choices contradict each other."""
        if options.protocol == "crfiqa":
            check_none_given(options, OF_FIXED, NO_THRESHOLD)
        if options.resamples is None:
            options.resamples = USUAL_RESAMPLES
        names = [name for name in cls.__dataclass_fields__ if name not in ("limit", "columns")]
        limit = USUAL_LIMIT[options.protocol] if options.limit is None else options.limit
        if not 0 < limit <= 1:
            raise ConfigError(f"--limit lies in (0, 1], got {limit:g}")
        columns = _columns(options.columns)
        stated = {name: getattr(options, name) for name in names}
        return cls(limit=limit, columns=columns, **stated)

    @property
    def fmr_or_default(self) -> float:
        return 1e-3 if self.fmr is None else self.fmr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pairs",
        type=Path,
        metavar="PAIRS.csv|.npz",
        help="similarity, same, quality_a, quality_b (or pair_quality), and identity if known",
    )
    parser.add_argument(
        "--protocol",
        choices=("fixed", "crfiqa"),
        default="fixed",
        help="threshold set once (arXiv:2303.13294; default), or anew at every discard (CR-FIQA)",
    )
    parser.add_argument(
        "--columns",
        metavar="OURS=THEIRS,...",
        help="the file's names, e.g. similarity=score,same=label,quality_a=q1,quality_b=q2",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--fmr", type=float, metavar="F", help="of the pairs' impostors (0.001)")
    start.add_argument("--starting-error", type=float, metavar="E", help="FNMR at discard 0")
    start.add_argument("--threshold", type=float, metavar="T", help="similarity of a match")
    parser.add_argument("--limit", type=float, help="largest discard (fixed: 0.3, crfiqa: 0.95)")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--plot", type=Path, metavar="out.png", help="or .svg, .pdf")
    parser.add_argument(
        "--undefined",
        choices=("worst", "drop", "refuse"),
        default="worst",
        help="pairs without a quality leave first (default), are left out, or end the run",
    )
    parser.add_argument("--distance", action="store_true", help="smaller similarity: more alike")
    parser.add_argument("--lower-is-better", action="store_true", help="of the qualities")
    parser.add_argument(
        "--resamples",
        type=int,
        metavar="N",
        help=f"fixed: of the interval; 0: none ({USUAL_RESAMPLES})",
    )


def run(options: argparse.Namespace) -> int:
    request = EdcRequest.of(options)
    pairs = read_scored(
        request.pairs,
        undefined=request.undefined,
        distance=request.distance,
        lower_is_better=request.lower_is_better,
        columns=request.columns,
    )
    pairs.need_enough(str(request.pairs))
    check_similarity(pairs, request.distance, str(request.pairs))
    result = (_fixed if request.protocol == "fixed" else _crfiqa)(pairs, request)
    say(json.dumps(result) if options.format == "json" else "\n".join(table(result)))
    if options.plot is not None:
        plot(result, options.plot)
    return 0


def _columns(text: str | None) -> dict[str, str]:
    """Raises ConfigError where a part is not OURS=THEIRS, or ours is none of COLUMNS."""
    renamed = {}
    for part in [] if text is None else text.split(","):
        ours, _, theirs = (word.strip() for word in part.partition("="))
        if ours not in COLUMNS or not theirs:
            raise ConfigError(
                f"--columns takes OURS=THEIRS, where OURS is one of {', '.join(COLUMNS)}; got {part!r}"
            )
        renamed[ours] = theirs
    return renamed


def _fixed(pairs: ScoredPairs, request: EdcRequest) -> dict[str, Any]:
    threshold, setting = _threshold(pairs, request)
    genuine, quality, limit = pairs.genuine, pairs.quality[pairs.same], request.limit
    curve = edc_fixed(genuine, quality, threshold)
    area, start = curve.pauc(limit), curve.at(0)
    relative = relative_pauc(area, start, limit)
    return {
        "protocol": "fixed",
        "setting": setting,
        "threshold": -threshold if request.distance else threshold,
        **_counts(pairs),
        "limit": limit,
        "pauc": area,
        "pauc_interval_95": _interval(pairs, request, threshold),
        "pauc_theoretical_best": theoretical_best(start, limit),
        "pauc_minus_best": area - theoretical_best(start, limit),
        "pauc_relative": None if np.isnan(relative) else relative,
        "points": _points(curve, quality, limit),
        "curve": {"discard": curve.discard.tolist(), "fnmr": curve.fnmr.tolist()},
        "notes": _fixed_notes(pairs, request, int((genuine < threshold).sum())),
    }


def _interval(
    pairs: ScoredPairs, request: EdcRequest, threshold: float
) -> tuple[float, float] | None:
    """Of the pAUC, by identity where identities are known; None without resamples."""
    if request.resamples <= 0:
        return None
    people = np.arange(pairs.same.size) if pairs.identity is None else pairs.identity
    weights = identity_weights(people[pairs.same], request.resamples)
    quality = pairs.quality[pairs.same]
    return interval(weighted_pauc(pairs.genuine, quality, threshold, request.limit, weights))


def _notes(pairs: ScoredPairs, request: EdcRequest) -> list[str]:
    note = quality_note(pairs, request.lower_is_better)
    return [*pairs.notes, *([] if note is None else [note])]


def _fixed_notes(pairs: ScoredPairs, request: EdcRequest, errors: int) -> list[str]:
    notes = _notes(pairs, request)
    if errors < 30:
        notes.append(
            f"only {counted(errors, 'error')} with nothing discarded: read the interval, not the area"
        )
    if request.resamples > 0 and pairs.identity is None:
        notes.append("no identities: the interval takes pairs as independent and is too narrow")
    return notes


def _threshold(pairs: ScoredPairs, request: EdcRequest) -> tuple[float, str]:
    """The threshold on similarity, and how it was set."""
    if request.threshold is not None:
        stated = request.threshold
        return (-stated if request.distance else stated), f"threshold {stated:g}, as given"
    if (error := request.starting_error) is not None:
        if 0 < error < 1 and not resolves(pairs.genuine.size, error):
            raise ConfigError(
                f"{request.pairs}: {pairs.genuine.size:,} mated pairs cannot resolve a starting "
                f"error of {error:g}"
            )
        return threshold_at_fnmr(pairs.genuine, error), f"starting error {error:g}"
    fmr = request.fmr_or_default
    try:
        return threshold_at_fmr(pairs.impostor, fmr), f"FMR {fmr:g} with nothing discarded"
    except ConfigError as exc:
        raise ConfigError(
            f"{request.pairs}: {exc}; or give --threshold or --starting-error"
        ) from exc


def _crfiqa(pairs: ScoredPairs, request: EdcRequest) -> dict[str, Any]:
    fmr, limit = request.fmr_or_default, request.limit
    try:
        threshold_at_fmr(pairs.impostor, fmr)  # refuses a rate that is no rate, or not resolved
    except ConfigError as exc:
        raise ConfigError(f"{request.pairs}: {exc}") from exc
    curve = edc_crfiqa(pairs.similarity, pairs.same, pairs.quality, fmr)
    reach, notes = min(curve.reach(fmr), limit), _notes(pairs, request)
    whole = curve.resolves(fmr, limit)
    if not whole:
        notes.append(
            f"FMR {fmr:g} is resolved up to a discard of {reach:g} only: the impostors left behind "
            f"it are too few, and there is no area to {limit:g}"
        )
    return {
        "protocol": "crfiqa",
        "setting": f"FMR {fmr:g} at every discard",
        "threshold": None,
        **_counts(pairs),
        "limit": limit,
        "pauc": curve.area(limit) if whole else None,
        "pauc_resolved": {"limit": reach, "pauc": curve.area(reach) if reach else 0.0},
        "points": _moving_points(curve, fmr, limit),
        "notes": notes,
    }


def _counts(pairs: ScoredPairs) -> dict[str, int | None]:
    people = None if pairs.identity is None else len(set(pairs.identity[pairs.same]))
    return {"mated": pairs.genuine.size, "non_mated": pairs.impostor.size, "identities": people}


def _points(curve: Edc, quality: Any, limit: float) -> list[dict[str, float | int]]:
    """FNMR at round discards, while at least one pair remains."""
    remaining = quality.size - np.round(curve.discard[:-1] * quality.size)
    remaining = np.append(remaining, 0).astype(int)
    steps = {d: int(np.searchsorted(curve.discard, d + 1e-12, "right")) - 1 for d in SHOWN}
    return [
        {"discard": d, "fnmr": curve.at(d), "pairs": int(remaining[step])}
        for d, step in steps.items()
        if d <= limit + 1e-9 and remaining[step]
    ]


def _moving_points(curve: MovingThreshold, fmr: float, limit: float) -> list[dict[str, Any]]:
    return [
        {
            "discard": round(float(d), 2),
            "fnmr": float(fnmr) if resolves(impostors, fmr) and np.isfinite(fnmr) else None,
            "fmr": float(reached) if np.isfinite(reached) else None,
            "impostors": int(impostors),
        }
        for d, fnmr, reached, impostors in zip(
            DISCARDS, curve.fnmr, curve.fmr, curve.impostors.tolist(), strict=True
        )
        if d <= limit + 1e-9
    ]
