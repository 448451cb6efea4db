"""The record of one face, in the stable form that other programs read (edge-fiqa/1).

A value that is not known is null. A face that could not be scored keeps its record, with
`quality.scalar: null` and a code (`timeout`: only of pictures pushed to a gateway).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from edge_fiqa.reasons.causes import CAUSES
from edge_fiqa.reasons.report import Reasons
from edge_fiqa.types import Box, Point

SCHEMA: Final = "edge-fiqa/1"

Code = Literal["ok", "unreadable", "no_face", "too_small", "not_finite", "timeout"]


class Algorithm(Struct, frozen=True):
    name: str
    version: str
    fingerprint: str


class Quality(Struct, frozen=True):
    """scalar: 0..100, higher is better (ISO/IEC 29794-1). raw: fused score on the model's scale."""

    scalar: int | None
    raw: float | None
    interval: tuple[int, int] | None
    code: Code
    algorithm: Algorithm
    calibration: str | None


class Exit(Struct, frozen=True):
    """depth: blocks run. scores[k-1]: raw score of exit k, null where it was not run."""

    depth: int | None
    reason: str | None
    scores: tuple[float | None, ...]
    fusion: str


class Cost(Struct, frozen=True):
    gflops: float | None
    ms: float | None
    mj: float | None


class Decision(Struct, frozen=True):
    gate: int | None
    accepted: bool | None
    risk: float | None
    confidence: float | None


class Record(Struct, frozen=True, kw_only=True):
    schema: Literal["edge-fiqa/1"] = SCHEMA
    id: str
    source: str
    frame_time: float | None = None
    box: Box | None
    landmarks: tuple[Point, ...] | None
    quality: Quality
    exit: Exit
    cost: Cost
    decision: Decision
    reasons: Reasons | None = None
    """None where the model or its calibration knows of no causes, and where no score was read."""
    warnings: tuple[str, ...]


_encoder = msgspec.json.Encoder()


def to_json(record: Record) -> bytes:
    """One NDJSON line, without the newline."""
    return escape_json(_encoder.encode(record))


def escape_json(data: bytes) -> bytes:
    """JSON on one line that means the same, without characters that steer a terminal.

    JSON itself escapes those below 0x20 alone. Marks of direction and the like can only stand in
    strings, where \\u says the same.
    """
    text = data.decode()
    if text.isprintable():
        return data
    return "".join(c if c.isprintable() else _json_escape(c) for c in text).encode()


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def flatten(record: Record) -> dict[str, Any]:
    """The same record as one row of a table: `quality.scalar`, `exit.scores.1`, ...

    Lists become one column per element where their length is known (box, landmarks, interval,
    scores); warnings and reported causes are joined by `;`.
    """
    row: dict[str, Any] = {}
    tree = msgspec.to_builtins(record)
    tree["warnings"] = ";".join(tree["warnings"])
    tree["reasons"] = _reasons_row(record.reasons)
    tree["box"] = dict(zip("xywh", tree["box"] or [None] * 4, strict=True))
    points = tree["landmarks"] or [(None, None)] * 5
    tree["landmarks"] = {str(i + 1): dict(zip("xy", p, strict=True)) for i, p in enumerate(points)}
    low_high = tree["quality"]["interval"] or (None, None)
    tree["quality"]["interval"] = dict(zip(("low", "high"), low_high, strict=True))
    tree["exit"]["scores"] = {str(k + 1): v for k, v in enumerate(tree["exit"]["scores"])}
    _flatten_into(row, "", tree)
    return row


def _reasons_row(reasons: Reasons | None) -> dict[str, Any]:
    if reasons is None:
        return {"instruction": None, "reported": None, **dict.fromkeys(CAUSES)}
    reported = ";".join(each.cause for each in reasons.reported)
    values = {name: reasons.values.get(name) for name in CAUSES}
    return {"instruction": reasons.instruction, "reported": reported, **values}


def _flatten_into(row: dict[str, Any], prefix: str, tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            _flatten_into(row, f"{prefix}{key}.", value)
        else:
            row[prefix + key] = value
