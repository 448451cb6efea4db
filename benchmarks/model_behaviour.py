"""Does a score behave: falls with every degradation, blind to mirroring, no light meter?

    python benchmarks/model_behaviour.py DATA --bundle nano=DIR --bundle small=DIR -o RESULT.json

On identities of the test split, which nothing was trained or calibrated on. Degradations are those of
training at eight strengths. A picture is written beside the result.
"""

import json
from pathlib import Path

import numpy as np
from baselines import hand_made
from common import add_data, add_named, new_result, parser, read_faces, read_split, write_result
from pair_lists import UNSEEN, recogniser
from scipy.stats import rankdata, spearmanr

from edge_fiqa import Scorer
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.training.degradations.table import DEGRADATIONS, degrade
from edge_fiqa.training.labels import centre_cosine

STRENGTHS = tuple(k / 7 for k in range(8))


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    add_named(arguments, "--bundle")
    arguments.add_argument("--faces", type=int, default=100, help="degraded ones of each set (100)")
    options = arguments.parse_args()
    listed = read_split(options.data, "test")
    faces = read_faces(options.data, [row["path"] for row in listed])
    sets = np.array([row["dataset"] for row in listed])
    usefulness = unseen_usefulness(options.data, faces, listed)
    light = hand_made(faces)
    chosen = np.concatenate(
        [
            rows[np.linspace(0, len(rows) - 1, min(options.faces, len(rows))).astype(int)]
            for rows in (np.flatnonzero(sets == name) for name in sorted(set(sets)))
        ]
    )
    worse = {name: series(faces[chosen], name) for name in DEGRADATIONS}
    result = new_result(__doc__)
    result |= {"faces": len(faces), "degraded": len(chosen), "strengths": STRENGTHS}
    curves = {}
    for bundle, folder in options.bundle:
        with Scorer.open(folder) as scorer:
            trails = {name: trail_of(scorer, faces) for name, faces in worse.items()}
            plain, mirrored = trail_of(scorer, faces), trail_of(scorer, faces[:, :, ::-1])
        curves[bundle] = {name: with_fusion(trail).mean(1) for name, trail in trails.items()}
        result[bundle] = {
            "monotone": monotone(curves[bundle]),
            "faces that fall": falls(trails),
            "mirror": mirror(plain, mirrored),
            "light": light_meter(plain, light, usefulness),
            "agreement with FW": agreement(plain),
            "sets": slices(plain, sets, usefulness),
        }
        print(bundle, json.dumps(result[bundle]), flush=True)
    write_result(result, options.output)
    if options.output:
        plot(curves, options.output.with_suffix(".png"))


def trail_of(scorer: Scorer, faces: np.ndarray) -> np.ndarray:
    """(..., 112, 112, 3) -> raw scores (..., E)."""
    flat = np.ascontiguousarray(faces.reshape(-1, *faces.shape[-3:]))
    return all_exits(scorer.engine, flat).reshape(*faces.shape[:-3], -1)


def with_fusion(trail: np.ndarray) -> np.ndarray:
    """(..., E) -> (..., E + 1): the exits, then FW."""
    depth = trail.shape[-1]
    fused = fuse(trail.reshape(-1, depth), depth).reshape(trail.shape[:-1])
    return np.concatenate([trail, fused[..., None]], axis=-1)


def series(faces: np.ndarray, name: str) -> np.ndarray:
    """(strengths, faces, 112, 112, 3); a face keeps its random choices at every strength."""
    return np.stack(
        [[degrade(f, name, s, seed) for seed, f in enumerate(faces)] for s in STRENGTHS]
    )


def labelled(values: np.ndarray) -> dict[str, float]:
    names = [*(f"exit {k + 1}" for k in range(len(values) - 1)), "FW"]
    return {name: round(float(value), 3) for name, value in zip(names, values, strict=True)}


