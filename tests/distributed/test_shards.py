"""From inputs to shards: which files become what, and the same shards in every run."""

import io
import os

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_fiqa.distributed.plan import plan_of
from edge_fiqa.distributed.shards import container_shards, picture_lists, plan_file, sources_of
from edge_fiqa.errors import ConfigError
from edge_fiqa.tables.score_set import ScoreSet
from tests.distributed.sets import write_parquet, write_tar


def names_of(inputs, stdin=""):
    sources = sources_of([str(text) for text in inputs], io.StringIO(stdin))
    pictures = [name for name, _ in sources.pictures]
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


def walked(*inputs):
    """Sources whose pictures were listed, so that all containers are known."""
    sources = sources_of(inputs, io.StringIO())
    list(sources.pictures)
    return sources


def test_tars_lie_where_pictures_lie_and_are_not_passed_over(folder):
    (folder / "in/.git").mkdir()
    write_tar(folder / "in/.git/x.tar", [b"x"])
    (folder / "in/._1.tar").write_bytes(b"x")
    (folder / "in/spark.parquet").mkdir()
    write_parquet(folder / "in/spark.parquet/part-0.parquet", [b"x"])
    (folder / "in/spark.parquet/_SUCCESS").write_bytes(b"")
    (folder / "elsewhere").mkdir()
    write_tar(folder / "elsewhere/3.tar", [b"x"])
    (folder / "in/link").symlink_to(folder / "elsewhere")
    sources = walked("in")
    assert [name for name, _ in sources.containers] == [
        "in/1.tar", "in/deep/2.parquet", "in/link/3.tar", "in/spark.parquet/part-0.parquet",
    ]  # fmt: skip
    assert sources.passed_over.suffixes == {"hidden": 2, ".txt": 1, "without suffix": 1}
    assert names_of(["in/spark.parquet"])[1] == ["in/spark.parquet/part-0.parquet"]


def test_patterns_and_lists(folder):
    assert names_of(["in/*.jpg"]) == (["in/b.jpg"], [])
    assert names_of(["in/**/*.jpg"]) == (["in/b.jpg", "in/deep/c.jpg"], [])
    listed = ["in/b.jpg", "in/1.tar", "nowhere.jpg", "no.tar", "in/*.jpg", "n" * 300]
    absent = listed[2:]  # become records; a list has no patterns
    assert names_of(["-"], "\n".join(listed)) == (["in/b.jpg", *absent], ["in/1.tar"])


@pytest.mark.parametrize("name", ["nowhere", "in/*.bmp", "", "n" * 300, f"{'n' * 300}*"])
def test_an_input_that_is_not_there_is_refused(folder, name):
    with pytest.raises(ConfigError):
        names_of([name])


def test_row_groups_are_joined_to_files_of_their_size(folder):
    sources = walked("in/deep/2.parquet")  # groups of 4, 4 and 2 rows
    runs = [(s.first, s.groups) for s in container_shards(sources.containers, 5)]
    assert runs == [(0, 2), (2, 1)]
    runs = [(s.first, s.groups) for s in container_shards(sources.containers, 1)]
    assert runs == [(0, 1), (1, 1), (2, 1)]


def test_a_file_that_changed_has_another_version_and_the_same_key(folder):
    sources = walked("in/1.tar")
    [before] = container_shards(sources.containers, 5)
    os.utime("in/1.tar", ns=(1, 1))
    [after] = container_shards(sources.containers, 5)
    assert (before.key, before.kind) == (after.key, after.kind)
    assert before.version != after.version


def test_a_container_counts_once_however_it_is_spelt_and_a_damaged_one_is_refused(folder):
    sources = walked("in/1.tar", "in", str(folder / "in/1.tar"))
    names = [shard.name for shard in container_shards(sources.containers, 5)]
    assert names == ["in/1.tar", "in/deep/2.parquet", "in/deep/2.parquet"]
    (folder / "in/deep/2.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"in/deep/2.parquet is no whole Parquet file"):
        list(container_shards(walked("in").containers, 5))


def test_a_parquet_file_without_rows_is_a_shard(folder):
    pq.ParquetWriter(folder / "0.parquet", pa.schema({"image": pa.binary()})).close()
    [shard] = container_shards(walked("0.parquet").containers, 5)
    assert (shard.first, shard.groups) == (0, 0)


ALL = ["in/a.png", "in/b.jpg", "in/deep/c.jpg"]


@pytest.mark.parametrize("inputs", [["in"], ["in/*.*g", "in/deep"], ALL, ["-"]])
def test_lists_of_pictures_are_as_long_as_a_file(folder, inputs):
    sources = sources_of(inputs, io.StringIO("\n".join(ALL)))
    lists = [listed.names for listed in picture_lists(sources.pictures, 2)]
    assert lists == [ALL[:2], ALL[2:]]


@pytest.mark.parametrize(
    "inputs", [["in", "{}/in"], ["in", "in/a.png", "{}/in/b.jpg"], ["in/**/*g", "in"]]
)
def test_a_picture_counts_once_however_it_is_spelt(folder, tmp_path_factory, inputs):
    (folder / "in/1.tar").unlink()
    (folder / "in/deep/2.parquet").unlink()
    score_set = ScoreSet(str(tmp_path_factory.mktemp("out")))
    sources = sources_of([text.format(folder) for text in inputs], io.StringIO())
    [shard] = plan_of(sources, score_set, 5).shards
    listed = msgspec.json.decode(score_set.place.child(plan_file(shard)).read())
    assert sorted(listed["names"]) == ALL


def test_scores_are_no_pictures(folder):
    sources = sources_of(["in/deep/*"], io.StringIO())
    with pytest.raises(
        ConfigError, match=r"in/deep/2.parquet lies in --output .*; choose a folder"
    ):
        plan_of(sources, ScoreSet("in/deep"), 5)


def at(endpoint, name="s3://b/a.png"):
    return f"{name}?region=us-east-1&endpoint_override={endpoint}\n"


def test_a_key_at_two_servers_is_two_pictures_of_one_name_and_refused(tmp_path):
    names = [at("one:9000"), at("one:9000", "s3://b/b.png"), at("two:9000", "s3://c/a.png")]
    sources = sources_of(["-"], io.StringIO("".join(names)))
    assert [name for name, _ in sources.pictures] == [
        "s3://b/a.png",
        "s3://b/b.png",
        "s3://c/a.png",
    ]
    assert sources.endpoints == {"b": "one:9000", "c": "two:9000"}
    for second in ("s3://b/a.png", "s3://b/other.png", "s3://b/a.tar"):
        sources = sources_of(["-"], io.StringIO(at("one:9000") + at("two:9000", second)))
        message = "s3://b is at one:9000 in this set, and is named at two:9000 too"
        with pytest.raises(ConfigError, match=message):
            plan_of(sources, ScoreSet(str(tmp_path / "out")), 10)


def test_a_server_is_the_same_in_another_spelling():
    names = [at("one:9000"), at("http%3A%2F%2FONE%3A9000/").replace("us-east-1", "eu-west-1")]
    sources = sources_of(["-"], io.StringIO("".join(names)))
    assert [name for name, _ in sources.pictures] == 2 * ["s3://b/a.png"]
