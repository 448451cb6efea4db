"""A worker without Ray: what it scores is one machine's result; what is half done is finished."""

import dataclasses
import errno
import gzip
import os
import tarfile

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_fiqa.distributed.shard_pictures import ParquetColumns
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.policies.policy import Convergence, Fixed
from edge_fiqa.scoring.requests import FaceRequest
from edge_fiqa.tables.score_set import ScoreSet, difference_of
from tests.distributed.sets import (
    LocalRun,
    add_member,
    by_id,
    encoded,
    expected,
    scored,
    worker_setup,
    write_folder,
    write_parquet,
    write_tar,
)


@pytest.fixture(autouse=True)
def one_batch(monkeypatch):
    """Another one is measured only where that is what the test is about."""
    monkeypatch.setattr("edge_fiqa.distributed.shard_scorer.BATCHES", (8,))


@pytest.fixture(scope="module")
def files():
    return encoded(synthetic_faces(11, seed=4))


def named(records, old, new):
    """The records under other names: with `new` for `old`."""

    def renamed(text):
        return text.replace(old, new)

    return {
        renamed(name): msgspec.structs.replace(
            record,
            id=renamed(record.id),
            source=renamed(record.source),
            warnings=tuple(map(renamed, record.warnings)),
        )
        for name, record in records.items()
    }


@pytest.mark.parametrize("policies", [(Fixed(),), (Fixed(2),), (Convergence(0.5, 1),)])
def test_a_folder_gives_what_one_machine_gives(files, bundle, tmp_path, policies):
    folder = write_folder(tmp_path / "faces", files)
    (folder / "00004.png").write_bytes(b"poison")
    scored([folder], tmp_path / "out", bundle, policies=policies)
    alone = expected(sorted(folder.iterdir()), bundle, policies=policies)
    assert by_id(tmp_path / "out") == alone
    assert len(alone) == 11
    assert alone[f"{folder}/00004.png#0"].quality.code == "unreadable"


def test_tars_and_parquet_give_the_same_scores(files, bundle, tmp_path):
    folder = write_folder(tmp_path / "faces", files)
    alone = expected(sorted(folder.iterdir()), bundle)
    tar = write_tar(tmp_path / "a.tar", files)
    zipped = write_tar(tmp_path / "b.tar.gz", files, "w:gz")
    scored([tar, zipped], tmp_path / "out", bundle)
    in_tar = named(alone, f"{folder}/", f"{tar}/")
    assert by_id(tmp_path / "out") == in_tar | named(alone, f"{folder}/", f"{zipped}/")
    table = write_parquet(tmp_path / "faces.parquet", files)
    scored([table], tmp_path / "rows", bundle)
    of_rows = by_id(tmp_path / "rows")
    scores = [record.exit.scores for record in alone.values()]
    assert {name: record.exit.scores for name, record in of_rows.items()} == {
        f"{table}/{row}#0": scores[row] for row in range(11)
    }
    scored([table], tmp_path / "keys", bundle, columns=ParquetColumns("image", "key"))
    assert set(by_id(tmp_path / "keys")) == {f"{table}/k{row}#0" for row in range(11)}


def test_a_killed_worker_s_shard_is_finished_by_the_next(files, bundle, tmp_path):
    tar, table = write_tar(tmp_path / "a.tar", files), write_parquet(tmp_path / "p.parquet", files)
    folder = write_folder(tmp_path / "faces", files)
    inputs = [tar, table, folder]
    scored(inputs, tmp_path / "whole", bundle)
    parts = sorted(path.name for path in (tmp_path / "whole").glob("*.parquet"))
    assert len(parts) == 9
    for number in (0, 4, 8):  # killed after so many parts
        output = tmp_path / f"out{number}"
        run = LocalRun(inputs, output, bundle)
        stop_after(run.worker, number)
        with pytest.raises(KeyboardInterrupt):
            run.finish()
        again = scored(inputs, output, bundle)
        assert sorted(path.name for path in output.glob("*.parquet")) == parts
        assert by_id(output) == by_id(tmp_path / "whole")
        assert sum(done.pictures for done in again) == {0: 33, 4: 18, 8: 3}[number]


def stop_after(worker, parts):
    write, allowed = worker.set.write, iter(range(parts))

    def limited(file, records):
        if next(allowed, None) is None:
            raise KeyboardInterrupt
        write(file, records)

    worker.set.write = limited


def test_a_shard_that_is_scored_twice_is_written_once(files, bundle, tmp_path):
    tar = write_tar(tmp_path / "a.tar", files)
    folder = write_folder(tmp_path / "faces", [*files[:10], b"poison"])
    run = LocalRun([tar, folder], tmp_path / "out", bundle)
    first = [run.worker.score(shard) for shard in run.plan.shards]
    second = [run.worker.score(shard) for shard in run.plan.shards]
    assert sum(done.pictures for done in first) == 22
    # Ray hears one of the two: what a worker wrote before it died counts
    assert [(done.pictures, done.faces) for done in second] == [
        (done.pictures, done.faces) for done in first
    ]
    assert sum(done.faces.get("unreadable", 0) for done in second) == 1
    assert len(by_id(tmp_path / "out")) == 22


