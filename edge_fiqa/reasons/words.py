"""Reasons in few words, for people."""

from __future__ import annotations

from edge_fiqa.reasons.report import Reasons

MOST_NAMED = 3


def causes_in_words(reasons: Reasons | None, most: int = MOST_NAMED) -> str:
    """`motion blur, noise`: the most certain causes first; empty where none is certain."""
    reported = () if reasons is None else reasons.reported[:most]
    return ", ".join(each.cause.replace("_", " ") for each in reported)


def reasons_in_words(reasons: Reasons | None) -> str:
    """`hold still: motion blur, noise`; the causes alone where nobody can do anything about them."""
    instruction = None if reasons is None else reasons.instruction
    return ": ".join(filter(None, (instruction, causes_in_words(reasons))))
