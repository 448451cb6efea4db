"""Which segments to run to reach an exit. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edge_fiqa.errors import ConfigError
from edge_fiqa.types import Segment

Route = tuple[Segment, ...]


def segments_for(boundaries: Sequence[int], tails: bool) -> tuple[Segment, ...]:
    """Every segment that a bundle with these segment ends holds.

    To stop at any segment end: one body per span, and its tail where the mode has tails. For a depth
    that is known before the start: one segment from block 1 to each exit, which is faster.
    """
    starts = [1, *(end + 1 for end in boundaries[:-1])]
    bodies = [Segment(first, last) for first, last in zip(starts, boundaries, strict=True)]
    segments = [*bodies, *(Segment(1, end, tail=tails) for end in boundaries)]
    if tails:
        segments += [Segment(body.first, body.last, tail=True) for body in bodies]
    return tuple(sorted(set(segments)))


def parse_boundaries(text: str, depth: int) -> tuple[int, ...]:
    """`4` (that many equal segments), `every 3` (blocks; the last segment may be shorter) or `3,6,9,12`
    (their last blocks) -> the last blocks."""
    if (every := re.fullmatch(r"every ([1-9]\d*)", text)) is not None:
        return (*range(int(every[1]), depth, int(every[1])), depth)
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"segments {text!r}: expected a count, every N blocks like every 3, or last blocks like "
            "3,6,9,12"
        ) from None
    if len(numbers) == 1:
        count = numbers[0]
        if not 1 <= count <= depth or depth % count:
            raise ConfigError(
                f"{count} segments do not divide {depth} blocks evenly; list their last blocks, or say "
                "every N"
            )
        size = depth // count
        return tuple(range(size, depth + 1, size))
    if sorted(set(numbers)) != numbers or numbers[0] < 1 or numbers[-1] != depth:
        raise ConfigError(
            f"segment ends {text} must rise and end with the last block, {depth}; every N fits any "
            "depth"
        )
    return tuple(numbers)


def exits(segments: Iterable[Segment]) -> tuple[int, ...]:
    """The exits where execution can stop: the ends of segments that a chain from block 1 reaches."""
    reachable = {0}
    for segment in sorted(segments):
        if segment.first - 1 in reachable:
            reachable.add(segment.last)
    return tuple(sorted(reachable - {0}))


def route_to(segments: Iterable[Segment], depth: int, *, in_steps: bool = False) -> Route:
    """Segments that end at exit `depth`: the fewest, or with `in_steps` one per decision point.

    The last is a tail where there is one: after the last segment no tokens are needed.
    """
    ordered = sorted(segments)
    steps: list[Segment] = []
    while (done := steps[-1].last if steps else 0) < depth:
        onward = [s for s in ordered if s.first == done + 1 and s.last <= depth and _fits(s, depth)]
        if not onward:
            raise ConfigError(
                f"exit {depth} is not the end of a segment; this bundle can stop at exits "
                f"{', '.join(map(str, exits(ordered)))}"
            )
        reach = min if in_steps else max
        last = reach(s.last for s in onward)
        steps.append(max((s for s in onward if s.last == last), key=lambda s: s.tail))
    return tuple(steps)


def _fits(segment: Segment, depth: int) -> bool:
    return not segment.tail or segment.last == depth
