"""What `fairness.py` counts of a group of faces, and of its pairs: rates with intervals of 95 %.

Those of acceptance, FNMR and false exits are the gate table's: Wilson's, with numbers divided by the
design effect, since faces and pairs of one person pass and fail together. Those of the FMR and of
acceptance at equal error are bootstrapped over persons.
"""

from dataclasses import dataclass

import numpy as np
from fairness_faces import Labels, SourceFaces
from pair_lists import compare

from edge_fiqa import Scorer
from edge_fiqa.calibration.gate_table import (
    GATES,
    LEAST_PAIRS,
    GateRates,
    gate_rates,
    kind_of_use,
    remaining_errors,
)
from edge_fiqa.calibration.recommend import ROUNDING
from edge_fiqa.evaluation.bootstrap import identity_weights, interval
from edge_fiqa.evaluation.skin_tone import TONES, cheek_ita, tones_of
from edge_fiqa.faces.crop_check import crop_warnings
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.policies.gate import Gate
from edge_fiqa.types import Array

LEAST = 200  # faces of a group, for a rate; and of a band of skin tones, before it joins another
TIMES = 300  # bootstrap resamples of persons
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class ScoredSet:
    """N faces of one source as one model sees them.

    known: (N,) whether the data name the person; a face of an unknown person counts as a person.
    ita: (N,) degrees. quality: (N,) at full depth. flipped: (101, N) whether the gate policy decides
    otherwise than full depth, at each gate. depth: gate -> (N,) where it stops. warned: (N,).
    """

    source: str
    persons: np.ndarray
    known: np.ndarray
    labels: list[Labels]
    ita: Array
    quality: Array
    flipped: Array
    depth: dict[int, Array]
    warned: Array


def score_set(scorer: Scorer, faces: SourceFaces, gates: tuple[int, ...]) -> ScoredSet:
    trail = all_exits(scorer.engine, faces.faces, batch=8)
    calibration, exits = scorer.calibration, scorer.controller.exits
    replays = [Gate.of(calibration, gate, exits=exits).replay(trail) for gate in range(101)]
    return ScoredSet(
        faces.source,
        np.array(faces.persons),
        np.array(faces.known),
        faces.labels,
        np.array([cheek_ita(face) for face in faces.faces]),
        scorer.estimator.full_qualities(trail, "FW"),
        np.stack([replay.accepted != replay.accepted_at_full for replay in replays]),
        {gate: replays[gate].depth for gate in gates},
        np.array([bool(crop_warnings(face)) for face in faces.faces]),
    )


def person_tones(scored: ScoredSet) -> np.ndarray:
    """(N,) the band of each face's person, by the median ITA of the person's faces."""
    number = np.unique(scored.persons, return_inverse=True)[1]
    medians = []
    for person in range(number.max() + 1):
        known = scored.ita[number == person]
        known = known[np.isfinite(known)]
        medians.append(np.median(known) if len(known) else np.nan)
    return np.array([tone or "" for tone in tones_of(np.array(medians)[number], LEAST)])


