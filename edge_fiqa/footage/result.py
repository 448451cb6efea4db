"""What is said of a video: best.json (edge-fiqa-best/1), one entry for every person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from edge_fiqa.footage.best_shots import VideoPerson
from edge_fiqa.footage.video_file import VideoFile
from edge_fiqa.record import Record

SCHEMA: Final = "edge-fiqa-best/1"


class PersonEntry(Struct, frozen=True, kw_only=True):
    """A person. Times are seconds from the video's begin, as `frame_time` of the record is.

    record: of the best face; null if no face could be scored. time_s, frame: where it is.
    picture: file with the face and its surroundings; crop: the aligned 112x112 pixels.
    skipped: faces that do not count, by reason.
    """

    person: int
    first_s: float
    last_s: float
    time_s: float | None
    frame: int | None
    faces_seen: int
    faces_scored: int
    skipped: dict[str, int]
    picture: str | None
    crop: str | None
    record: Record | None


class VideoResult(Struct, frozen=True, kw_only=True):
    """complete: the whole video was searched. stated_s: the duration that the file states.

    times: whether frames have time stamps, or were counted. frames: in the video, searched: of them.
    unconfirmed_faces: not sure enough to be followed.
    """

    schema: Literal["edge-fiqa-best/1"] = SCHEMA
    video: str
    complete: bool
    duration_s: float
    stated_s: float | None
    times: Literal["stamps", "counted"]
    frames: int
    frames_searched: int
    unconfirmed_faces: int
    warnings: Sequence[str]
    persons: Sequence[PersonEntry]


def entry_of(person: VideoPerson, picture: str, crop: str) -> PersonEntry:
    """picture, crop: names of the files, if there is a best shot."""
    shot = person.shot
    return PersonEntry(
        person=person.number,
        first_s=_rounded(person.first_s),
        last_s=_rounded(person.last_s),
        time_s=None if shot is None else shot.record.frame_time,
        frame=None if shot is None else shot.frame,
        faces_seen=person.faces_seen,
        faces_scored=person.faces_scored,
        skipped=dict(sorted(person.skipped.items())),
        picture=None if shot is None else picture,
        crop=None if shot is None else crop,
        record=None if shot is None else shot.record,
    )


def result_of(
    video: VideoFile,
    persons: Sequence[PersonEntry],
    *,
    complete: bool,
    searched: int,
    unconfirmed: int,
) -> VideoResult:
    return VideoResult(
        video=video.name,
        complete=complete,
        duration_s=_rounded(video.last_s),
        stated_s=None if video.stated_s is None else _rounded(video.stated_s),
        times="stamps" if video.clock.stamped else "counted",
        frames=video.frames,
        frames_searched=searched,
        unconfirmed_faces=unconfirmed,
        warnings=video.warnings() if complete else [],
        persons=sorted(persons, key=lambda entry: entry.person),
    )


def result_to_json(result: VideoResult) -> bytes:
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
