"""The report of a gallery: one self-contained HTML page with a small picture of every face."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edge_fiqa import __version__
from edge_fiqa.evaluation.report.page_template import page_template
from edge_fiqa.faces.images import path_of
from edge_fiqa.gallery.choose import Action
from edge_fiqa.gallery.likeness import NEAR_DUPLICATE, Threshold
from edge_fiqa.gallery.result import JudgedPerson, JudgedPicture
from edge_fiqa.reasons.words import causes_in_words

MOST_SHOWN: Final = 60
"""Pictures of one person and action; the others are in gallery.ndjson alone."""
ACTIONS: Final[tuple[tuple[Action, str], ...]] = (
    ("keep", "Keep"),
    ("spare", "Spare: good, but there are enough better or more different ones"),
    ("drop", "Drop"),
)


def render_page(
    folder: Path,
    persons: Sequence[JudgedPerson],
    *,
    gate: float,
    most: int,
    threshold: Threshold | None,
    notes: Sequence[str],
) -> bytes:
    """The page as UTF-8. Names are escaped. Raises BackendMissing without Jinja2."""
    page = template().render(
        folder=folder.name or str(folder),
        persons=[_person(person) for person in persons],
        counts=Counter(p.verdict.action for person in persons for p in person.pictures),
        reasons=Counter(
            p.verdict.reason.replace("_", " ")
            for person in persons
            for p in person.pictures
            if p.verdict.action == "drop"
        ),
        gate=gate,
        most=most,
        threshold=threshold,
        near_duplicate=NEAR_DUPLICATE,
        notes=notes,
        version=__version__,
    )
    return page.encode("utf-8", "backslashreplace")


def _person(person: JudgedPerson) -> dict[str, Any]:
    groups = []
    for action, title in ACTIONS:
        if ordered := person.of(action):
            shown = [_cell(each) for each in ordered[:MOST_SHOWN]]
            groups.append((action, title, len(ordered), shown))
    return {"name": person.name, "groups": groups, "doubtful": person.doubtful}


def _cell(judged: JudgedPicture) -> dict[str, Any]:
    picture, row = judged.picture, judged.row
    thumbnail = picture.thumbnail
    return {
        "image": None if thumbnail is None else base64.b64encode(thumbnail).decode(),
        "quality": row.quality,
        "name": picture.path.name,
        "path": row.path,
        "reason": _reason(judged),
        "warnings": row.record.warnings if row.reason != "not_scored" else (),
    }


def _reason(judged: JudgedPicture) -> str:
    row = judged.row
    if row.reason == "below_gate":
        causes = causes_in_words(row.record.reasons)
        return f"below the gate: {causes}" if causes else "below the gate"
    if row.reason == "near_duplicate":
        return f"nearly the same as {path_of(row.other or '').name}"
    if row.reason == "other_person":
        return f"looks like {row.other}" if row.other else "not this person, and nobody here"
    if row.reason == "not_scored":
        return {
            "unreadable": "cannot be read",
            "no_face": "no face",
            "too_small": "face too small",
        }.get(row.record.quality.code, row.record.quality.code)
    return ""


def template() -> Any:
    """Of the page. Raises BackendMissing without Jinja2."""
    return page_template(__package__)
