"""Tars as people make them: links, joined ones, holes, huge members, disks that fail."""

import bz2
import errno
import gzip
import io
import os
import random
import tarfile

import pytest

from edge_fiqa.distributed.shard_pictures import ParquetColumns, pictures_in
from edge_fiqa.distributed.shards import container_shards, sources_of
from edge_fiqa.errors import ConfigError
from tests.distributed.sets import add_member, write_tar

NOISE = random.Random(5)
FILES = [b"\xff\xd8\xff" + NOISE.randbytes(600) for _ in range(6)]


def pictures_of(tar):
    """name within the tar -> its bytes, or why there are none. Fails for a name that comes twice."""
    sources = sources_of([str(tar)], io.StringIO())
    assert list(sources.pictures) == []
    [shard] = container_shards(sources.containers, 10)
    pictures = list(pictures_in(shard, ParquetColumns()))
    by_name = {
        each.name.removeprefix(str(tar)): each.read() if each.read else each.refusal
        for each in pictures
    }
    assert len(by_name) == len(pictures)
    return by_name


def whole(numbers=range(6)):
    return {f"/{number:05}.png": FILES[number] for number in numbers}


def test_links_to_pictures_are_said(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add_member(archive, "a.jpg", FILES[0])
        for name, kind in [("b.jpg", tarfile.LNKTYPE), ("c.PNG", tarfile.SYMTYPE)]:
            add_link(archive, name, kind)
        add_link(archive, "notes.txt", tarfile.SYMTYPE)
        add_link(archive, "._d.jpg", tarfile.SYMTYPE)
    pictures = pictures_of(tmp_path / "a.tar")
    assert list(pictures) == ["/a.jpg", "/b.jpg", "/c.PNG"]
    assert pictures["/a.jpg"] == FILES[0]
    for name in ("/b.jpg", "/c.PNG"):
        assert "is a link; pack with tar --hard-dereference -h" in pictures[name]


def add_link(archive, name, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "a.jpg"
    archive.addfile(member)


def test_a_zeroed_header_is_no_end_without_a_word(tmp_path):
    tar = write_tar(tmp_path / "a.tar", FILES)
    data = bytearray(tar.read_bytes())
    with tarfile.open(tar) as archive:
        offset = archive.getmembers()[6].offset
    data[offset : offset + 512] = bytes(512)
    tar.write_bytes(data)
    pictures = pictures_of(tar)
    assert "more data follow its end mark" in pictures.pop("")
    assert pictures == whole(range(3))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_joined_tars_are_said_and_padding_is_not(tmp_path, compress):
    first, second = (write_tar(tmp_path / name, FILES) for name in ("a.tar", "b.tar"))
    one, two = (compress(path.read_bytes()) for path in (first, second))
    joined = tmp_path / "joined.tar.gz"
    joined.write_bytes(one + two)
    pictures = pictures_of(joined)
    assert "join them with tar --concatenate" in pictures.pop("")
    assert pictures == whole()
    joined.write_bytes(compress(first.read_bytes() + bytes(1 << 16)))
    assert pictures_of(joined) == whole()


def test_a_gzip_whose_sum_is_wrong_is_damaged(tmp_path):
    data = bytearray(gzip.compress(write_tar(tmp_path / "a.tar", FILES).read_bytes()))
    data[-8] ^= 1
    (tmp_path / "a.tar.gz").write_bytes(data)
    pictures = pictures_of(tmp_path / "a.tar.gz")
    assert "is damaged or cut off" in pictures.pop("")
    assert pictures == whole()


def test_a_huge_member_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_fiqa.distributed.tar_pictures.MAX_BYTES", 1000)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add_member(archive, "a.png", bytes(1001))
        add_member(archive, "b.png", bytes(1000))
    pictures = pictures_of(tmp_path / "a.tar")
    assert pictures["/a.png"].endswith("/a.png: the file is above 1000 MB; reduce it first")
    assert pictures["/b.png"] == bytes(1000)


def test_the_size_of_a_sparse_member_is_the_unpacked_one(tmp_path):
    """The pax format 1.0: the data begin with the map of what is not zero."""
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("GNUSparseFile.0/b.png")
        member.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "b.png",
            "GNU.sparse.realsize": str(1500 << 20),
        }
        data = b"1\n0\n512\n".ljust(512, b"\0") + FILES[0][:512]
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
        add_member(archive, "c.png", FILES[1])
    pictures = pictures_of(tmp_path / "a.tar")
    assert "reduce it first" in pictures["/b.png"]
    assert pictures["/c.png"] == FILES[1]


def test_names_that_come_twice_get_some_that_nobody_has(tmp_path):
    names = ["a.jpg", "a.jpg (2).jpg", "a.jpg", "a.jpg", "b.jpg", "a.jpg (2)"]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in zip(names, FILES, strict=True):
            add_member(archive, name, data)
    pictures = pictures_of(tmp_path / "a.tar")
    assert list(pictures.values()) == FILES
    assert list(pictures)[:4] == ["/a.jpg", "/a.jpg (2).jpg", "/a.jpg (2)", "/a.jpg (3)"]
    assert list(pictures)[5] == "/a.jpg (2) (2)"


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_disk_that_fails_says_nothing_of_the_pictures(tmp_path, monkeypatch, code, mode):
    tar = write_tar(tmp_path / "a.tar", FILES, mode)
    monkeypatch.setattr("edge_fiqa.tables.places.FilePlace.opened", lambda _: Failing(code))
    with pytest.raises(ConfigError, match=f"a.tar cannot be read: {os.strerror(code)}"):
        pictures_of(tar)


class Failing(io.RawIOBase):
    def __init__(self, code):
        self.code = code

    def read(self, size=-1):
        raise OSError(self.code, os.strerror(self.code))
