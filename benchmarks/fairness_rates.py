"""What `fairness.py` counts of a group of faces, and of its pairs: rates with intervals of 95 %.

Intervals are those of the gate table: Wilson's, with numbers divided by the design effect, since faces
and pairs of one person pass and fail together.
"""

from dataclasses import dataclass

import numpy as np
from fairness_faces import SourceFaces, Labels
from pair_lists import compare

from edge_fiqa import Scorer
from edge_fiqa.calibration.gate_table import (
    LEAST_PAIRS,
    GateRates,
    gate_rates,
    kind_of_use,
    remaining_errors,
    wilson,
)
from edge_fiqa.calibration.recommend import gate_for_fnmr
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.edc import resolves
from edge_fiqa.evaluation.skin_tone import TONES, cheek_ita, tones_of
from edge_fiqa.faces.crop_check import crop_warnings
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.policies.gate import Gate
from edge_fiqa.types import Array

LEAST = 200  # faces of a group, for a rate; and of a band of skin tones, before it joins another
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class ScoredSet:
    """N faces of one source as one model sees them.

    ita: (N,) degrees. quality: (N,) at full depth. flipped: (101, N) whether the gate policy decides
    otherwise than full depth, at each gate. depth: gate -> (N,) where it stops. warned: (N,).
    """

    source: str
    persons: np.ndarray
    labels: list[Labels]
    ita: Array
    quality: Array
    flipped: Array
    depth: dict[int, Array]
    warned: Array


def score_set(scorer: Scorer, faces: SourceFaces, gates: tuple[int, ...]) -> ScoredSet:
    trail = all_exits(scorer.engine, faces.faces)
    calibration, exits = scorer.calibration, scorer.controller.exits
    replays = [Gate.of(calibration, gate, exits=exits).replay(trail) for gate in range(101)]
    return ScoredSet(
        faces.source,
        np.array(faces.persons),
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
    """Ways to group the faces: (N,) names, "" where unknown, and the order of the names."""
    ways = {
        "source": (np.full(len(scored.quality), scored.source), [scored.source]),
        "skin tone": in_order(np.array([t or "" for t in tones_of(scored.ita, LEAST)])),
    }
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
    """Counts of one group; only its size where it has fewer than LEAST faces."""
    persons = scored.persons[rows]
    row = {"by": way, "group": name, "source": scored.source, "faces": int(rows.sum())}
    row["persons"] = len(set(persons))
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
    """Pairs of a scored test list under one recogniser: rows of their faces, and similarities."""

    scored: ScoredSet
    a: np.ndarray
    b: np.ndarray
    same: np.ndarray
    genuine: Array
    impostor: Array

    @classmethod
    def of(cls, scored: ScoredSet, pairs: tuple[np.ndarray, ...], embedding: Array):
        return cls(scored, *pairs, *compare(embedding, *pairs))


def pair_row(
    compared: ComparedPairs, chosen: np.ndarray, threshold: float, fmr: float, gate: int
) -> dict:
    """Acceptance of the chosen faces (N,), and errors of their pairs at a threshold set elsewhere.

    Only their numbers where there are fewer than LEAST faces or LEAST_PAIRS mated pairs.
    """
    scored, same = compared.scored, compared.same
    inside = chosen[compared.a] & chosen[compared.b]
    mated, others = inside[same], compared.impostor[inside[~same]]
    pair_quality = np.minimum(scored.quality[compared.a], scored.quality[compared.b])[same][mated]
    row = {"faces": int(chosen.sum()), "persons": len(set(scored.persons[chosen]))}
    row |= {"mated_pairs": int(mated.sum()), "non_mated_pairs": len(others)}
    if row["faces"] < LEAST or row["mated_pairs"] < LEAST_PAIRS:
        return row | {"too_few": True}
    errors = remaining_errors(
        pair_quality,
        compared.genuine[mated] < threshold,
        scored.persons[compared.a][same][mated],
        recogniser="",
        fmr=fmr,
        impostors=len(others),
    )
    use = kind_of_use(
        scored.quality[chosen], scored.persons[chosen], name="", images="", errors=errors
    )
    matches = float((others >= threshold).mean()) if resolves(len(others), fmr) else None
    return row | {
        "use": use,
        "accepted": at(use.passing, gate),
        "mated_pairs_accepted": errors.pairs[gate],
        "fnmr_all": at(errors.fnmr, 0),
        "fnmr_accepted": at(errors.fnmr, gate),
        "fmr": None if matches is None else with_interval(matches, len(others)),
    }


def with_interval(rate: float, count: int) -> list[float]:
    """Of pairs of persons drawn at random, each taken as independent."""
    low, high = wilson(np.array(rate), np.array(count))
    return [round(float(value), 6) for value in (rate, low, high)]


def at_equal_error(row: dict, target: float) -> dict:
    """The gate of its own from which on the group's FNMR is at most `target`, and whom it accepts."""
    if "too_few" in row:
        return row
    use = row.pop("use")
    try:
        gate = gate_for_fnmr(use, target)
    except ConfigError:
        return row | {"equal_error": None}
    return row | {"equal_error": {"gate": gate, "accepted": at(use.passing, gate)}}
