"""edge-fiqa edc: error versus discard of anybody's scores."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_fiqa.errors import BackendMissing, ConfigError
from edge_fiqa.evaluation.bootstrap import identity_weights, interval, weighted_pauc
from edge_fiqa.evaluation.crfiqa import DISCARDS, MovingThreshold, edc_crfiqa
from edge_fiqa.evaluation.edc import (
    Edc,
    edc_fixed,
    relative_pauc,
    resolves,
    theoretical_best,
    threshold_at_fmr,
    threshold_at_fnmr,
)
from edge_fiqa.evaluation.scored_pairs import ScoredPairs, read_scored

USUAL_LIMIT = {"fixed": 0.3, "crfiqa": 0.95}
SHOWN: tuple[float, ...] = (0.0, 0.01, 0.02, *np.arange(0.05, 1, 0.05).round(2).tolist())


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
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="(1000)")


def run(options: argparse.Namespace) -> int:
    limit = USUAL_LIMIT[options.protocol] if options.limit is None else options.limit
    if not 0 < limit <= 1:
        raise ConfigError(f"--limit lies in (0, 1], got {limit:g}")
    pairs = read_scored(
        options.pairs,
        undefined=options.undefined,
        distance=options.distance,
        lower_is_better=options.lower_is_better,
    )
    pairs.need_enough(str(options.pairs))
    found = (_fixed if options.protocol == "fixed" else _crfiqa)(pairs, options, limit)
    print(json.dumps(found) if options.format == "json" else "\n".join(_table(found)))
    if options.plot is not None:
        _plot(found, options.plot)
    return 0


def _fixed(pairs: ScoredPairs, options: argparse.Namespace, limit: float) -> dict[str, Any]:
    threshold, setting = _threshold(pairs, options)
    genuine, quality = pairs.genuine, pairs.quality[pairs.same]
    curve, notes = edc_fixed(genuine, quality, threshold), list(pairs.notes)
    errors = int((genuine < threshold).sum())
    if errors < 30:
        notes.append(
            f"only {errors} errors with nothing discarded: read the interval, not the area"
        )
    ranges = None
    if options.resamples > 0:
        if pairs.identity is None:
            notes.append("no identities: the interval takes pairs as independent and is too narrow")
        people = np.arange(pairs.same.size) if pairs.identity is None else pairs.identity
        weights = identity_weights(people[pairs.same], options.resamples)
        ranges = interval(weighted_pauc(genuine, quality, threshold, limit, weights))
    area, start = curve.pauc(limit), curve.at(0)
    relative = relative_pauc(area, start, limit)
    return {
        "protocol": "fixed",
        "setting": setting,
        "threshold": -threshold if options.distance else threshold,
        **_counts(pairs),
        "limit": limit,
        "pauc": area,
        "pauc_interval_95": ranges,
        "pauc_theoretical_best": theoretical_best(start, limit),
        "pauc_minus_best": area - theoretical_best(start, limit),
        "pauc_relative": None if np.isnan(relative) else relative,
        "points": _points(curve, quality, limit),
        "curve": {"discard": curve.discard.tolist(), "fnmr": curve.fnmr.tolist()},
        "notes": notes,
    }


def _threshold(pairs: ScoredPairs, options: argparse.Namespace) -> tuple[float, str]:
    if options.threshold is not None:
        told = float(options.threshold)
        return (-told if options.distance else told), f"threshold {told:g}, as given"
    if (error := options.starting_error) is not None:
        if 0 < error < 1 and not resolves(pairs.genuine.size, error):
            raise ConfigError(
                f"{options.pairs}: {pairs.genuine.size:,} mated pairs cannot resolve a starting "
                f"error of {error:g}"
            )
        return threshold_at_fnmr(pairs.genuine, error), f"starting error {error:g}"
    fmr = 1e-3 if options.fmr is None else options.fmr
    try:
        return threshold_at_fmr(pairs.impostor, fmr), f"FMR {fmr:g} with nothing discarded"
    except ConfigError as exc:
        raise ConfigError(
            f"{options.pairs}: {exc}; or give --threshold or --starting-error"
        ) from exc


def _crfiqa(pairs: ScoredPairs, options: argparse.Namespace, limit: float) -> dict[str, Any]:
    if options.threshold is not None or options.starting_error is not None:
        raise ConfigError("--protocol crfiqa finds its thresholds by --fmr, nothing else")
    fmr = 1e-3 if options.fmr is None else options.fmr
    try:
        threshold_at_fmr(pairs.impostor, fmr)  # refuses a rate that is no rate, or not resolved
    except ConfigError as exc:
        raise ConfigError(f"{options.pairs}: {exc}") from exc
    curve = edc_crfiqa(pairs.similarity, pairs.same, pairs.quality, fmr)
    reach, notes = min(curve.reach(fmr), limit), list(pairs.notes)
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
    """FNMR at round discards, while at least one pair is left."""
    left = np.append(quality.size - np.round(curve.discard[:-1] * quality.size), 0).astype(int)
    return [
        {"discard": d, "fnmr": curve.at(d), "pairs": int(left[at])}
        for d in SHOWN
        if d <= limit + 1e-9
        and left[at := int(np.searchsorted(curve.discard, d + 1e-12, "right")) - 1]
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


def _table(found: dict[str, Any]) -> list[str]:
    last = "pairs left" if found["protocol"] == "fixed" else "impostors left"
    key = "pairs" if found["protocol"] == "fixed" else "impostors"
    people = "" if found["identities"] is None else f", {found['identities']:,} identities"
    lines = [
        f"protocol {found['protocol']}, {found['setting']}",
        f"{found['mated']:,} mated and {found['non_mated']:,} non-mated pairs{people}",
        "",
        f" discard      FNMR  {last}",
    ]
    for point in found["points"]:
        rate = "unresolved" if point["fnmr"] is None else f"{100 * point['fnmr']:.3f} %"
        lines.append(f"{100 * point['discard']:>6.0f} %{rate:>11}{point[key]:>12,}")
    lines.append("")
    if found["pauc"] is not None:
        lines.append(f"pAUC to {found['limit']:g}       {found['pauc']:.6f}{_between(found)}")
    elif found["pauc_resolved"]["limit"]:
        shorter = found["pauc_resolved"]
        lines.append(f"pAUC to {shorter['limit']:g}       {shorter['pauc']:.6f}")
    if "pauc_theoretical_best" in found:
        lines.append(f"theoretical best  {found['pauc_theoretical_best']:.6f}")
        relative = found["pauc_relative"]
        told = "undefined: no errors" if relative is None else f"{relative:.3f}"
        lines.append(f"relative          {told}  (0: theoretical best, 1: discarding at random)")
    return lines + [f"note: {note}" for note in found["notes"]]


def _between(found: dict[str, Any]) -> str:
    ranges = found.get("pauc_interval_95")
    return "" if ranges is None else f"  [{ranges[0]:.6f}, {ranges[1]:.6f}] 95 %"


def _plot(found: dict[str, Any], target: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[evaluate]'") from exc
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    rows = found["points"]
    if found["protocol"] == "fixed":
        axes.step(found["curve"]["discard"], found["curve"]["fnmr"], where="post", label="measured")
        start, grid = rows[0]["fnmr"], np.linspace(0, found["limit"], 500)
        axes.plot(grid, np.maximum(start - grid, 0), ":", color="0.5", label="theoretical best")
        axes.legend(frameon=False)
    else:
        axes.plot([r["discard"] for r in rows], [r["fnmr"] for r in rows], "o-", ms=3)
    axes.set(xlim=(0, found["limit"]), ylim=(0, None), xlabel="discarded", ylabel="FNMR")
    axes.set_title(f"{found['setting']} (protocol {found['protocol']})", fontsize=10)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(target, dpi=130)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{target}: {exc}") from exc
