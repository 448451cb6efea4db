"""The scores of all exits of an engine, and synthetic faces to run it on without real ones."""

from __future__ import annotations

import numpy as np

from edge_fiqa.engines.base import Engine, Tokens, require_tokens
from edge_fiqa.exits.route import route_to
from edge_fiqa.types import IMAGE, Array, Bytes


def synthetic_faces(count: int, seed: int = 0) -> Bytes:
    """(count, 112, 112, 3) blocky noise: not faces, but every activation is exercised."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 14, 14, 3))
    images = np.kron(small, np.ones((1, 8, 8, 1))) + rng.normal(0, 8, (count, IMAGE, IMAGE, 3))
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def all_exits(engine: Engine, faces: Bytes) -> Array:
    """(N, E) raw score of every face at every exit, in one pass of bodies and the last tail."""
    steps = route_to(engine.segments, engine.config.depth, in_steps=True)
    trail = np.empty((len(faces), engine.config.depth), np.float32)
    with engine.turn:
        engine.prepare(steps, [1])
        for row in range(len(faces)):
            x: Bytes | Tokens = faces[row : row + 1]
            for segment in steps:
                tokens, trail[row : row + 1, segment.exits] = engine.run(segment, x)
                if segment is not steps[-1]:
                    x = require_tokens(tokens)
    return trail
