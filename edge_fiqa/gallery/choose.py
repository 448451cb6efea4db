"""Which pictures of a gallery to keep and which to drop, and why. Pure.

In this order: what cannot be scored, what lies below the gate, who is somebody else by the recogniser,
what is nearly the same picture as a better one. Of the rest the best are kept: the best one first, then
each time the one with the highest sum of quality and difference from those kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from edge_fiqa.gallery.likeness import (
    NEAR_DUPLICATE,
    Threshold,
    main_person,
    mean_face,
    same_person_threshold,
)
from edge_fiqa.types import Array

Action = Literal["keep", "spare", "drop"]
VerdictReason = Literal[
    "best", "enough", "below_gate", "near_duplicate", "other_person", "not_scored"
]
DIFFERENCE: Final = 50.0
"""Points of quality (0 to 100) that a cosine of 0 to all kept faces is worth, beside one of 1."""


@dataclass(frozen=True)
class GalleryFace:
    """A picture and its largest face. quality: 0-100, None if there is no face to score.

    look: see likeness. embedding: (F,) of unit length; None without a recogniser.
    """

    picture: str
    quality: float | None
    look: Array | None = None
    embedding: Array | None = None


@dataclass(frozen=True)
class PictureVerdict:
    """action: spare pictures are good, but there are enough better or more different ones.

    other: the picture that a near duplicate repeats, or the person that the face looks like.
    similarity: to that picture, or to the person of this folder.
    """

    action: Action
    reason: VerdictReason
    other: str | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class PersonFaces:
    name: str
    faces: tuple[GalleryFace, ...]


@dataclass(frozen=True)
class Choice:
    """verdicts: for each person, in the order of their faces. threshold: None without a recogniser.

    doubtful: persons of whom no two faces are alike, so that nobody can say who is whose.
    """

    verdicts: tuple[tuple[PictureVerdict, ...], ...]
    threshold: Threshold | None
    doubtful: tuple[str, ...]


def choose(
    persons: Sequence[PersonFaces], gate: float, most: int, threshold: float | None = None
) -> Choice:
    """most: pictures of a person that are kept. threshold: cosine of one person, None: estimated."""
    verdicts = [[_by_quality(face, gate) for face in person.faces] for person in persons]
    limit, doubtful = None, list[str]()
    if any(face.embedding is not None for person in persons for face in person.faces):
        good = [_embeddings(p, v) for p, v in zip(persons, verdicts, strict=True)]
        limit = (
            same_person_threshold(good) if threshold is None else Threshold(threshold, "--match")
        )
        doubtful = _mark_others(persons, verdicts, limit.value)
    for person, of_person in zip(persons, verdicts, strict=True):
        _mark_duplicates(person, of_person)
        _mark_spare(person, of_person, most)
    return Choice(tuple(map(tuple, verdicts)), limit, tuple(doubtful))


def _by_quality(face: GalleryFace, gate: float) -> PictureVerdict:
    if face.quality is None:
        return PictureVerdict("drop", "not_scored")
    return (
        PictureVerdict("drop", "below_gate")
        if face.quality < gate
        else PictureVerdict("keep", "best")
    )


def _kept(verdicts: Sequence[PictureVerdict]) -> list[int]:
    return [row for row, verdict in enumerate(verdicts) if verdict.action == "keep"]


def _embeddings(person: PersonFaces, verdicts: Sequence[PictureVerdict]) -> Array:
    rows = [person.faces[row].embedding for row in _kept(verdicts)]
    known = [row for row in rows if row is not None]
    return np.stack(known) if known else np.empty((0, 1), np.float32)


def _mark_others(
    persons: Sequence[PersonFaces], verdicts: Sequence[list[PictureVerdict]], limit: float
) -> list[str]:
    """Drop the faces of somebody else. Returns the persons of whom no two faces are alike."""
    means: dict[str, Array] = {}
    doubtful = []
    for person, of_person in zip(persons, verdicts, strict=True):
        rows = _kept(of_person)
        embeddings = _embeddings(person, of_person)
        quality = [person.faces[row].quality or 0.0 for row in rows]
        own = main_person(embeddings, quality, limit)
        if len(own):
            means[person.name] = mean_face(embeddings[own])
        elif rows:
            doubtful.append(person.name)
    for person, of_person in zip(persons, verdicts, strict=True):
        if person.name not in means:
            continue
        for row in _kept(of_person):
            embedding = person.faces[row].embedding
            similarity = None if embedding is None else float(embedding @ means[person.name])
            if embedding is not None and similarity is not None and similarity < limit:
                other = _most_like(embedding, means, person.name, limit)
                of_person[row] = PictureVerdict("drop", "other_person", other, similarity)
    return doubtful


def _most_like(embedding: Array, means: dict[str, Array], own: str, limit: float) -> str | None:
    """The other person whom a face is most like, None where it is like none."""
    others = {name: float(embedding @ mean) for name, mean in means.items() if name != own}
    best = max(others, key=lambda name: others[name], default=None)
    return best if best is not None and others[best] >= limit else None


def _mark_duplicates(person: PersonFaces, verdicts: list[PictureVerdict]) -> None:
    """From the best on: what is nearly a picture that stays is dropped."""
    staying: list[int] = []
    for row in sorted(_kept(verdicts), key=lambda row: -(person.faces[row].quality or 0.0)):
        likeness = {other: _likeness(person.faces[row], person.faces[other]) for other in staying}
        nearest = max(likeness, key=lambda other: likeness[other], default=None)
        if nearest is not None and likeness[nearest] >= NEAR_DUPLICATE:
            other = person.faces[nearest].picture
            verdicts[row] = PictureVerdict("drop", "near_duplicate", other, likeness[nearest])
        else:
            staying.append(row)


def _likeness(face: GalleryFace, other: GalleryFace) -> float:
    if face.look is None or other.look is None:
        return 0.0
    return float(face.look @ other.look)


def _mark_spare(person: PersonFaces, verdicts: list[PictureVerdict], most: int) -> None:
    chosen: list[int] = []
    rest = _kept(verdicts)
    while rest and len(chosen) < most:
        best = max(rest, key=lambda row: _gain(person, row, chosen))
        chosen.append(best)
        rest.remove(best)
    for row in rest:
        verdicts[row] = replace(verdicts[row], action="spare", reason="enough")


def _gain(person: PersonFaces, row: int, chosen: Sequence[int]) -> float:
    """Quality, and difference from the faces that are chosen already."""
    face = person.faces[row]
    quality = face.quality or 0.0
    kept = [person.faces[other].embedding for other in chosen]
    known = [embedding for embedding in kept if embedding is not None]
    if face.embedding is None or not known:
        return quality
    return quality + DIFFERENCE * (1 - max(float(face.embedding @ other) for other in known))
