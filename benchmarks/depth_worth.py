"""What are deeper exits worth, on photographs and on faces degraded in ways that training never saw?

    python benchmarks/depth_worth.py DATA --bundle nano=DIR [--bundle before=DIR] -o RESULT.json

pAUC to a discard of 0.3 at FMR 1e-2 with recognisers that taught nothing, as a ratio of two exits;
below 1 the first is better. The lists are the two of CelebA. In the degraded ones the second face of
every pair is made worse by an operator of ofiq-syngen (see causes_syngen.py), drawn by chance, with a
severity from 0.25 to 0.9. The harder half are the pairs whose severity is above the median. Intervals:
95 %, paired bootstrap over identities.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from causes_syngen import listed_operators
from common import add_data, add_named, new_result, parser, write_result
from pair_lists import LIMIT, UNSEEN, compare, pauc, read_list, recogniser

from edge_fiqa import Scorer
from edge_fiqa.evaluation.bootstrap import identity_weights, interval, weighted_pauc
from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.evaluation.recognition import unit
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.types import Array, Bytes

LISTS = ("celeba10k_gen_test", "celeba5_gen_test")
FMR = 1e-2
SEVERITIES = (0.25, 0.9)
COMPARED = (("exit 12", "exit 4"), ("FW", "exit 4"), ("exit 6", "exit 4"), ("exit 4", "exit 2"))
Samples = dict[tuple[str, str], list[tuple[float, Array]]]


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    add_named(arguments, "--bundle")
    arguments.add_argument("--times", type=int, default=1000, help="bootstrap resamples (1000)")
    options = arguments.parse_args()
    result = new_result(__doc__) | {"lists": LISTS, "recognisers": UNSEEN, "fmr": FMR}
    collected: dict[tuple[str, str], Samples] = {}
    for name in LISTS:
        for key, found in of_list(options.data, name, dict(options.bundle), options.times):
            for pair, values in found.items():
                collected.setdefault(key, {}).setdefault(pair, []).extend(values)
    result["rows"] = [
        {"model": model, "pairs": part} | {" / ".join(p): mean(v) for p, v in found.items()}
        for (model, part), found in sorted(collected.items())
    ]
    write_result(result, options.output)
    for row in result["rows"]:
        print(json.dumps(row))


def of_list(
    data: Path, name: str, bundles: dict[str, str], times: int
) -> Iterator[tuple[tuple[str, str], Samples]]:
    """((model, which pairs), ratios with their resamples) of one list."""
    faces, a, b, same, identity = read_list(data, name)
    seconds = np.unique(b)
    worse, severity = made_worse(faces[seconds])
    every = np.concatenate([faces, worse])
    of_worse = np.searchsorted(seconds, b)
    second = {"photographs": b, "degraded": len(faces) + of_worse}
    second["degraded, harder half"] = second["degraded"]
    hard = severity[of_worse] > np.median(severity[of_worse])
    exits = {}
    for bundle, folder in bundles.items():
        with Scorer.open(folder) as scorer:
            exits[bundle] = exits_of(all_exits(scorer.engine, every))
    weights = identity_weights(identity, times)
    for network in UNSEEN:
        parts = [embedding for embedding, _ in recogniser(data, network).run_batches(every)]
        embedding = unit(np.concatenate(parts))
        for part, other in second.items():
            rows = hard if part.endswith("half") else np.ones(len(b), bool)
            genuine, impostor = compare(embedding, a, other, same)
            threshold, kept = threshold_at_fmr(impostor[rows[~same]], FMR), rows[same]
            for bundle, of_exit in exits.items():
                lower = {
                    judged: np.minimum(q[a], q[other])[same][kept] for judged, q in of_exit.items()
                }
                yield (bundle, part), ratios(genuine[kept], lower, threshold, weights[:, kept])


def ratios(genuine: Array, lower: dict[str, Array], threshold: float, weights: Array) -> Samples:
    """pAUC by one exit divided by that of another, and the same of each resample.

    lower: of each pair (P,), by exit. weights: (R, P).
    """
    areas = {judged: pauc(genuine, q, threshold) for judged, q in lower.items()}
    drawn = {
        judged: 1e3 * weighted_pauc(genuine, q, threshold, LIMIT, weights)
        for judged, q in lower.items()
    }
    return {
        (one, other): [(areas[one] / areas[other], drawn[one] / drawn[other])]
        for one, other in COMPARED
    }


def made_worse(faces: Bytes) -> tuple[Bytes, Array]:
    """Every face by one operator, which works on BGR, and the severity (N,)."""
    rng, operators = np.random.default_rng(0), listed_operators()
    chosen = rng.integers(0, len(operators), len(faces))
    severity = rng.uniform(*SEVERITIES, len(faces)).astype(np.float32)
    pictures = [
        operators[k](np.ascontiguousarray(face[..., ::-1]), float(strength), seed, None)
        for seed, (face, k, strength) in enumerate(zip(faces, chosen, severity, strict=True))
    ]
    return np.stack([np.asarray(picture, np.uint8)[..., ::-1] for picture in pictures]), severity


def exits_of(trail: Array) -> dict[str, Array]:
    depth = trail.shape[1]
    return {f"exit {k + 1}": trail[:, k] for k in range(depth)} | {"FW": fuse(trail, depth)}


def mean(values: list[tuple[float, Array]]) -> list[float]:
    """Over lists and recognisers, with its interval."""
    ends = interval(np.mean([drawn for _, drawn in values], axis=0))
    return [round(float(value), 3) for value in (np.mean([v for v, _ in values]), *ends)]


if __name__ == "__main__":
    main()
