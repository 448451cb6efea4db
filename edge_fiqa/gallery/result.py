"""gallery.ndjson: what to do with each picture, for scripts (edge-fiqa-gallery/1), a line for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from msgspec import Struct

from edge_fiqa.gallery.choose import Action, Choice, PictureVerdict, VerdictReason
from edge_fiqa.gallery.pictures import ScoredPicture
from edge_fiqa.record import Record

SCHEMA: Final = "edge-fiqa-gallery/1"


class GalleryRow(Struct, frozen=True, kw_only=True):
    """path: as `source` of the record. other, similarity: see PictureVerdict.

    quality: 0-100; null for a picture that could not be scored, whose record says why.
    """

    schema: Literal["edge-fiqa-gallery/1"] = SCHEMA
    person: str
    path: str
    action: Action
    reason: VerdictReason
    quality: int | None
    other: str | None
    similarity: float | None
    record: Record


@dataclass(frozen=True)
class JudgedPicture:
    picture: ScoredPicture
    verdict: PictureVerdict
    row: GalleryRow


@dataclass(frozen=True)
class JudgedPerson:
    """doubtful: no two faces are alike, so nobody can say who is whose."""

    name: str
    pictures: tuple[JudgedPicture, ...]
    doubtful: bool

    def of(self, action: Action) -> list[JudgedPicture]:
        """From the highest quality on."""
        pictures = [each for each in self.pictures if each.verdict.action == action]
        return sorted(pictures, key=lambda each: -(each.picture.face.quality or -1.0))


def judged(
    names: Sequence[str], pictures: Sequence[Sequence[ScoredPicture]], choice: Choice
) -> list[JudgedPerson]:
    """All persons, in their order."""
    return [
        JudgedPerson(
            name,
            tuple(
                JudgedPicture(picture, verdict, _row(name, picture, verdict))
                for picture, verdict in zip(of_person, verdicts, strict=True)
            ),
            name in choice.doubtful,
        )
        for name, of_person, verdicts in zip(names, pictures, choice.verdicts, strict=True)
    ]


def rows_to_ndjson(rows: Iterable[GalleryRow]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _row(person: str, picture: ScoredPicture, verdict: PictureVerdict) -> GalleryRow:
    record = picture.record
    return GalleryRow(
        person=person,
        path=record.source,
        action=verdict.action,
        reason=verdict.reason,
        quality=record.quality.scalar,
        other=verdict.other,
        similarity=None if verdict.similarity is None else round(verdict.similarity, 3),
        record=record,
    )