def test_what_an_earlier_run_wrote_is_not_counted_again(files, bundle, tmp_path):
    tar = write_tar(tmp_path / "a.tar", files)
    run = LocalRun([tar], tmp_path / "out", bundle)
    stop_after(run.worker, 1)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    run = LocalRun([tar], tmp_path / "out", bundle)
    [shard] = run.plan.shards
    assert [run.worker.score(shard).pictures for _ in range(2)] == [7, 7]


@pytest.mark.parametrize("rows", [12, 2])
def test_a_replaced_parquet_file_leaves_no_old_rows(files, bundle, tmp_path, rows):
    """Of 4 rows a group before: 3 shards; then of all rows in one group."""
    table = write_parquet(tmp_path / "p.parquet", files)
    scored([table, write_parquet(tmp_path / "q.parquet", files[:5])], tmp_path / "out", bundle)
    write_parquet(table, files[::-1][:rows], rows_of_group=rows)
    run = LocalRun([table], tmp_path / "out", bundle)
    assert (run.plan.changed, len(run.plan.shards)) == (1, 1)
    run.finish()
    names = {f"{table}/{row}#0" for row in range(min(rows, 11))}
    records = by_id(tmp_path / "out")
    assert set(records) == names | {f"{tmp_path}/q.parquet/{row}#0" for row in range(5)}
    scored([table], tmp_path / "anew", bundle)
    assert {name: records[name] for name in names} == by_id(tmp_path / "anew")


def test_a_file_without_pictures_is_done_and_holds_none(bundle, tmp_path):
    pq.ParquetWriter(tmp_path / "p.parquet", pa.schema({"image": pa.binary()})).close()
    inputs = [write_tar(tmp_path / "a.tar", []), tmp_path / "p.parquet"]
    scored(inputs, tmp_path / "out", bundle)
    plan = LocalRun(inputs, tmp_path / "out", bundle).plan
    assert (plan.shards, plan.there_already) == ([], 2)
    assert not ScoreSet(str(tmp_path / "out")).has_rows(plan.first_parts)


@pytest.mark.parametrize("changes", [{"aligned": True}, {"max_pixels": 10**6}])
def test_what_may_change_a_score_is_a_setting(bundle, changes):
    usual = FaceRequest(detector=None, landmarks=None, min_eye_px=10.0)
    other = dataclasses.replace(usual, **changes)
    described = [worker_setup(bundle, faces=f).settings().described for f in (usual, other)]
    assert difference_of(*described)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_that_somebody_removed_is_scored_again(files, bundle, tmp_path, number):
    tar = write_tar(tmp_path / "a.tar", files)
    scored([tar], tmp_path / "out", bundle)
    whole = by_id(tmp_path / "out")
    sorted((tmp_path / "out").glob("*.parquet"))[number].unlink()
    scored([tar], tmp_path / "out", bundle)
    assert by_id(tmp_path / "out") == whole


@pytest.mark.parametrize("cut", [0.55, 0.999, "in a header", "at a member"])
def test_a_tar_that_is_cut_off_says_so_and_is_scored_anew_once_it_is_whole(
    files, bundle, tmp_path, cut
):
    tar = write_tar(tmp_path / "a.tar", files)
    data = tar.read_bytes()
    with tarfile.open(tar) as archive:
        member = archive.getmembers()[8]
    ends = {"in a header": member.offset + 100, "at a member": member.offset}
    if cut == 0.999:  # the end mark alone is missing
        with tarfile.open(tar) as archive:
            last = archive.getmembers()[-1]
        ends[cut] = last.offset_data + 512
    tar.write_bytes(data[: ends.get(cut, int(len(data) * 0.55) if cut == 0.55 else 0)])
    scored([tar], tmp_path / "out", bundle)
    records = by_id(tmp_path / "out")
    refused = [record for record in records.values() if record.quality.code == "unreadable"]
    assert len(refused) == 1
    assert "is damaged or cut off" in refused[0].warnings[0]
    assert 4 <= len(records) - 1 <= 11
    tar.write_bytes(data)
    run = LocalRun([tar], tmp_path / "out", bundle)
    assert run.plan.changed == 1
    run.finish()
    scored([tar], tmp_path / "whole", bundle)
    assert by_id(tmp_path / "out") == by_id(tmp_path / "whole")
    assert len(by_id(tmp_path / "out")) == 11


def test_a_damaged_header_within_a_tar_is_no_end(files, bundle, tmp_path):
    tar = write_tar(tmp_path / "a.tar", files)
    data = bytearray(tar.read_bytes())
    with tarfile.open(tar) as archive:
        offset = archive.getmembers()[6].offset
    data[offset : offset + 512] = b"\xff" * 512
    tar.write_bytes(data)
    scored([tar], tmp_path / "out", bundle)
    codes = [record.quality.code for record in by_id(tmp_path / "out").values()]
    assert codes == ["ok"] * 3 + ["unreadable"]


