"""What scores are worth: EDC on test faces, every exit and fusion beside baselines, in one run.

    python benchmarks/model_quality.py DATA --bundle nano=DIR --bundle small=DIR -o RESULT.json

Protocol fixed (arXiv:2303.13294), pAUC to a discard of 0.3 at FMR 1e-2 and 1e-3, thresholds set on
each list's own impostor pairs. Intervals: 95 %, bootstrap over identities, thresholds kept; those of
ratios are paired. Recognisers marked unseen taught the models nothing. Mean ratios are of the unseen
ones and the lists of photographs (all but ORL). Give an earlier model as one more bundle to compare
with it. A picture is written beside the result.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from baselines import HAND_MADE, LIGHTQNET, hand_made, lightqnets
from common import add_data, add_named, new_result, parser, write_result
from pair_lists import (
    LIMIT,
    LISTS,
    RECOGNISERS,
    UNSEEN,
    compare,
    mean_ratio,
    pauc,
    read_list,
    recogniser,
)

from edge_fiqa import Scorer
from edge_fiqa.evaluation.bootstrap import identity_weights, interval, weighted_pauc
from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.evaluation.recognition import unit
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits

FMRS = (1e-2, 1e-3)
GREY_LIST = "orl_gen_test"


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    add_named(arguments, "--bundle")
    arguments.add_argument("--times", type=int, default=300, help="bootstrap resamples (300)")
    options = arguments.parse_args()
    bundles, result = dict(options.bundle), new_result(__doc__)
    rows, samples = [], []
    for name in LISTS:
        for row, own in evaluate_list(options.data, name, bundles, options.times):
            rows.append(row | {"ratio": ratios([(row, own)], list(bundles))})
            samples.append(own)
    result |= {
        "limit": LIMIT,
        "unit": "pAUC x 1e-3, lower is better",
        "intervals": f"95 %, {options.times} resamples of identities",
        "mean": means(rows),
        "mean_ratio": {
            f"fmr {fmr:g}": ratios(
                [
                    (row, own)
                    for row, own in zip(rows, samples, strict=True)
                    if row["unseen"] and row["fmr"] == fmr and row["list"] != GREY_LIST
                ],
                list(bundles),
            )
            for fmr in FMRS
        },
        "verdicts": verdicts(rows, list(bundles)),
        "rows": rows,
    }
    write_result(result, options.output)
    if options.output:
        plot(result, list(bundles), options.output.with_suffix(".png"))
    print(json.dumps({key: result[key] for key in ("mean", "mean_ratio", "verdicts")}))


def evaluate_list(
    data: Path, name: str, bundles: dict[str, str], times: int
) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    """A row for each recogniser and FMR, and pAUC of every method in each resample."""
    faces, a, b, same, identity = read_list(data, name)
    qualities = {**hand_made(faces), **lightqnets(data / "models", faces)}
    for bundle, folder in bundles.items():
        with Scorer.open(folder) as scorer:
            trail = all_exits(scorer.engine, faces)
        depth = trail.shape[1]
        qualities |= {f"{bundle} exit {k + 1}": trail[:, k] for k in range(depth)}
        qualities |= {f"{bundle} {rule}": fuse(trail, depth, rule) for rule in ("F", "FW")}
    weights = identity_weights(identity, times)
    for network in RECOGNISERS:
        model = recogniser(data, network)
        raw = np.concatenate([embedding for embedding, _ in model.run_batches(faces)])
        qualities["embedding norm"] = np.linalg.norm(raw, axis=1)
        genuine, impostor = compare(unit(raw), a, b, same)
        worse = {method: np.minimum(q[a], q[b])[same] for method, q in qualities.items()}
        for fmr in FMRS:
            threshold = threshold_at_fmr(impostor, fmr)
            row = {"list": name, "recogniser": network, "unseen": network in UNSEEN}
            row |= {"fmr": fmr, "fnmr_pct": round(100 * float((genuine < threshold).mean()), 2)}
            samples = {
                method: 1e3 * weighted_pauc(genuine, q, threshold, LIMIT, weights)
                for method, q in worse.items()
            }
            row["pauc_e3"] = {m: round(pauc(genuine, q, threshold), 3) for m, q in worse.items()}
            row["interval"] = {m: rounded(interval(s)) for m, s in samples.items()}
            row["difference"] = {
                f"{bundle} {judged} - {other}": rounded(
                    interval(samples[f"{bundle} {judged}"] - samples[other])
                )
                for bundle in bundles
                for judged in ("FW", "exit 6")
                for other in (*HAND_MADE, *LIGHTQNET)
            }
            shown = {m: v for m, v in row["pauc_e3"].items() if "exit" not in m}
            print(name, network, fmr, row["fnmr_pct"], shown, flush=True)
            yield row, samples


def ratios(
    rows: list[tuple[dict, dict[str, np.ndarray]]], bundles: list[str]
) -> dict[str, list[float] | None]:
    """Mean over rows of one pAUC divided by another, with its interval (below 1: better)."""
    return {
        f"{judged} / {other}": mean_ratio(
            [row["pauc_e3"][judged] for row, _ in rows],
            [row["pauc_e3"][other] for row, _ in rows],
            [own[judged] for _, own in rows],
            [own[other] for _, own in rows],
        )
        for judged, other in compared(rows[0][0], bundles)
    }


def exits_of(row: dict, bundle: str) -> list[str]:
    """`NAME exit 1` and so on, to its last block."""
    return [method for method in row["pauc_e3"] if method.startswith(f"{bundle} exit ")]


def compared(row: dict, bundles: list[str]) -> list[tuple[str, str]]:
    """Models with LightQNet, chance and each other, and their exits with each other."""
    pairs = []
    for bundle in bundles:
        best = [f"{bundle} FW", exits_of(row, bundle)[-1], f"{bundle} exit 4", f"{bundle} exit 2"]
        pairs += [(judged, LIGHTQNET[0]) for judged in best]
        pairs += [(best[0], "random"), (best[0], "embedding norm")]
        pairs += [(best[0], best[2]), (best[1], best[2]), (best[2], best[3])]
        others = [other for other in bundles if other != bundle]
        pairs += [(judged, f"{other} FW") for judged in best[:2] for other in others]
    return pairs


def rounded(values: tuple[float, float]) -> list[float]:
    return [round(value, 3) for value in values]


def means(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Mean pAUC over lists and recognisers, per FMR and kind of recogniser."""
    return {
        f"{kind} fmr {fmr:g}": {
            method: round(
                float(
                    np.mean(
                        [
                            row["pauc_e3"][method]
                            for row in rows
                            if row["fmr"] == fmr and row["unseen"] == unseen
                        ]
                    )
                ),
                3,
            )
            for method in rows[0]["pauc_e3"]
        }
        for fmr in FMRS
        for kind, unseen in (("unseen", True), ("others", False))
    }


