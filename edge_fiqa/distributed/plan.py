"""Which shards are still to be scored, given what a set already holds.

The lists of pictures lie in files below the set while a run goes on: no process holds all names.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from pyarrow.fs import FileType

from edge_fiqa.distributed.digests import DigestSet, digest, digests_of
from edge_fiqa.distributed.shards import (
    PLAN_FOLDER,
    NameAndQuery,
    PictureNames,
    Shard,
    ShardKind,
    Sources,
    container_shards,
    picture_lists,
    plan_file,
)
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.images import path_of
from edge_fiqa.faces.landmarks import Landmarks
from edge_fiqa.tables.places import is_uri, said
from edge_fiqa.tables.score_set import ScoreSet, SetContent, files_part

COMPARED_AT_ONCE = 4096


@dataclass
class Plan:
    """shards: to be scored. there_already: shards, and pictures in files of their own, that are done.

    changed: files that are other ones since they were scored. again: unreadable pictures of this run
    that are tried once more. per_file: pictures of a part, the set's own. first_parts: of the shards
    that are done.
    """

    per_file: int
    shards: list[Shard] = field(default_factory=list)
    there_already: int = 0
    changed: int = 0
    again: int = 0
    first_parts: list[str] = field(default_factory=list)


def plan_of(
    sources: Sources,
    score_set: ScoreSet,
    per_file: int,
    landmarks: Landmarks | None = None,
    content: SetContent | None = None,
) -> Plan:
    """Raises ConfigError for a source that cannot be read, and a set that cannot be written.

    landmarks: pictures in files of their own are looked up there, also those that are done.
    content: what counts as done; None: what the set holds.
    """
    plan, content = Plan(per_file), score_set.content() if content is None else content
    clear_plan(score_set)
    score_set.place.child(PLAN_FOLDER).make_folder()
    pictures = _picture_shards(plan, sources, score_set, content, landmarks)
    plan.shards = [*_container_shards(plan, sources, score_set, content), *pictures]
    return plan


def _container_shards(
    plan: Plan, sources: Sources, score_set: ScoreSet, content: SetContent
) -> list[Shard]:
    _check_outside(sources, score_set)
    shards, seen = [], set[str]()
    for shard in container_shards(sources.containers, plan.per_file):
        if shard.key not in seen and (stale := content.stale(shard.key, shard.version)):
            score_set.delete([part.file for part in stale])
            plan.changed += 1
        seen.add(shard.key)
        place = (shard.key, shard.first, shard.version)
        if content.done(*place):
            plan.there_already += 1
            plan.first_parts.append(shard.part(0, last=content.begun(*place) == 0).file)
        else:
            shards.append(msgspec.structs.replace(shard, begun=content.begun(*place)))
    return shards


def _check_outside(sources: Sources, score_set: ScoreSet) -> None:
    for name, place in sources.containers:
        if place.lies_in(score_set.place):
            raise ConfigError(
                f"{name} lies in --output {score_set.place.name}: scores are no pictures; choose a "
                "folder outside what is scored"
            )


def clear_plan(score_set: ScoreSet) -> None:
    """Remove the lists of a run that ended, however it did."""
    folder = score_set.place.child(PLAN_FOLDER)
    try:
        if folder.info().type == FileType.Directory or list(folder.listed(recursive=False)):
            folder.filesystem.delete_dir(folder.path)
    except OSError as exc:
        raise score_set.unwritable(exc) from exc


def _picture_shards(
    plan: Plan,
    sources: Sources,
    score_set: ScoreSet,
    content: SetContent,
    landmarks: Landmarks | None,
) -> list[Shard]:
    done, unreadable = _pictures_there(score_set, content)
    shards, queries = [], dict[str, str]()
    named = _noting_queries(_each_once(sources), set().union(*unreadable.values()), queries)
    missing = _missing(plan, named, done, landmarks)
    for listed in picture_lists(missing, plan.per_file):
        key = digest("\n".join(listed.names))
        shards.append(_put(score_set, "files", key, listed))
    for key, failed in unreadable.items():
        names = [name for name in failed if name in queries]
        if names:
            again = PictureNames(names, queries={name: queries[name] for name in names})
            shards.append(_put(score_set, "again", key, again))
            plan.again += len(names)
    return shards


def _noting_queries(
    several: Iterator[list[NameAndQuery]], unreadable: Container[str], queries: dict[str, str]
) -> Iterator[list[NameAndQuery]]:
    """Passes the pictures on; notes the query that this run gives for each unreadable one."""
    for pictures in several:
        queries.update((name, query) for name, query in pictures if name in unreadable)
        yield pictures


def _put(score_set: ScoreSet, kind: ShardKind, key: str, listed: PictureNames) -> Shard:
    name = f"{listed.names[0]} and {len(listed.names) - 1} more"
    shard = Shard(kind=kind, key=key, name=name, uri="")
    place = score_set.place.child(plan_file(shard))
    try:
        place.write(msgspec.json.encode(listed))
    except OSError as exc:
        raise ConfigError(f"{place.name} cannot be written: {said(exc)}") from exc
    return shard


def _each_once(sources: Sources) -> Iterator[list[NameAndQuery]]:
    """Some at a time. A picture that is named several times, however it is spelt, comes once."""
    seen = DigestSet()
    while pictures := list(itertools.islice(sources.pictures, COMPARED_AT_ONCE)):
        if sources.several:
            new = seen.add_new(digests_of([_place(name) for name, _ in pictures]))
            pictures = list(itertools.compress(pictures, new))
        yield pictures


def _place(name: str) -> str:
    return name if is_uri(name) else str(Path(name).absolute())


def _missing(
    plan: Plan,
    several: Iterator[list[NameAndQuery]],
    done: DigestSet,
    landmarks: Landmarks | None,
) -> Iterator[NameAndQuery]:
    """The pictures that have no record yet; counts the others."""
    for pictures in several:
        names = [name for name, _ in pictures]
        if landmarks is not None:
            for name in names:
                landmarks.of(path_of(name))
        absent = ~done.holds(digests_of(names))
        plan.there_already += len(names) - int(absent.sum())
        yield from itertools.compress(pictures, absent)


def _pictures_there(
    score_set: ScoreSet, content: SetContent
) -> tuple[DigestSet, dict[str, list[str]]]:
    """The pictures in files of their own that have records, and the unreadable ones by part."""
    done, unreadable = DigestSet(), dict[str, list[str]]()
    for key in sorted(content.files):
        table = score_set.table(files_part(key), ["source", "quality"])
        names: list[str] = table["source"].to_pylist()
        codes = [quality["code"] for quality in table["quality"].to_pylist()]
        done.add(digests_of(names))
        failed = [n for n, code in zip(names, codes, strict=True) if code == "unreadable"]
        if failed:
            unreadable[key] = failed
    return done, unreadable


def shard_rows(shards: Sequence[Shard]) -> list[dict[str, bytes]]:
    """What Ray hands to the workers."""
    return [{"shard": msgspec.json.encode(shard)} for shard in shards]