def monotone(curves: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Spearman between weakness and the mean score, per degradation and exit."""
    return {
        name: labelled(np.array([-spearmanr(STRENGTHS, column).statistic for column in curve.T]))
        for name, curve in curves.items()
    }


def falls(trails: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of faces whose FW is lower at full strength than as they are."""
    return {
        name: round(float((with_fusion(t)[-1, :, -1] < with_fusion(t)[0, :, -1]).mean()), 3)
        for name, t in trails.items()
    }


def mirror(plain: np.ndarray, mirrored: np.ndarray) -> dict[str, dict[str, float]]:
    """Change under mirroring against the spread of scores; and its mean, which should be 0."""
    a, b = with_fusion(plain), with_fusion(mirrored)
    return {
        "deviation of the change / of scores": labelled((a - b).std(0) / a.std(0)),
        "mean change / deviation of scores": labelled((b - a).mean(0) / a.std(0)),
    }


def light_meter(
    plain: np.ndarray, light: dict[str, np.ndarray], usefulness: np.ndarray
) -> dict[str, dict[str, float]]:
    """Rank correlation of FW with brightness and contrast, and what is left of it beyond what
    brightness and contrast have to do with usefulness (partial correlation)."""
    known = np.isfinite(usefulness)
    score, useful = with_fusion(plain)[known, -1], usefulness[known]
    correlations = {}
    for name in ("brightness", "contrast", "sharpness"):
        other = light[name][known]
        correlations[name] = {
            "plain": round(float(spearmanr(score, other).statistic), 3),
            "partial": round(partial(score, other, useful), 3),
            "with usefulness": round(float(spearmanr(other, useful).statistic), 3),
        }
    return correlations


def partial(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Rank correlation of a and b with `given` held constant."""
    ranks = [rankdata(x) - (len(x) + 1) / 2 for x in (a, b, given)]
    rest = [x - (x @ ranks[2]) / (ranks[2] @ ranks[2]) * ranks[2] for x in ranks[:2]]
    return float(np.corrcoef(*rest)[0, 1])


def agreement(plain: np.ndarray) -> dict[str, float]:
    """Spearman of every exit with FW on the faces as they are."""
    all_scores = with_fusion(plain)
    return labelled(
        np.array([spearmanr(column, all_scores[:, -1]).statistic for column in all_scores.T])
    )


def slices(plain: np.ndarray, sets: np.ndarray, usefulness: np.ndarray) -> dict[str, dict]:
    """Per source data set: scores, and how exits rank against the usefulness to unseen recognisers."""
    by_set = {}
    for name in sorted(set(sets)):
        rows = (sets == name) & np.isfinite(usefulness)
        scores = with_fusion(plain[rows])
        ranks = np.array([spearmanr(c, usefulness[rows]).statistic for c in scores.T])
        by_set[name] = {
            "faces": int(rows.sum()),
            "FW mean": round(float(scores[:, -1].mean()), 3),
            "FW deviation": round(float(scores[:, -1].std()), 3),
            "Spearman with usefulness": labelled(ranks),
        }
    return by_set


def unseen_usefulness(data: Path, faces: np.ndarray, listed: list[dict]) -> np.ndarray:
    """Mean cosine to the person's other faces by the unseen recognisers; NaN where there are none."""
    names = [f"{row['dataset']}/{row['identity']}" for row in listed]
    identity = np.unique(names, return_inverse=True)[1]
    alone = np.bincount(identity)[identity] == 1
    labels = []
    for name in UNSEEN:
        embedding = recogniser(data, name).embed(faces)
        label = np.full(len(faces), np.nan)
        kept = np.unique(identity[~alone], return_inverse=True)[1]
        label[~alone] = centre_cosine(embedding[~alone], embedding[~alone][:, None], kept)[:, 0]
        labels.append(label)
    return np.mean(labels, axis=0)


def plot(curves: dict[str, dict[str, np.ndarray]], target: Path) -> None:
    """Mean FW against strength, per degradation, one line per model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 10), layout="constrained")
    grid = figure.subplots(-(-len(DEGRADATIONS) // 4), 4, sharex=True)
    for axes, name in zip(grid.ravel(), DEGRADATIONS, strict=True):
        for bundle, colour in zip(curves, ("#2166ac", "#b2182b", "#1b7837"), strict=False):
            curve = curves[bundle][name]
            for exit_, style in ((2, ":"), (5, "--"), (-1, "-")):
                label = {2: "exit 3", 5: "exit 6", -1: "FW"}[exit_]
                axes.plot(
                    STRENGTHS, curve[:, exit_], style, color=colour, label=f"{bundle} {label}"
                )
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.grid(alpha=0.3)
    grid[0, -1].legend(fontsize=7)
    figure.supxlabel("strength")
    figure.supylabel("mean raw score")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
