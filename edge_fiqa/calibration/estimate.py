"""A calibration in use, for one fusion rule: fused scores at a depth -> estimates of the full score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_fiqa.calibration.artefact import Calibration, Promise, Rule
from edge_fiqa.calibration.scale import Qualities
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import Fusion, fuse
from edge_fiqa.types import Array


@dataclass(frozen=True)
class QualityEstimates:
    """Of N faces: the estimated full score, its quality 0..100, and the interval of the quality."""

    estimate: Array
    quality: Qualities
    low: Qualities
    high: Qualities


def rule_name(fusion: Fusion) -> str:
    return fusion if isinstance(fusion, str) else ",".join(f"{w:g}" for w in fusion)


class Estimator:
    """Estimates of the full fused score, their spread, and the 0-100 scale."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.scale = rule, rule.scale
        self._full = [(np.array(d.full.x), np.array(d.full.y)) for d in rule.depths]
        self._spread = [(np.array(d.spread.x), np.array(d.spread.y)) for d in rule.depths]

    @classmethod
    def of(cls, calibration: Calibration, fusion: Fusion) -> Estimator:
        """Raises ConfigError if the calibration does not know the fusion rule."""
        name = rule_name(fusion)
        if name not in calibration.rules:
            raise ConfigError(
                f"fusion {name} is not calibrated ({', '.join(calibration.rules)} are); "
                f"run edge-fiqa calibrate with --fusion {name}"
            )
        return cls(calibration.rules[name])

    def estimate(self, fused: Array, depth: int) -> Array:
        """(N,) fused over exits 1..depth -> (N,) estimates of the full score; NaN stays NaN."""
        if depth == len(self._full):
            return fused
        return np.interp(fused, *self._full[depth - 1]).astype(np.float32)

    def spread(self, estimate: Array, depth: int) -> Array:
        """(N,) how far the full score typically lies from estimates at this depth; 0 at the last."""
        if depth == len(self._spread):
            return np.zeros_like(estimate)
        return np.interp(estimate, *self._spread[depth - 1]).astype(np.float32)

    def interval(self, estimate: Array, depth: int) -> tuple[Qualities, Qualities]:
        """Lowest and highest quality that full depth gives to nine in ten such faces."""
        spread, bounds = self.spread(estimate, depth), self.rule.depths[depth - 1]
        low, high = min(bounds.low, 0.0) * spread, max(bounds.high, 0.0) * spread
        return self.scale.quality(estimate + low), self.scale.quality(estimate + high)

    def qualities(self, score: Array, depth: npt.NDArray[np.intp]) -> QualityEstimates:
        """Fused scores (N,) over exits 1..depth (N,) -> estimates of full depth.

        Where a score is not finite, its estimate is not finite either. Its qualities mean nothing.
        """
        out = QualityEstimates(score.copy(), *(np.zeros(len(score), np.intp) for _ in range(3)))
        for reached in set(depth[np.isfinite(score)].tolist()):
            rows = np.isfinite(score) & (depth == reached)
            estimate = self.estimate(score[rows], reached)
            out.estimate[rows] = estimate
            out.quality[rows] = self.scale.quality(estimate)
            out.low[rows], out.high[rows] = self.interval(estimate, reached)
        return out

    def estimates_and_spreads(
        self, trail: Array, exits: Sequence[int], fusion: Fusion
    ) -> tuple[Array, Array]:
        """Complete trails (N, E) -> estimates (N, P) and spreads (N, P) at the P exits."""
        estimates = [self.estimate(fuse(trail, depth, fusion), depth) for depth in exits]
        spreads = [self.spread(e, depth) for e, depth in zip(estimates, exits, strict=True)]
        return np.stack(estimates, axis=1), np.stack(spreads, axis=1)

    def full_qualities(self, trail: Array, fusion: Fusion) -> Qualities:
        """Complete trails (N, E) -> (N,) qualities at full depth, -1 where a score is not finite."""
        finite = np.isfinite(trail).all(axis=1)
        score = self.estimate(fuse(trail, trail.shape[1], fusion), trail.shape[1])
        return np.where(finite, self.scale.quality(np.where(finite, score, 0)), -1)

    def promise(self, risk: float | None) -> Promise:
        """The promise of that risk, or the first one. Raises ConfigError if there is none."""
        for promise in self.rule.promises:
            if risk is None or np.isclose(promise.risk, risk):
                return promise
        known = ", ".join(f"{promise.risk:g}" for promise in self.rule.promises) or "none"
        wanted = "" if risk is None else f" of {risk:g}"
        remedy = f" with --risk {risk:g}" if risk is not None and 0 < risk < 1 else ""
        raise ConfigError(
            f"no risk{wanted} in this calibration (it has {known}); run edge-fiqa calibrate{remedy}"
        )