def verdicts(rows: list[dict], bundles: list[str]) -> dict[str, dict[str, str]]:
    """Of how many rows of a list (recogniser x FMR) each hand-made baseline is beaten with an
    interval of the difference below 0, at FW and exit 6; and how exit 6 stands to the best exit."""
    summary: dict[str, dict[str, str]] = {}
    for bundle in bundles:
        for name in LISTS:
            own = [row for row in rows if row["list"] == name]
            said = {}
            for judged in ("FW", "exit 6"):
                for other in (*HAND_MADE, *LIGHTQNET):
                    gaps = [row["difference"][f"{bundle} {judged} - {other}"] for row in own]
                    below = sum(high < 0 for _, high in gaps)
                    above = sum(low > 0 for low, _ in gaps)
                    said[f"{judged} - {other}"] = f"{below} below, {above} above, of {len(gaps)}"
            exits = exits_of(own[0], bundle)
            mean = {m: np.mean([row["pauc_e3"][m] for row in own]) for m in exits}
            best = min(mean, key=lambda m: mean[m])
            gap = 100 * (mean[f"{bundle} exit 6"] / mean[best] - 1)
            said["exit 6 against the best exit"] = f"{gap:+.1f} % (best: {best.split()[-1]})"
            summary[f"{bundle} {name}"] = said
    return summary


def plot(result: dict, bundles: list[str], target: Path) -> None:
    """pAUC per exit, unseen recognisers, FMR 1e-2, as a share of discarding at random."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3 * len(LISTS), 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(LISTS)), LISTS, strict=True):
        rows = [r for r in result["rows"] if r["list"] == name and r["unseen"] and r["fmr"] == 1e-2]

        def share(method: str, key: str = "pauc_e3", end: int | None = None, rows=rows) -> float:
            values = [
                (r[key][method] if end is None else r[key][method][end]) / r["pauc_e3"]["random"]
                for r in rows
            ]
            return 100 * float(np.mean(values))

        deepest = max(len(exits_of(rows[0], bundle)) for bundle in bundles)
        for bundle, colour in zip(bundles, ("#2166ac", "#b2182b", "#1b7837"), strict=False):
            names = exits_of(rows[0], bundle)
            exits = range(1, 1 + len(names))
            axes.plot(exits, [share(m) for m in names], "o-", color=colour, ms=4, label=bundle)
            axes.fill_between(
                exits,
                [share(m, "interval", 0) for m in names],
                [share(m, "interval", 1) for m in names],
                color=colour,
                alpha=0.12,
            )
            fused = share(f"{bundle} FW")
            axes.axhline(fused, color=colour, lw=1, ls="--", label=f"{bundle} FW")
        for other, style in (("LightQNet 100", "-"), ("sharpness", ":"), ("embedding norm", "-.")):
            axes.axhline(share(other), color="0.35", lw=1, ls=style, label=other)
        axes.set(title=name.removesuffix("_gen_test"), xlabel="exit (blocks run)")
        axes.set_xticks(range(1, 1 + deepest))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("pAUC, % of random discarding (lower is better)")
    figure.axes[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
