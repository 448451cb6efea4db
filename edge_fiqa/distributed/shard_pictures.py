"""The pictures in a shard, one after the other, as they are read: never all of them in memory."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from edge_fiqa.distributed.parquet_pictures import ParquetColumns, pictures_of_parquet
from edge_fiqa.distributed.shard_picture import TOO_LARGE, ShardPicture
from edge_fiqa.distributed.shards import PictureNames, Shard
from edge_fiqa.distributed.tar_pictures import pictures_of_tar
from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.images import MAX_BYTES, path_of
from edge_fiqa.tables.places import is_uri, place_of, remote_place

__all__ = ["ParquetColumns", "ShardPicture", "listed_pictures", "pictures_in"]


def pictures_in(shard: Shard, columns: ParquetColumns) -> Iterator[ShardPicture]:
    """Raises ConfigError where the file cannot be read now; what is damaged in it is a refused one."""
    place = place_of(shard.uri)
    if shard.kind == "parquet":
        return pictures_of_parquet(shard, place, columns)
    return _with_names_of_their_own(pictures_of_tar(shard, place))


def _with_names_of_their_own(pictures: Iterable[ShardPicture]) -> Iterator[ShardPicture]:
    """Members of a tar may have one name; ids stay unique."""
    taken: set[str] = set()
    times: Counter[str] = Counter()
    for picture in pictures:
        name = picture.name
        while name in taken:
            times[picture.name] += 1
            name = f"{picture.name} ({times[picture.name] + 1})"
        taken.add(name)
        yield replace(picture, name=name)


def listed_pictures(listed: PictureNames) -> Iterator[ShardPicture]:
    for name in listed.names:
        if is_uri(name):
            yield ShardPicture(name, read=partial(_read_remote, name, listed.query_of(name)))
        else:
            yield ShardPicture(name, path=path_of(name))


def _read_remote(name: str, query: str) -> bytes:
    """Raises OSError, and ImageRefused for a file that is too large to be read."""
    with remote_place(name, query).opened() as opened:
        size = opened.seek(0, io.SEEK_END)
        if size > MAX_BYTES:
            raise ImageRefused("unreadable", f"{name}: {TOO_LARGE}")
        opened.seek(0)
        return opened.read()
