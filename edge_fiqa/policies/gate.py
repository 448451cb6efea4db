"""The gate policy: stop once accept or reject is certain. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.arguments import check_number, whole_number
from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.risk import certain, stops
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import Fusion
from edge_fiqa.policies.policy import Forecast, Policy, Progress, Reason
from edge_fiqa.types import Array, Mask


@dataclass(frozen=True)
class Replay:
    """Depths and decisions of a gate on N faces of which every exit is known."""

    depth: npt.NDArray[np.intp]
    accepted: Mask
    accepted_at_full: Mask

    @property
    def flipped(self) -> Mask:
        return self.accepted != self.accepted_at_full


@dataclass(frozen=True, eq=False)
class Gate:
    """Stop once the estimate lies more than `margin` spreads from the gate, 0..100.

    The margin was chosen so that decisions differ from full depth at most at the rate `risk`, with
    probability `confidence`. margin None: nothing is certain before full depth.

    ranked: a quality. Then only faces stop early that are certain to reach it (or the gate, where that
    is higher). A face that was once certain to lie below runs to full depth. So all faces below can be
    sorted. The margin is that of the higher of both. A stop that flips the gate's decision also flips
    the decision at `ranked`, so the promise holds.

    reasons_at: the exits at which causes are reported. A face that is certain to lie below the gate
    goes on to the next of them, so that it can be told why, and stops there if it still lies below,
    else at a later one or at full depth. So its decision is that of the exit that was certain or that
    of full depth, and the promise holds. Empty: it stops at once.
    """

    estimator: Estimator
    exits: tuple[int, ...]
    fusion: Fusion
    gate: int
    margin: float | None
    risk: float
    confidence: float
    ranked: int | None = None
    reasons_at: tuple[int, ...] = ()
    reason: Reason = "gate"
    watches = True
    needs_ms = False

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        gate: int,
        *,
        exits: tuple[int, ...],
        fusion: Fusion = "FW",
        risk: float | None = None,
        ranked: int | None = None,
    ) -> Gate:
        """The policy for a bundle that stops at `exits`. risk None: the calibration's first.

        Where the calibration has limits of causes, rejected faces run to an exit that reports them.
        Raises ConfigError if the calibration holds no such promise.
        """
        gate = check_gate(gate)
        if ranked is not None:
            ranked = check_gate(ranked, "a quality to rank below")
        if risk is not None:
            check_number("a risk", risk)
        if exits != calibration.exits:
            raise ConfigError(
                f"the calibration is for stopping at exits {_list(calibration.exits)}, this bundle "
                f"stops at {_list(exits)}; run edge-fiqa calibrate with this bundle"
            )
        estimator = Estimator.of(calibration, fusion)
        promise = estimator.promise(risk)
        margin = promise.gates[max(gate, ranked or 0)]
        return cls(
            estimator,
            exits,
            fusion,
            gate,
            margin,
            promise.risk,
            promise.confidence,
            ranked,
            () if calibration.causes is None else calibration.causes.reporting,
        )

    @property
    def threshold(self) -> float:
        """The gate on the scale of the full fused score."""
        return self.estimator.scale.score_of(self.gate)

    @property
    def stop_threshold(self) -> float:
        """The higher of gate and `ranked`, on the scale of the full fused score."""
        return self.estimator.scale.score_of(max(self.gate, self.ranked or 0))

    @property
    def reject_at(self) -> tuple[int, ...]:
        """The exits at which a face that is certain to lie below may stop early; empty: all."""
        return self.exits[-1:] if self.ranked is not None else self.reasons_at

    def limit(self, forecast: Forecast) -> int:
        return forecast.exits[-1]

    def stop(self, progress: Progress) -> Mask:
        """Expects estimates of the full score, as a calibrated controller gives them."""
        newest = progress.estimates[:, -1]
        done = self._certain(newest, progress.depth)
        if self.reject_at:
            below = self._was_below(progress.estimates)
            here = progress.depth in self.reject_at
            done[below] = here & (newest[below] < self.stop_threshold)
        return done

    def _certain(self, estimates: Array, depth: int) -> Mask:
        spreads = self.estimator.spread(estimates, depth)
        return certain(estimates, spreads, self.stop_threshold, self.margin)

    def _was_below(self, estimates: Array) -> Mask:
        """Return (N,): was the face certain to lie below `stop_threshold` at an exit so far?

        estimates: (N, P), at the first P exits.
        """
        below = np.zeros(len(estimates), bool)
        for estimate, depth in zip(estimates.T, self.exits, strict=False):
            below |= (estimate < self.stop_threshold) & self._certain(estimate, depth)
        return below

    def replay(self, trail: Array) -> Replay:
        """(N, E) complete trails -> the depth where each would have stopped, and its decision."""
        estimates, spreads = self.estimator.estimates_and_spreads(trail, self.exits, self.fusion)
        stop = stops(estimates, spreads, self.stop_threshold, self.margin)
        accepted = estimates >= self.threshold
        rows = np.arange(len(trail))
        if self.reject_at:
            below = estimates[rows, stop] < self.stop_threshold
            may = (estimates < self.stop_threshold) & np.isin(self.exits, self.reject_at)
            may &= np.arange(len(self.exits)) >= stop[:, None]
            may[:, -1] = True
            stop[below] = may[below].argmax(1)
        return Replay(np.array(self.exits)[stop], accepted[rows, stop], accepted[:, -1])


def gate_alone(policies: Sequence[Policy]) -> Gate | None:
    """The gate policy, or None where another policy may stop a face that is running.

    The gate's promise holds for all faces, not for those that a deadline did not stop.
    """
    gate = next((policy for policy in policies if isinstance(policy, Gate)), None)
    others = [policy for policy in policies if policy is not gate and policy.watches]
    return None if others else gate


def check_gate(gate: int, name: str = "a gate") -> int:
    """`gate` as an int. Raises ConfigError if it is no quality."""
    return whole_number(name, gate, 0, 100)


def _list(exits: tuple[int, ...]) -> str:
    return ", ".join(map(str, exits))
