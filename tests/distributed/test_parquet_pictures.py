"""Columns of Parquet files as people have them: of other types, with nulls, with names twice."""

import errno
import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_fiqa.distributed.shard_pictures import ParquetColumns, pictures_in
from edge_fiqa.distributed.shards import container_shards, sources_of
from edge_fiqa.errors import ConfigError

FILES = [f"picture {number}".encode() for number in range(8)]


def pictures_of(path, image=None, key=None):
    """name within the file -> its bytes, or why there are none."""
    by_name = {}
    sources = sources_of([str(path)], io.StringIO())
    assert list(sources.pictures) == []
    for shard in container_shards(sources.containers, 4):
        for each in pictures_in(shard, ParquetColumns(image, key)):
            name = each.name.removeprefix(f"{path}/")
            assert name not in by_name
            by_name[name] = each.read() if each.read else each.refusal
    return by_name


def table_of(path, rows_of_group=4, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=rows_of_group)
    return path


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["a", "b", "c", "d", "e", None, "g", "h"], "row 5 has no value in --id-column key"),
        (["a", "b", "c", "d", "e", "f", "g", "b"], "2 rows have b in --id-column key; make its"),
        ([1, 2, 3, 4, 5, 5, 5, 8], "3 rows have 5 in --id-column key; make its values unique"),
        ([0.5] * 8, "--id-column key is of type double, and must be text or whole numbers"),
    ],
)
def test_names_that_are_none_are_refused(tmp_path, keys, said):
    path = table_of(tmp_path / "p.parquet", image=FILES, key=keys)
    with pytest.raises(ConfigError, match=rf"p.parquet: {said}"):
        pictures_of(path, key="key")


@pytest.mark.parametrize("keys", [pa.array(list("abcdefgh")), pa.array(range(8))])
def test_names_of_a_dictionary_are_those_of_its_values(tmp_path, keys):
    expected = dict(zip(map(str, keys.to_pylist()), FILES, strict=True))
    for number, column in enumerate((keys, keys.dictionary_encode())):
        path = table_of(tmp_path / f"{number}.parquet", image=FILES, key=column)
        assert pictures_of(path, key="key") == expected


@pytest.mark.parametrize(
    ("column", "kind"),
    [(["a.jpg"] * 2, "string"), ([[b"x"]] * 2, "list"), ([{"path": "a"}] * 2, "struct")],
)
def test_a_column_that_holds_no_pictures_is_refused_with_its_type(tmp_path, column, kind):
    path = table_of(tmp_path / "p.parquet", image=column, other=FILES[:2])
    said = rf"p.parquet: --image-column image is of type {kind}.*or a struct with bytes; other would do"
    with pytest.raises(ConfigError, match=said):
        pictures_of(path, image="image")
    with pytest.raises(ConfigError, match="has no column jpg; it has image, other"):
        pictures_of(path, image="jpg")


@pytest.mark.parametrize(
    "column",
    [
        pa.array(FILES),
        pa.array(FILES, pa.large_binary()),
        pa.array(FILES).dictionary_encode(),
        pa.array([{"bytes": data, "path": "a.jpg"} for data in FILES]),
    ],
)
@pytest.mark.parametrize("image", [None, "image"])
def test_bytes_in_all_their_forms(tmp_path, column, image):
    path = table_of(tmp_path / "p.parquet", image=column)
    assert pictures_of(path, image) == {str(row): data for row, data in enumerate(FILES)}


def test_a_struct_with_a_path_alone_is_a_row_without_bytes(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": "a.jpg"}, None, {"bytes": FILES[2], "path": None}]
    path = table_of(tmp_path / "p.parquet", image=pa.array(rows, kind))
    assert pictures_of(path) == {
        "0": f"{path}/0: the row has a path and no bytes; write the pictures into the file",
        "1": f"{path}/1: the row has no picture in it",
        "2": FILES[2],
    }


def damage_second_group(path):
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)


def test_damage_is_a_record_and_a_disk_that_fails_is_none(tmp_path, monkeypatch):
    path = table_of(tmp_path / "p.parquet", image=FILES)
    damage_second_group(path)
    pictures = pictures_of(path)
    assert "is damaged from row 4 on" in pictures.pop("row 4")
    assert pictures == {str(row): FILES[row] for row in range(4)}

    def failing(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
        yield

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", failing)
    with pytest.raises(ConfigError, match=r"p.parquet cannot be read: Input/output error"):
        pictures_of(path)
