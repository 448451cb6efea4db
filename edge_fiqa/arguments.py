"""Numbers that a caller hands in: what is none is refused in one sentence, where it was given.

Passed on, a text would be some TypeError later, and True would be taken for 1.
"""

from __future__ import annotations

from numbers import Integral, Real

from edge_fiqa.errors import ConfigError


def whole_number(
    name: str, value: object, least: int | None = None, most: int | None = None
) -> int:
    """`value` as an int. Raises ConfigError unless it is a whole number, from `least` to `most`.

    numpy's integers are whole numbers; 2.0, True and "2" are not.
    """
    limits = _limits(least, most)
    if not isinstance(value, Integral) or isinstance(value, bool):
        expected = ", ".join(("a whole number", *limits))
        raise ConfigError(f"{name} must be {expected}, got {_shown(value)}")
    number = int(value)
    if (least is not None and number < least) or (most is not None and number > most):
        raise ConfigError(f"{name} must be {limits[0]}, got {number}")
    return number


def check_number(name: str, value: object) -> None:
    """Raises ConfigError unless it is a number; True and "2" are not."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a number, got {_shown(value)}")


def check_positive(name: str, value: float) -> None:
    """Raises ConfigError unless it is a number above 0."""
    check_number(name, value)
    if not value > 0:  # NaN as well
        raise ConfigError(f"{name} must be positive, got {value}")


def _limits(least: int | None, most: int | None) -> tuple[str, ...]:
    if least is None:
        return ()
    return (f"at least {least}" if most is None else f"from {least} to {most}",)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
