"""A policy of your own: python examples/own_policy.py FACE.png ...

A door needs one good face, and does not ask how good exactly. So a face is done once its estimated
quality reaches a level; only doubtful faces are computed to the end.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_fiqa import Forecast, Progress, Scorer


@dataclass(frozen=True)
class GoodEnough:
    """Stop once the estimate of full depth has this quality. Nothing but numbers in, a mask out."""

    level: int
    quality: Callable[[np.ndarray], np.ndarray]  # raw scores (N,) -> 0 to 100 (N,)
    reason: str = "good_enough"  # stands in the record
    watches: bool = True  # ask me after every segment
    needs_ms: bool = False

    def limit(self, forecast: Forecast) -> int:
        return forecast.exits[-1]

    def stop(self, progress: Progress) -> np.ndarray:
        return self.quality(progress.estimates[:, -1]) >= self.level  # (N,) bool


def main(paths: list[str]) -> None:
    with Scorer.open() as scorer:
        policy = GoodEnough(60, scorer.estimator.scale.quality)
        for path, record in zip(paths, scorer.score(paths, [policy]), strict=True):
            print(record.quality.scalar, record.exit.depth, record.exit.reason, path)


if __name__ == "__main__":
    main(sys.argv[1:])
