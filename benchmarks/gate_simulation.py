"""gate_policy.py: calibrations on persons drawn anew, and how often each breaks its promise."""

import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import fit_calibration
from edge_fiqa.calibration.risk import MOST_FACES, stops

GATES = (10, 25, 50, 75, 90)
RISKS = (0.005, 0.01, 0.02, 0.05)


def fit(
    bundle: Bundle, trail: np.ndarray, persons: list[str], risks: tuple[float, ...], seed: int = 0
) -> Calibration:
    return fit_calibration(
        trail,
        persons,
        model=bundle.manifest.name,
        fingerprint=bundle.manifest.fingerprint,
        exits=bundle.manifest.exits,
        images="benchmark",
        fusions=["FW"],
        risks=risks,
        seed=seed,
    )


def capped(trail: np.ndarray, persons: list[str]) -> tuple[np.ndarray, list[str]]:
    """At most 20 faces a person: one of them has 472 of 10,428, and a third of all above 90."""
    counts: dict[str, int] = {}
    kept = []
    for row, person in enumerate(persons):
        counts[person] = counts.get(person, 0) + 1
        if counts[person] <= 20:
            kept.append(row)
    return trail[kept], [persons[row] for row in kept]


def simulate(bundle: Bundle, trail: np.ndarray, persons: list[str], times: int) -> list[dict]:
    """Calibrations on 500 persons drawn anew; flips among all faces, the world they came from."""
    names = np.array(persons)
    _, person, counts = np.unique(names, return_inverse=True, return_counts=True)
    weight = np.minimum(1, MOST_FACES / counts)[person]
    unique, rng = np.unique(names), np.random.default_rng(0)
    rates = np.empty((times, len(RISKS), len(GATES)))
    depths = np.empty_like(rates)
    for trial in range(times):
        chosen = np.isin(names, rng.permutation(unique)[:500])
        calibration = fit(bundle, trail[chosen], names[chosen].tolist(), RISKS, seed=trial)
        rule = calibration.rules["FW"]
        estimates, spreads = Estimator(rule).estimates_and_spreads(trail, calibration.exits, "FW")
        rows = np.arange(len(estimates))
        for r, promise in enumerate(rule.promises):
            for g, gate in enumerate(GATES):
                threshold = rule.scale.score_of(gate)
                at = stops(estimates, spreads, threshold, promise.gates[gate])
                accepted = estimates >= threshold
                flipped = accepted[rows, at] != accepted[:, -1]
                rates[trial, r, g] = np.average(flipped, weights=weight)
                depths[trial, r, g] = np.array(calibration.exits)[at].mean()
    return [
        {
            "risk": risk,
            "gate": gate,
            "violations_pct": round(100 * float((rates[:, r, g] > risk).mean()), 2),
            "risk found_pct": [
                round(100 * float(np.quantile(rates[:, r, g], q)), 3) for q in (0.05, 0.5, 0.95)
            ],
            "mean depth": round(float(depths[:, r, g].mean()), 3),
        }
        for r, risk in enumerate(RISKS)
        for g, gate in enumerate(GATES)
    ]
