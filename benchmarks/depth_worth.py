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
from causes_syngen import by_operator, listed_operators
from common import add_data, add_named, new_result, parser, write_result
from pair_lists import LIMIT, UNSEEN, compare, mean_ratio, pauc, read_list, recogniser

from edge_fiqa import Scorer
from edge_fiqa.evaluation.bootstrap import identity_weights, weighted_pauc
from edge_fiqa.evaluation.edc import threshold_at_fmr
from edge_fiqa.evaluation.recognition import unit
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.types import Array, Bytes

LISTS = ("celeba10k_gen_test", "celeba5_gen_test")
FMR = 1e-2
SEVERITIES = (0.25, 0.9)
COMPARED = (
    *(("exit 12", "exit 4"), ("FW", "exit 4"), ("exit 6", "exit 4")),
    *(("exit 4", "exit 2"), ("exit 2", "exit 1")),
)  # where a network has both
Areas = dict[str, tuple[float, Array]]


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    add_named(arguments, "--bundle")
    arguments.add_argument("--times", type=int, default=1000, help="bootstrap resamples (1000)")
    options = arguments.parse_args()
    result = new_result(__doc__) | {"lists": LISTS, "recognisers": UNSEEN, "fmr": FMR}
    collected: dict[tuple[str, str], list[Areas]] = {}
    for name in LISTS:
        for key, found in of_list(options.data, name, dict(options.bundle), options.times):
            collected.setdefault(key, []).append(found)
    result["rows"] = [
        {"model": model, "pairs": part} | compared(found)
        for (model, part), found in sorted(collected.items())
    ]
    write_result(result, options.output)
    for row in result["rows"]:
        print(json.dumps(row))


def of_list(
    data: Path, name: str, bundles: dict[str, str], times: int
) -> Iterator[tuple[tuple[str, str], Areas]]:
    """((model, which pairs), pAUC of every exit) of one list and recogniser."""
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
                yield (bundle, part), areas(genuine[kept], lower, threshold, weights[:, kept])


def areas(genuine: Array, lower: dict[str, Array], threshold: float, weights: Array) -> Areas:
    """pAUC of every exit, and that of each resample. lower: (P,) of each pair; weights: (R, P)."""
    return {
        judged: (
            pauc(genuine, q, threshold),
            1e3 * weighted_pauc(genuine, q, threshold, LIMIT, weights),
        )
        for judged, q in lower.items()
    }


def compared(found: list[Areas]) -> dict[str, list[float] | None]:
    """Ratios of exits, mean over lists and recognisers, with intervals."""
    return {
        f"{one} / {other}": mean_ratio(
            [of[one][0] for of in found],
            [of[other][0] for of in found],
            [of[one][1] for of in found],
            [of[other][1] for of in found],
        )
        for one, other in COMPARED
        if one in found[0] and other in found[0]
    }


def made_worse(faces: Bytes) -> tuple[Bytes, Array]:
    """Every face by one operator, and the severity (N,)."""
    rng, operators = np.random.default_rng(0), listed_operators()
    chosen = rng.integers(0, len(operators), len(faces))
    severity = rng.uniform(*SEVERITIES, len(faces)).astype(np.float32)
    pictures = [
        by_operator(operators[k], face, float(strength), seed)
        for seed, (face, k, strength) in enumerate(zip(faces, chosen, severity, strict=True))
    ]
    return np.stack(pictures), severity


def exits_of(trail: Array) -> dict[str, Array]:
    depth = trail.shape[1]
    return {f"exit {k + 1}": trail[:, k] for k in range(depth)} | {"FW": fuse(trail, depth)}


if __name__ == "__main__":
    main()
