"""`edge-fiqa score --on ray` as far as it goes without Ray: a stand-in scores in this process."""

import contextlib
import io
from collections import Counter

import msgspec
import pytest

from edge_fiqa.cli import main
from edge_fiqa.distributed.shard_scorer import ShardScorer
from edge_fiqa.errors import ConfigError
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.tables.score_set import ScoreSet
from tests.distributed.sets import by_id, encoded, write_folder, write_parquet, write_tar


@pytest.fixture(scope="module")
def files():
    return encoded(synthetic_faces(5, seed=2))


@pytest.fixture
def calls(monkeypatch):
    """Ray's part of it: how often each was called."""
    counted = Counter()

    @contextlib.contextmanager
    def connected(run):
        counted["connected"] += 1
        yield
        counted["ended"] += 1

    def score_shards(run, setup, shards, output, per_file, columns):
        worker = ShardScorer(setup.open(), output, per_file, columns)
        for shard in shards:
            counted["shards"] += 1
            yield worker.score(shard)

    module = "edge_fiqa.cli.score_on_ray"
    monkeypatch.setattr("edge_fiqa.distributed.shard_scorer.BATCHES", (8,))
    monkeypatch.setattr(f"{module}.connected", connected)
    monkeypatch.setattr(f"{module}.settings_on", lambda run, setup: setup.settings())
    monkeypatch.setattr(f"{module}.score_shards", score_shards)
    return counted


def score(bundle, output, *arguments):
    flags = ["--bundle", str(bundle.folder), "--backend", "ov", "--on", "ray", "-o", str(output)]
    return main(["score", *map(str, arguments), *flags])


def parts(output):
    return {path.name: path.read_bytes() for path in output.glob("*.parquet")}


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_a_second_run_touches_nothing_of_a_running_one(
    calls, files, bundle, tmp_path, capsys, flags
):
    folder, output = write_folder(tmp_path / "faces", files), tmp_path / "out"
    assert score(bundle, output, folder) == 0
    before = parts(output)
    with contextlib.ExitStack() as held:
        ScoreSet(str(output)).hold(held)
        assert score(bundle, output, folder, *flags) == 2
        assert "is being written by another run; wait for its end" in capsys.readouterr().err
        assert parts(output) == before
    assert calls["connected"] == 1
    assert score(bundle, output, folder, *flags) == 0
    assert set(parts(output)) == set(before)


def test_overwriting_for_a_run_that_is_refused_removes_nothing(
    calls, files, bundle, tmp_path, capsys
):
    folder, output = write_folder(tmp_path / "faces", files), tmp_path / "out"
    assert score(bundle, output, folder) == 0
    before = parts(output)
    assert score(bundle, output, folder, "--overwrite", "--image-column", "image") == 2
    assert "--image-column is about Parquet files of pictures: there are none" in (
        capsys.readouterr().err
    )
    assert parts(output) == before
    assert not (output / "_plan").exists()
    assert score(bundle, output, folder, "--overwrite", "--exit", "2") == 0
    assert parts(output).keys() == before.keys()
    assert parts(output) != before