def test_a_gzip_that_is_cut_off_says_so(files, bundle, tmp_path):
    tar = tmp_path / "a.tar.gz"
    write_tar(tmp_path / "a.tar", files)
    data = gzip.compress((tmp_path / "a.tar").read_bytes())
    tar.write_bytes(data[: len(data) // 2])
    scored([tar], tmp_path / "out", bundle)
    codes = [record.quality.code for record in by_id(tmp_path / "out").values()]
    assert codes.count("unreadable") == 1
    assert codes[-1] == "unreadable"


def test_members_of_one_name_have_ids_of_their_own(files, bundle, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for data in files[:3]:
            add_member(archive, "same.png", data)
    scored([tmp_path / "a.tar"], tmp_path / "out", bundle)
    names = [name.removeprefix(f"{tmp_path}/a.tar/") for name in by_id(tmp_path / "out")]
    assert names == ["same.png#0", "same.png (2)#0", "same.png (3)#0"]


def test_a_mended_picture_gets_its_score_and_new_ones_are_added(files, bundle, tmp_path):
    folder = write_folder(tmp_path / "faces", files)
    (folder / "00005.png").write_bytes(b"poison")
    scored([folder], tmp_path / "out", bundle)
    before = by_id(tmp_path / "out")
    (folder / "00005.png").write_bytes(files[5])
    (folder / "00002a.png").write_bytes(files[0])
    run = LocalRun([folder], tmp_path / "out", bundle)
    assert (run.plan.again, run.plan.there_already) == (1, 11)
    assert sum(done.pictures for done in run.finish()) == 2
    after = by_id(tmp_path / "out")
    assert after == expected(sorted(folder.iterdir()), bundle)
    assert len(after) == len(before) + 1
    assert not LocalRun([folder], tmp_path / "out", bundle).plan.shards


def test_a_mended_picture_that_is_tried_twice_has_each_face_once(files, bundle, tmp_path):
    folder = write_folder(tmp_path / "faces", files)
    (folder / "00005.png").write_bytes(b"poison")
    scored([folder], tmp_path / "out", bundle)
    (folder / "00005.png").write_bytes(files[5])
    run = LocalRun([folder], tmp_path / "out", bundle)
    [shard] = run.plan.shards

    def two_faces(picture):
        (face,) = read(picture)
        return [face, FaceCrop(f"{face.source}#1", face.source, face.crop)]

    read, run.worker._read = run.worker._read, two_faces
    for _ in range(2):  # as after a death between the writing and the telling
        run.worker.score(shard)
        assert len(by_id(tmp_path / "out")) == 12


def test_a_shard_that_kills_its_workers_ends_the_run(files, bundle, tmp_path):
    run = LocalRun([write_tar(tmp_path / "a.tar", files)], tmp_path / "out", bundle)
    [shard] = run.plan.shards

    def dies(*_):
        raise KeyboardInterrupt

    score, run.worker._score = run.worker._score, dies
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            run.worker.score(shard)
    run.worker._score = score
    assert run.worker.score(shard).error.startswith(f"{tmp_path}/a.tar: 10 workers died over it")
    scored([tmp_path / "a.tar"], tmp_path / "out", bundle)  # the next run tries again
    assert len(by_id(tmp_path / "out")) == 11


def test_nothing_is_scored_where_the_disk_is_full(files, bundle, tmp_path, monkeypatch):
    run = LocalRun([write_folder(tmp_path / "faces", files)], tmp_path / "out", bundle)
    monkeypatch.setattr("edge_fiqa.tables.places.write_whole", full)
    done = run.worker.score(run.plan.shards[0])
    assert done.error == f"{tmp_path}/out cannot be written: No space left on device"
    monkeypatch.undo()
    scored([tmp_path / "faces"], tmp_path / "out", bundle)
    assert len(by_id(tmp_path / "out")) == 11


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "0.0.9"}, "has edge_fiqa"),
        ({"fingerprint": "sha256:other"}, "another model"),
        ({"must_exist": ("/no/such/folder",)}, "does not see /no/such/folder"),
    ],
)
def test_a_machine_that_would_score_otherwise_is_refused(bundle, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        worker_setup(bundle, **changes).open()


def test_a_parquet_file_without_pictures_is_refused_by_name(bundle, tmp_path):
    pq.write_table(pa.table({"a": [b"x"], "b": [b"y"], "n": [1]}), tmp_path / "p.parquet")
    done = scored([tmp_path / "p.parquet"], tmp_path / "out", bundle)
    assert "which of a, b holds the pictures; give --image-column" in done[0].error
    pq.write_table(pa.table({"n": [1]}), tmp_path / "q.parquet")
    done = scored([tmp_path / "q.parquet"], tmp_path / "out", bundle)
    assert "no column of bytes" in done[0].error


def test_a_row_without_a_picture_keeps_its_record(files, bundle, tmp_path):
    pq.write_table(pa.table({"jpg": [files[0], None, b"poison"]}), tmp_path / "p.parquet")
    scored([tmp_path / "p.parquet"], tmp_path / "out", bundle)
    codes = [record.quality.code for record in by_id(tmp_path / "out").values()]
    assert codes == ["ok", "unreadable", "unreadable"]
