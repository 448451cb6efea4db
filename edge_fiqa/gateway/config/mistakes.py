"""What is wrong in a gateway's configuration, in words: what the key takes, and what stands there.

No text of the file is quoted, nor a number in place of one: it may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from edge_fiqa.errors import counted
from edge_fiqa.gateway.config.patterns import WORDS
from edge_fiqa.gateway.config.yaml_lines import Document, Place

NUMBERS = {
    "bool": "true or false",
    "finite": "a finite number",
    "float": "a number",
    "int": "a whole number",
}
OTHERS = {
    "dict": "a section of names and values",
    "list": "a list, as [a, b]",
    "path": "a path",
    "string": "text (put it in quotes)",
    "tuple": "a list, as [a, b]",
}
"""Begin of pydantic's name of a mistake -> what the key takes."""
LIMITS = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
}
LARGE = 10**15
STANDING = {
    bool: "true or false",
    date: "a date",
    datetime: "a date",
    dict: "a section",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "text",
    type(None): "nothing",
}


def mistake(document: Document, error: ErrorDetails, model: type[BaseModel]) -> str:
    """One line: file, line, key, and what to do. model: of the whole file."""
    place: Place = tuple(part for part in error["loc"] if not str(part).startswith("["))
    return str(document.error(place, _words(error, place, model)))


def _words(error: ErrorDetails, place: Place, model: type[BaseModel]) -> str:
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    begin = kind.partition("_")[0]
    if kind == "extra_forbidden":
        return f"unknown key{_suggestion(place, model)}"
    if kind == "missing":
        is_key = isinstance(place[-1], str)
        return "is needed, and missing" if is_key else "a point has two numbers, [x, y]"
    if kind == "literal_error":
        return f"must be {context['expected']}".replace("'", "")
    if kind == "string_pattern_mismatch":
        return f"must be {WORDS.get(context['pattern'], context['pattern'])}"
    if kind in LIMITS:
        return f"must be {LIMITS[kind].format(**context)}, not {_standing(value, number=True)}"
    if kind.endswith(("too_long", "too_short")):
        return f"must have {_size(kind, context)}"
    if kind == "model_type":
        keys = ", ".join(_known_keys(place, model)[:3])
        return f"must be a section (of keys such as {keys}), not {_standing(value)}"
    if begin in NUMBERS:
        return f"must be {NUMBERS[begin]}, not {_standing(value, number=True)}"
    if begin in OTHERS:
        return f"must be {OTHERS[begin]}, not {_standing(value)}"
    return error["msg"].removeprefix("Value error, ")  # ours


def _size(kind: str, context: Mapping[str, Any]) -> str:
    """kind: string_too_long, string_too_short, and the same of a list."""
    of = "character" if kind.startswith("string") else "entry"
    several = None if of == "character" else "entries"
    if kind.endswith("long"):
        return f"at most {counted(context['max_length'], of, several)}"
    return f"at least {counted(context['min_length'], of, several)}"


def _standing(value: Any, number: bool = False) -> str:
    """What stands there. number: as it is, of a key that takes no text; any other may be a secret."""
    if number and isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float):
            return f"{value:g}"
        return str(value) if abs(value) < LARGE else "a very large number"
    return STANDING.get(type(value), "something else")


def _suggestion(place: Place, model: type[BaseModel]) -> str:
    """The known key that is most like this one, as text."""
    near = difflib.get_close_matches(str(place[-1]), _known_keys(place[:-1], model), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _known_keys(place: Place, model: type[BaseModel]) -> list[str]:
    """The keys that may stand there; none where any may, or none."""
    if not place:
        return list(model.model_fields)
    field, rest = model.model_fields.get(str(place[0])), place[1:]
    inner = None if field is None else next(_models_in(field.annotation), None)
    if field is None or inner is None:
        return []
    if get_origin(field.annotation) is dict:  # the next part is a name
        return _known_keys(rest[1:], inner) if rest else []
    return _known_keys(rest, inner)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