def group_names(scored: ScoredSet) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Ways to group the faces: (N,) names, "" where unknown, and the order of the names.

    A set has no groups by skin tone where too few faces leave one band of all.
    """
    ways = {"source": (np.full(len(scored.quality), scored.source), [scored.source])}
    tones, order = in_order(np.array([tone or "" for tone in tones_of(scored.ita, LEAST)]))
    if len(order) > 1:
        ways["skin tone"] = (tones, order)
    for way in ("sex", "age", "race"):
        names = np.array([getattr(labels, way) or "" for labels in scored.labels])
        ways[way] = (names, sorted(set(names) - {""}, key=rank_of_group))
    return ways


def in_order(tones: np.ndarray) -> tuple[np.ndarray, list[str]]:
    lightest = [name for name, _ in TONES]
    return tones, sorted(set(tones) - {""}, key=lambda t: lightest.index(t.split(" to ")[0]))


def rank_of_group(name: str) -> tuple[int, str]:
    """Ages by number, other names by letter."""
    digits = name.rstrip("+").split("-")[0]
    return (int(digits), "") if digits.isdigit() else (0, name)


def group_row(scored: ScoredSet, way: str, name: str, rows: np.ndarray) -> dict:
    """Counts of one group; only its size where it has fewer than LEAST faces.

    persons: those that the data name; None where they name none.
    """
    persons, known = scored.persons[rows], scored.known[rows]
    row = {"by": way, "group": name, "source": scored.source, "faces": int(rows.sum())}
    row["persons"] = len(set(persons[known])) or None
    row["faces_of_unknown_persons"] = int((~known).sum())
    if row["faces"] < LEAST:
        return row | {"too_few": True}
    quality, flipped = scored.quality[rows], scored.flipped[:, rows]
    passing = kind_of_use(quality, persons, name=name, images=scored.source).passing
    flips = gate_rates(flipped, np.ones_like(flipped), persons, least=1)
    ita = scored.ita[rows]
    return row | {
        "quality_mean": round(float(quality.mean()), 2),
        "quality_quantiles": [float(v) for v in np.quantile(quality, QUANTILES)],
        "median_ita": round(float(np.nanmedian(ita)), 1) if np.isfinite(ita).any() else None,
        "warned": round(float(scored.warned[rows].mean()), 4),
        "gates": {
            str(gate): {
                "accepted": at(passing, gate),
                "mean_depth": round(float(depth[rows].mean()), 3),
                "false_exits": at(flips, gate),
            }
            for gate, depth in scored.depth.items()
        },
    }


def at(rates: GateRates, gate: int) -> list[float] | None:
    """Rate, low and high end at a gate; None where the table has none."""
    values = (rates.rate[gate], rates.low[gate], rates.high[gate])
    return None if values[0] is None else list(values)


@dataclass(frozen=True)
class ComparedPairs:
    """Pairs of a scored test list under one recogniser: rows of their faces, and similarities.

    embedding: (N, F) of the faces. genuine, impostor: of the pairs with same, and of the others.
    """

    scored: ScoredSet
    embedding: Array
    a: np.ndarray
    b: np.ndarray
    same: np.ndarray
    genuine: Array
    impostor: Array

    @classmethod
    def of(cls, scored: ScoredSet, pairs: tuple[np.ndarray, ...], embedding: Array):
        return cls(scored, embedding, *pairs, *compare(embedding, *pairs))

    @property
    def pair_quality(self) -> np.ndarray:
        """(P,) of the mated pairs: the lower of the two faces."""
        return np.minimum(self.scored.quality[self.a], self.scored.quality[self.b])[self.same]


def pair_row(
    compared: ComparedPairs, chosen: np.ndarray, threshold: float, target: float, gate: int
) -> dict:
    """Acceptance of the chosen faces (N,), and errors of their pairs at a threshold set elsewhere.

    Only their numbers where there are fewer than LEAST faces or LEAST_PAIRS mated pairs.
    """
    scored, same = compared.scored, compared.same
    mated = (chosen[compared.a] & chosen[compared.b])[same]
    first = compared.a[same][mated]
    row = {"faces": int(chosen.sum()), "persons": len(set(scored.persons[chosen]))}
    row |= {"mated_pairs": int(mated.sum())}
    if row["faces"] < LEAST or row["mated_pairs"] < LEAST_PAIRS:
        return row | {"too_few": True}
    wrong, pair_quality = compared.genuine[mated] < threshold, compared.pair_quality[mated]
    persons = scored.persons[chosen]
    passing = kind_of_use(scored.quality[chosen], persons, name="", images="").passing
    own = scored.persons[first]
    errors = remaining_errors(pair_quality, wrong, own, recogniser="", fmr=0, impostors=0)
    weights = identity_weights(persons, TIMES)
    place = np.cumsum(chosen) - 1  # of a face among the chosen
    matches = false_matches(compared.embedding[chosen], persons, threshold, weights)
    equal = at_equal_error(
        scored.quality[chosen], pair_quality, wrong, weights, weights[:, place[first]], target
    )
    return row | {
        "accepted": at(passing, gate),
        "mated_pairs_accepted": errors.pairs[gate],
        "fnmr_all": at(errors.fnmr, 0),
        "fnmr_accepted": at(errors.fnmr, gate),
        "fmr": matches,
        "equal_error": equal,
    }


def false_matches(
    embedding: Array, persons: np.ndarray, threshold: float, weights: Array
) -> list[float]:
    """FMR of all pairs of faces (N, F) of two persons, with its interval over persons drawn anew."""
    others = persons[:, None] != persons[None]
    matches = (embedding @ embedding.T >= threshold) & others
    rates = [
        np.einsum("rn,rn->r", w @ matches, w) / np.einsum("rn,rn->r", w @ others, w)
        for w in (np.ones((1, len(persons))), weights)
    ]
    return [round(float(value), 6) for value in (*rates[0], *interval(rates[1]))]


def at_equal_error(
    quality: np.ndarray,
    pair_quality: np.ndarray,
    wrong: np.ndarray,
    weights: Array,
    pair_weights: Array,
    target: float,
) -> dict | None:
    """The group's own gate from which on its FNMR is at most `target`, and how many faces pass it.

    weights, pair_weights: (R, N) and (R, P), how often faces and mated pairs are in resamples of the
    persons. The interval holds the choice of the gate as well; a resample that reaches the target at
    no gate accepts nobody. None where the group itself does not reach it.
    """
    once = np.ones((1, len(quality))), np.ones((1, len(pair_quality)))
    gates, accepted = own_gates(quality, pair_quality, wrong, *once, target)
    if gates[0] < 0:
        return None
    resampled = own_gates(quality, pair_quality, wrong, weights, pair_weights, target)[1]
    ends = (accepted[0], *interval(resampled))
    return {"gate": int(gates[0]), "accepted": [round(float(value), 5) for value in ends]}


def own_gates(
    quality: np.ndarray,
    pair_quality: np.ndarray,
    wrong: np.ndarray,
    weights: Array,
    pair_weights: Array,
    target: float,
) -> tuple[np.ndarray, Array]:
    """(R,) gates as `gate_for_fnmr` chooses them, -1 where there is none, and shares that pass."""
    passes = (pair_quality[:, None] >= GATES).astype(np.float64)
    pairs = pair_weights @ passes
    errors = pair_weights @ (passes * wrong[:, None])
    known = pairs >= LEAST_PAIRS
    too_high = known & (errors > (target + ROUNDING) * pairs)
    rows = np.arange(len(weights))
    gate = np.where(too_high.any(axis=1), 101 - too_high[:, ::-1].argmax(axis=1), 0)
    reached = (gate <= 100) & known[rows, np.minimum(gate, 100)]
    accepted = weights @ (quality[:, None] >= GATES) / weights.sum(axis=1, keepdims=True)
    gate = np.where(reached, gate, -1)
    return gate, np.where(reached, accepted[rows, gate], 0.0)
