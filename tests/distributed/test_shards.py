"""From inputs to shards: which files become what, and the same shards in every run."""

import io
import os

import pytest

from edge_fiqa.distributed.shards import container_shards, picture_lists, sources_of
from edge_fiqa.errors import ConfigError
from tests.distributed.sets import write_parquet, write_tar


def names_of(inputs, stdin=""):
    sources = sources_of([str(text) for text in inputs], io.StringIO(stdin))
    pictures = [name for group in sources.pictures for name, _ in group]
    return pictures, [name for name, _ in sources.containers]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("in/b.jpg", "in/a.png", "in/deep/c.jpg", "in/notes.txt", "in/.hidden.jpg"):
        (tmp_path / name).write_bytes(b"x")
    write_tar(tmp_path / "in/1.tar", [b"x"])
    write_parquet(tmp_path / "in/deep/2.parquet", [b"x"] * 10)
    return tmp_path


def test_a_folder_holds_pictures_tars_and_parquet(folder):
    expected = (["in/a.png", "in/b.jpg", "in/deep/c.jpg"], ["in/1.tar", "in/deep/2.parquet"])
    assert names_of(["in"]) == expected


def test_patterns_and_lists(folder):
    assert names_of(["in/*.jpg"]) == (["in/b.jpg"], [])
    assert names_of(["in/**/*.jpg"]) == (["in/b.jpg", "in/deep/c.jpg"], [])
    listed = "in/b.jpg\nin/1.tar\nnowhere.jpg\n"  # what is absent becomes a record
    assert names_of(["-"], listed) == (["in/b.jpg", "nowhere.jpg"], ["in/1.tar"])


@pytest.mark.parametrize("name", ["nowhere", "in/*.bmp", ""])
def test_an_input_that_is_not_there_is_refused(folder, name):
    with pytest.raises(ConfigError):
        names_of([name])


def test_row_groups_are_joined_to_files_of_their_size(folder):
    sources = sources_of(["in/deep/2.parquet"], io.StringIO())  # groups of 4, 4 and 2 rows
    runs = [(s.first, s.groups) for s in container_shards(sources.containers, 5)]
    assert runs == [(0, 2), (2, 1)]
    runs = [(s.first, s.groups) for s in container_shards(sources.containers, 1)]
    assert runs == [(0, 1), (1, 1), (2, 1)]


def test_a_file_that_changed_has_another_version_and_the_same_key(folder):
    sources = sources_of(["in/1.tar"], io.StringIO())
    [before] = container_shards(sources.containers, 5)
    os.utime("in/1.tar", ns=(1, 1))
    [after] = container_shards(sources.containers, 5)
    assert (before.key, before.kind) == (after.key, after.kind)
    assert before.version != after.version


def test_no_container_twice_and_none_that_is_damaged(folder):
    sources = sources_of(["in/1.tar", "in"], io.StringIO())
    with pytest.raises(ConfigError, match=r"in/1.tar is named twice"):
        list(container_shards(sources.containers, 5))
    (folder / "in/deep/2.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"in/deep/2.parquet is no whole Parquet file"):
        list(container_shards(sources_of(["in"], io.StringIO()).containers, 5))


def test_lists_of_pictures_are_no_longer_than_a_file(folder):
    sources = sources_of(["in"], io.StringIO())
    lists = [listed.names for listed in picture_lists(sources.pictures, 2)]
    assert lists == [["in/a.png", "in/b.jpg"], ["in/deep/c.jpg"]]