def test_the_lock_is_held_until_ray_has_ended(calls, files, bundle, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"

    @contextlib.contextmanager
    def connected(run):
        assert score_is_refused()
        yield
        assert score_is_refused()
        calls["checked"] += 1

    def score_is_refused():
        status = score(bundle, output, tmp_path / "faces")
        return status == 2 and "another run" in capsys.readouterr().err

    monkeypatch.setattr("edge_fiqa.cli.score_on_ray.connected", connected)
    assert score(bundle, output, write_folder(tmp_path / "faces", files)) == 0
    assert calls["checked"] == 1


def test_an_output_among_the_pictures_is_refused(calls, files, bundle, tmp_path, capsys):
    folder = write_folder(tmp_path / "faces", files)
    (tmp_path / "link").symlink_to(folder)
    for output in (folder, folder / "out", tmp_path / "link/deep/out"):
        assert score(bundle, output, folder) == 2
        assert "choose a folder outside" in capsys.readouterr().err
    assert sorted(path.suffix for path in folder.iterdir()) == [".png"] * 5
    assert not calls


def test_where_there_are_no_images_the_status_is_2(calls, files, bundle, tmp_path, capsys):
    write_tar(tmp_path / "in.tar", [])
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_bytes(b"x")
    for _ in range(2):  # also where the tar is known to be done
        assert score(bundle, tmp_path / "out", tmp_path / "in.tar", tmp_path / "in") == 2
        error = capsys.readouterr().err
        assert f"no images in {tmp_path}/in.tar {tmp_path}/in; 1 file passed over (1 .txt)" in error
    assert calls["shards"] == 1
    assert score(bundle, tmp_path / "out", write_folder(tmp_path / "faces", files)) == 0


def test_a_name_longer_than_names_can_be(calls, files, bundle, tmp_path, capsys):
    folder = write_folder(tmp_path / "faces", files)
    assert score(bundle, tmp_path / "out", folder, "n" * 300) == 2
    assert "n: No such file or directory" in capsys.readouterr().err


def test_threads_are_checked_as_without_ray(calls, files, bundle, tmp_path, capsys):
    folder = write_folder(tmp_path / "faces", files)
    assert score(bundle, tmp_path / "out", folder, "--threads", "0") == 2
    error = capsys.readouterr().err
    flags = ["--bundle", str(bundle.folder), "--backend", "ov", "--threads", "0"]
    assert main(["score", str(folder), *flags]) == 2
    assert capsys.readouterr().err == error


def test_landmarks_that_match_nothing_are_an_error_and_some_a_warning(
    calls, files, bundle, tmp_path, capsys
):
    folder, tar = write_folder(tmp_path / "faces", files), write_tar(tmp_path / "a.tar", files)
    points = "38.3,51.7,73.5,51.5,56.0,71.7,41.5,92.4,70.7,92.2"
    file = tmp_path / "points.csv"
    file.write_text(f"nowhere.png,{points}\n")
    for number, source in enumerate((folder, tar)):
        assert score(bundle, tmp_path / f"{number}", source, "--landmarks", file) == 2
        assert "1 of its 1 name matches no image of this run" in capsys.readouterr().err
    names = [f"faces/{n:05}.png,{points}\n" for n in range(5)]
    file.write_text("".join([f"nowhere.png,{points}\n", *names]))
    assert score(bundle, tmp_path / "some", folder, "--landmarks", file) == 0
    assert "1 of its 6 names matches no image of this run" in capsys.readouterr().err
    assert len(by_id(tmp_path / "some")) == 5
    file.write_text("".join(f"a.tar/{n:05}.png,{points}\n" for n in range(5)))
    assert score(bundle, tmp_path / "tar", tar, "--landmarks", file) == 0


@pytest.mark.parametrize(
    ("flags", "workers"),
    [
        (("--gpus", "1"), 3),
        (("--address", "auto"), 3),
        (("--gpus", "1", "--jobs", "5"), 5),
        ((), 7),
    ],
)
def test_workers_are_as_many_as_have_room_unless_jobs_says_it(
    calls, files, bundle, tmp_path, monkeypatch, flags, workers
):
    """3 have room as Ray counts; there are 7 processors."""
    runs = []

    def score_shards(run, *_):
        runs.append(run)
        raise ConfigError("that was to be known")

    module = "edge_fiqa.cli.score_on_ray"
    monkeypatch.setattr(f"{module}.cores", lambda: 7)
    monkeypatch.setattr(f"{module}.cluster_workers", lambda run: 3)
    monkeypatch.setattr(f"{module}.score_shards", score_shards)
    folder = write_folder(tmp_path / "faces", files)
    assert score(bundle, tmp_path / "out", folder, *flags) == 2
    assert [run.workers for run in runs] == [workers]


def test_a_set_keeps_the_server_of_its_buckets(calls, files, bundle, tmp_path, capsys, monkeypatch):
    """Another server has other pictures of the same names, which would count as done."""
    folder, output = write_folder(tmp_path / "faces", files), tmp_path / "out"
    assert score(bundle, output, folder) == 0
    there = ScoreSet(str(output))
    there.keep(msgspec.structs.replace(there.settings(), endpoints={"b": "one:9000"}))
    name = "s3://b/a.png?region=us-east-1&endpoint_override=two:9000"
    monkeypatch.setattr("sys.stdin", io.StringIO(name))
    assert score(bundle, output, "-") == 2
    assert "s3://b is at one:9000 in this set, and is named at two:9000 too" in (
        capsys.readouterr().err
    )
    assert score(bundle, output, folder) == 0
    assert there.settings().endpoints == {"b": "one:9000"}


def test_columns_are_of_parquet_files(calls, files, bundle, tmp_path, capsys):
    folder, output = write_folder(tmp_path / "faces", files), tmp_path / "out"
    for flag in ("--image-column", "--id-column"):
        assert score(bundle, output, folder, flag, "x") == 2
        assert f"{flag} is about Parquet files of pictures: there are none" in (
            capsys.readouterr().err
        )
    assert parts(output) == {}
    file = write_parquet(tmp_path / "a.parquet", files)
    assert score(bundle, output, file, "--image-column", "image") == 0
    assert score(bundle, output, folder, "--image-column", "image") == 0  # as the set says


def test_a_set_says_that_it_keeps_its_pictures_a_file(calls, files, bundle, tmp_path, capsys):
    output, tar = tmp_path / "out", write_tar(tmp_path / "a.tar", files)
    assert score(bundle, output, tar, "--per-file", "2") == 0
    capsys.readouterr()
    for flags, said in (((), False), (("--per-file", "2"), False), (("--per-file", "3"), True)):
        assert score(bundle, output, tar, *flags) == 0
        assert ("goes on with 2 pictures a file" in capsys.readouterr().err) is said
    assert len(parts(output)) == 3
