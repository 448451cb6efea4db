"""The scores of all exits of an engine, and synthetic faces to run it on without real ones."""

from __future__ import annotations

import numpy as np

from edge_fiqa.engines.base import Engine, Tokens, require_tokens
from edge_fiqa.exits.route import route_to
from edge_fiqa.types import IMAGE, Array, Bytes, Segment


def synthetic_faces(count: int, seed: int = 0) -> Bytes:
    """(count, 112, 112, 3) blocky noise: not faces, but every activation is exercised."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 14, 14, 3))
    images = np.kron(small, np.ones((1, 8, 8, 1))) + rng.normal(0, 8, (count, IMAGE, IMAGE, 3))
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def all_exits(engine: Engine, faces: Bytes, batch: int = 1) -> Array:
    """(N, E) raw score of every face at every exit, in one pass of bodies and the last tail.

    batch: faces that go through the bodies together. The last step takes them one at a time: as a
    tail it computes one row for each face, and libraries add up one row in another order than many.
    """
    return all_exits_and_causes(engine, faces, batch)[0]


def all_exits_and_causes(
    engine: Engine, faces: Bytes, batch: int = 1
) -> tuple[Array, Array | None]:
    """The scores as `all_exits` gives them, and (N, K, D) logits of causes, of the same pass.

    K: the exits at which the engine can stop, as its bundle's manifest lists them. D: its `causes`;
    None instead of logits where it reads none.
    """
    steps = route_to(engine.segments, engine.config.depth, in_steps=True)
    trail = np.empty((len(faces), engine.config.depth), np.float32)
    logits = np.empty((len(faces), len(steps), len(engine.causes)), np.float32)
    with engine.turn:
        engine.prepare(steps, sorted({1, batch}))
        for start in range(0, len(faces), batch):
            x: Bytes | Tokens = faces[start : start + batch]
            rows = slice(start, min(start + batch, len(faces)))
            for step, segment in enumerate(steps[:-1]):
                tokens, trail[rows, segment.exits], causes = engine.run(segment, x)
                x = require_tokens(tokens)
                if causes is not None:
                    logits[rows, step] = causes
            _one_at_a_time(engine, steps[-1], x, trail[rows, steps[-1].exits], logits[rows, -1])
    return trail, logits if engine.causes else None


def _one_at_a_time(
    engine: Engine, last: Segment, x: Bytes | Tokens, scores: Array, logits: Array
) -> None:
    faces = len(scores)
    for row in range(faces):
        if faces == 1:
            face = x
        elif isinstance(x, Tokens):
            face = engine.keep(x, np.array([row]))
        else:
            face = x[row : row + 1]
        _, scores[row], causes = engine.run(last, face)
        if causes is not None:
            logits[row] = causes
