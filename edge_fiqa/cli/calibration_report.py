"""What `edge-fiqa calibrate` says of a calibration: a table of gates, and problems."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.cause_limits import blamed
from edge_fiqa.calibration.artefact import Calibration, Promise
from edge_fiqa.calibration.estimate import rule_name
from edge_fiqa.calibration.risk import faces_needed
from edge_fiqa.errors import counted
from edge_fiqa.exits.cost import saved
from edge_fiqa.exits.fusion import Fusion
from edge_fiqa.policies.gate import Gate
from edge_fiqa.types import Array, FaceSet

LEAST_SPREAD = 1e-3  # of raw scores; those of two pictures differ by more
SHOWN_GATES = (10, 25, 50, 75, 90)


def report(calibration: Calibration, bundle: Bundle, fusion: Fusion, trail: Array) -> list[str]:
    """The effect of early stopping on held-out faces (N, E): one line per gate."""
    promise = calibration.rules[rule_name(fusion)].promises[0]
    stored = [] if calibration.gate is None else [calibration.gate]
    return [
        f"{calibration.model}: calibration {calibration.id} from {calibration.faces} "
        f"{calibration.images}, {promise.faces} of them held out",
        f"fusion {rule_name(fusion)}; decisions that differ from full depth: at most "
        f"{100 * promise.risk:g} %, with {100 * promise.confidence:g} % confidence",
        *_not_promised(promise),
        *_reported(calibration),
        "",
        "  gate  rejected  mean depth  gflops saved  ms saved  flips",
        *(
            _gate_line(calibration, bundle, fusion, trail, gate)
            for gate in sorted({*SHOWN_GATES, *stored})
        ),
    ]


def _reported(calibration: Calibration) -> list[str]:
    causes = calibration.causes
    if causes is None or not causes.reporting:
        return []
    found = f"{blamed(calibration, causes)}, if they are like these ({causes.faces} persons)"
    return [f"{counted(len(causes.names), 'cause')} of low quality: {found}"]


def _not_promised(promise: Promise) -> list[str]:
    needed = faces_needed(promise.risk, promise.confidence)
    if promise.faces < needed:
        return [f"NOT PROMISED: that needs {needed} held-out faces; give more"]
    if all(margin is None for margin in promise.gates):
        return ["NOT PROMISED: these faces are of too few persons (folders); give more"]
    return []


def _gate_line(
    calibration: Calibration, bundle: Bundle, fusion: Fusion, trail: Array, gate: int
) -> str:
    policy = Gate.of(calibration, gate, exits=calibration.exits, fusion=fusion)
    replay = policy.replay(trail)
    gflops, ms = saved(bundle.costs, replay.depth)
    mark = "  <- stored" if gate == calibration.gate else ""
    return (
        f"{gate:>6}{100 * (1 - replay.accepted.mean()):>8.1f} %{replay.depth.mean():>12.2f}"
        f"{100 * gflops:>12.1f} %{'NA' if ms is None else f'{100 * ms:.1f} %':>10}"
        f"{100 * replay.flipped.mean():>6.2f} %{mark}"
    )


@dataclass(frozen=True)
class Problem:
    """fatal: the file gives qualities, but with it no face stops early."""

    text: str
    fatal: bool


def problems_of(
    calibration: Calibration, fusion: Fusion, trail: Array, faces: FaceSet
) -> list[Problem]:
    """Of the faces and their complete trails (N, E), and of the promises made from them."""
    return [*_bad_faces(trail, faces), *_no_promise(calibration, fusion)]


def _bad_faces(trail: Array, faces: FaceSet) -> list[Problem]:
    """All scores are equal, or one picture stands under several persons' names."""
    full = trail[np.isfinite(trail).all(axis=1), -1]
    if np.ptp(full) < LEAST_SPREAD:
        return [
            Problem(
                f"the scores of all {len(full)} faces are the same: are they copies of one, or blank?"
                " Nothing is worth keeping of this file",
                True,
            )
        ]
    groups: dict[bytes, set[str]] = {}
    for crop, group in zip(faces.crops, faces.groups, strict=True):
        groups.setdefault(hashlib.sha256(crop.tobytes()).digest(), set()).add(group)
    copies = sum(len(names) - 1 for names in groups.values())
    if not copies:
        return []
    be = "is a copy" if copies == 1 else "are copies"
    return [
        Problem(
            f"warning: {copies} of {counted(len(faces.crops), 'face')} {be} of one that counts as "
            "another "
            "person's (another file or sub-folder): the promise is too good; remove them",
            False,
        )
    ]


def _no_promise(calibration: Calibration, fusion: Fusion) -> list[Problem]:
    """No risk is promised: at the stored gate, or at any gate if none is stored."""
    promises = calibration.rules[rule_name(fusion)].promises
    gates = range(101) if calibration.gate is None else [calibration.gate]
    if any(promise.gates[gate] is not None for promise in promises for gate in gates):
        return []
    where = "any gate" if calibration.gate is None else f"gate {calibration.gate}"
    risks = ", ".join(f"{promise.risk:g}" for promise in promises)
    return [
        Problem(
            f"nothing is promised at {where} (risk {risks}): --policy gate will run every face to "
            "full depth; give more faces of more persons, or a larger --risk",
            True,
        )
    ]
