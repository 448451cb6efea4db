"""Parts of a camera's picture: polygons whose points are shares of its width and height."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from edge_fiqa.gateway.config.patterns import NAME
from edge_fiqa.types import Point

MOST_POINTS = 100
SMALLEST = 1e-6  # area of a polygon, as a share of the picture: less is a line

PictureShare = Annotated[float, Field(ge=0, le=1)]
AreaName = Annotated[str, Field(pattern=NAME)]


def checked(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The polygon without a last point that repeats its first.

    Raises ValueError where it has fewer than 3 points, no area, or sides that cross or touch.
    """
    if len(points) > 1 and points[0] == points[-1]:
        points = points[:-1]
    if not 3 <= len(points) <= MOST_POINTS:
        raise ValueError(
            f"a polygon has 3 to {MOST_POINTS} points, [x, y] each; this: {len(points)}"
        )
    count = len(points)
    for i in range(count):
        if points[i] == points[(i + 1) % count]:
            raise ValueError(
                f"its points {i + 1} and {(i + 1) % count + 1} are the same: leave one out"
            )
    sides = [(points[i], points[(i + 1) % count]) for i in range(count)]
    for i, side in enumerate(sides):
        for j in range(i + 2, count - (i == 0)):  # the next side shares a point with it
            if _meet(side, sides[j]):
                raise ValueError(
                    f"its side {i + 1} meets its side {j + 1}: points in another order?"
                )
    if abs(_twice_area(points)) < 2 * SMALLEST:
        raise ValueError("its points lie on a line")
    return points


def _twice_area(points: Sequence[Point]) -> float:
    """Twice the signed area (the shoelace formula)."""
    following = (*points[1:], points[0])
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, following, strict=True))


def _meet(side: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Whether two sides share a point: the ends of each are not both on one side of the other."""
    (a, b), (c, d) = side, other
    if _overlap(a[0], b[0], c[0], d[0]) and _overlap(a[1], b[1], c[1], d[1]):
        return _turn(a, b, c) * _turn(a, b, d) <= 0 and _turn(c, d, a) * _turn(c, d, b) <= 0
    return False


def _overlap(a: float, b: float, c: float, d: float) -> bool:
    return min(a, b) <= max(c, d) and min(c, d) <= max(a, b)


def _turn(a: Point, b: Point, c: Point) -> float:
    """Above 0 where a, b, c turn left, 0 where they lie on a line."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple) and not any(_is_number(item) for item in value):
        return value
    raise ValueError("a polygon is a list of points [x, y], from 0 to 1 of the picture's sides")


Polygon = Annotated[
    tuple[tuple[PictureShare, PictureShare], ...], BeforeValidator(_listed), AfterValidator(checked)
]


def _several(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if value and all(_is_number(item) or _is_point(item) for item in value):
            raise ValueError("one polygon needs a list around it: [[[x, y], [x, y], [x, y]]]")
    elif not isinstance(value, dict):
        raise ValueError(
            "give a list of polygons, [[[x, y], [x, y], [x, y]]], or polygons by name, "
            "{name: [[x, y], [x, y], [x, y]]}"
        )
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_point(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_number, value))


def _form(value: Any) -> str:
    return "[mapping]" if isinstance(value, dict) else "[list]"


Polygons = Annotated[
    Annotated[dict[AreaName, Polygon], Tag("[mapping]")]
    | Annotated[tuple[Polygon, ...], Tag("[list]")],
    Discriminator(_form),
    BeforeValidator(_several),
]
"""With names or without. The tags are no keys of the file (see `load_config`)."""
