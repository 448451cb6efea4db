"""Which shards are still to be scored, given what a set already holds.

The lists of pictures lie in files below the set while a run goes on: no process holds all names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
from pyarrow.fs import FileType

from edge_fiqa.distributed.shards import (
    PLAN_FOLDER,
    PictureNames,
    Shard,
    Sources,
    container_shards,
    digest,
    picture_lists,
    plan_file,
)
from edge_fiqa.errors import ConfigError
from edge_fiqa.tables.places import said
from edge_fiqa.tables.score_set import ScoreSet, SetContent, files_part

Digests = npt.NDArray[np.uint64]


@dataclass
class Plan:
    """shards: to be scored. there_already: shards, and pictures in files of their own, that are done.

    changed: shards whose file is another one since it was scored. again: unreadable pictures that are
    tried once more. per_file: pictures of a part, the set's own.
    """

    per_file: int
    shards: list[Shard] = field(default_factory=list)
    there_already: int = 0
    changed: int = 0
    again: int = 0


def plan_of(sources: Sources, score_set: ScoreSet, per_file: int) -> Plan:
    """Raises ConfigError for a source that cannot be read, and a set that cannot be written."""
    plan, content = Plan(per_file), score_set.content()
    clear_plan(score_set)
    for shard in container_shards(sources.containers, per_file):
        if content.done(shard.key, shard.version):
            plan.there_already += 1
            continue
        if stale := content.stale(shard.key, shard.version):
            score_set.delete([part.file for part in stale])
            plan.changed += 1
        plan.shards.append(shard)
    score_set.place.child(PLAN_FOLDER).make_folder()
    if sources.pictures:
        _add_pictures(plan, sources, score_set, content, per_file)
    return plan


def clear_plan(score_set: ScoreSet) -> None:
    """Remove the lists of a run that ended, however it did."""
    folder = score_set.place.child(PLAN_FOLDER)
    try:
        if folder.info().type == FileType.Directory or list(folder.listed(recursive=False)):
            folder.filesystem.delete_dir(folder.path)
    except OSError as exc:
        raise score_set.unwritable(exc) from exc


def _add_pictures(
    plan: Plan, sources: Sources, score_set: ScoreSet, content: SetContent, per_file: int
) -> None:
    done, unreadable = _pictures_there(score_set, content)
    query = ""
    for whole in picture_lists(_each_once(sources), per_file):
        names = [name for name in whole.names if not _holds(done, _number(name))]
        plan.there_already += len(whole.names) - len(names)
        if not names:
            continue
        listed = PictureNames(names, whole.query)
        key = digest("\n".join(listed.names))
        query = query or listed.query
        _put(plan, score_set, Shard(kind="files", key=key, name=_name(listed), uri=""), listed)
    query = query or next((place.query for _, place in sources.containers), "")
    for key, names in unreadable.items():
        again = PictureNames(names, query)
        _put(plan, score_set, Shard(kind="again", key=key, name=_name(again), uri=""), again)
        plan.again += len(names)


def _put(plan: Plan, score_set: ScoreSet, shard: Shard, listed: PictureNames) -> None:
    place = score_set.place.child(plan_file(shard))
    try:
        place.write(msgspec.json.encode(listed))
    except OSError as exc:
        raise ConfigError(f"{place.name} cannot be written: {said(exc)}") from exc
    plan.shards.append(shard)


def _name(listed: PictureNames) -> str:
    return f"{listed.names[0]} and {len(listed.names) - 1} more"


def _each_once(sources: Sources) -> Iterator[Iterator[tuple[str, str]]]:
    """The pictures by input. A picture that several name is the first one's."""
    seen: set[int] = set()

    def once(pictures: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        for name, query in pictures:
            number = _number(name)
            if number not in seen:
                seen.add(number)
                yield name, query

    several = len(sources.pictures) > 1
    return (once(pictures) if several else pictures for pictures in sources.pictures)


def _pictures_there(
    score_set: ScoreSet, content: SetContent
) -> tuple[Digests, dict[str, list[str]]]:
    """Digests of the pictures in files of their own, sorted, and the unreadable ones by part."""
    digests: list[Digests] = []
    unreadable: dict[str, list[str]] = {}
    for key in sorted(content.files):
        table = score_set.table(files_part(key), ["source", "quality"])
        names: list[str] = table["source"].to_pylist()
        codes = [quality["code"] for quality in table["quality"].to_pylist()]
        digests.append(np.array([_number(name) for name in names], np.uint64))
        failed = [n for n, code in zip(names, codes, strict=True) if code == "unreadable"]
        if failed:
            unreadable[key] = failed
    empty = np.empty(0, np.uint64)
    return np.unique(np.concatenate([empty, *digests])), unreadable


def _holds(digests: Digests, number: int) -> bool:
    place = int(np.searchsorted(digests, np.uint64(number)))
    return place < len(digests) and int(digests[place]) == number


def _number(name: str) -> int:
    """64 bits. Among 10 million names, two are alike with a chance of 3 in a million."""
    return int(digest(name), 16)


def shard_rows(shards: Sequence[Shard]) -> list[dict[str, bytes]]:
    """What Ray hands to the workers."""
    return [{"shard": msgspec.json.encode(shard)} for shard in shards]
