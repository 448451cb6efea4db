"""Files that ask their decoder for far more work than their bytes and pixels say are refused first."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from edge_fiqa.cli import main
from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.container_checks import MAX_CHUNKS, MAX_SCANS, MAX_SEGMENTS
from edge_fiqa.faces.images import picture_of
from edge_fiqa.faces.part_counts import MAX_COMMENTS, MAX_PARTS, MAX_TAGS, MAX_TILES


def encoded(form, width=64, height=64, mode="RGB", **more):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, form, **more)
    return out.getvalue()


def repeated_scans(count, width=64, height=64, mode="L"):
    """A progressive JPEG whose last scan comes so many times: 12 bytes that pass over all pixels."""
    flat = io.BytesIO()
    Image.new(mode, (width, height), 128).save(flat, "JPEG", progressive=True)
    data = flat.getvalue()
    start = data.rindex(b"\xff\xda")
    before = len(re.findall(b"\xff\xda", data))
    return data[:-2] + data[start:-2] * (count - before) + b"\xff\xd9"


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(count, mode="RGB"):
    data = encoded("PNG", mode=mode)
    return data[:33] + chunk(b"teSt") * count + data[33:]


def tiff(entries, data=b"", big=False, order="<"):
    """One directory: (tag, type, count, value), the pixels behind it."""
    entry, count = (order + "HHQQ", order + "Q") if big else (order + "HHII", order + "H")
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else (
        mark + struct.pack(order + "HI", 42, 8)
    )  # fmt: skip
    rows = b"".join(struct.pack(entry, *row) for row in sorted(entries))
    return head + struct.pack(count, len(entries)) + rows + bytes(8) + data


def grey_tiff(offsets_tag, parts, **more):
    size = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    return tiff([*size, (277, 3, 1, 1), (offsets_tag, 4, parts, 200)], bytes(4096), **more)


def jpeg2000(tiles):
    """Of 64x64 pixels that says it has so many times so many tiles."""
    data = bytearray(encoded("JPEG2000", no_jp2=True, mode="L", num_resolutions=1))
    at = data.index(b"\xff\x51") + 6
    struct.pack_into(">II", data, at, 10 * tiles, 10 * tiles)
    struct.pack_into(">II", data, at + 16, 10, 10)
    return bytes(data)


ATTACKS = {
    "jpeg scans": (repeated_scans(MAX_SCANS + 1), "scans"),
    "cmyk jpeg scans": (repeated_scans(MAX_SCANS + 1, mode="CMYK"), "scans"),
    "jpeg fill bytes": (b"\xff\xd8" + b"\xff" * 2_000_000 + encoded("JPEG")[2:], "segments"),
    "jpeg comments": (
        b"\xff\xd8" + b"\xff\xfe\0\2" * MAX_SEGMENTS + encoded("JPEG")[2:],
        "segments",
    ),
    "jpeg restarts": (b"\xff\xd8" + b"\xff\xd0" * MAX_SEGMENTS + encoded("JPEG")[2:], "segments"),
    "png chunks": (with_chunks(MAX_CHUNKS), "chunks"),
    "palette png chunks": (with_chunks(MAX_CHUNKS, mode="P"), "chunks"),
    "ppm comments": (b"P3\n64 64\n255\n" + b"#\n" * (MAX_COMMENTS + 1) + b"1 " * 12288, "comments"),
    "tiff strips": (grey_tiff(273, MAX_PARTS + 1), "strips or tiles"),
    "tiff tiles": (grey_tiff(324, 2**32 - 1), "strips or tiles"),
    "tiff tiles, the other order": (grey_tiff(324, MAX_PARTS + 1, order=">"), "strips or tiles"),
    "big tiff tiles": (grey_tiff(324, 2**60, big=True), "strips or tiles"),
    "tiff tags": (tiff([(tag, 3, 1, 1) for tag in range(256, 257 + MAX_TAGS)]), "tags"),
}
if features.check("jpg_2000"):
    ATTACKS["jpeg 2000 tiles"] = (jpeg2000(129), "tiles")
    ATTACKS["endless jpeg 2000 tiles"] = (jpeg2000(2**28), "tiles")
    assert 129**2 > MAX_TILES >= 128**2


@pytest.mark.parametrize("attack", ATTACKS)
def test_too_many_parts_are_refused(attack):
    data, parts = ATTACKS[attack]
    with pytest.raises(
        ImageRefused, match=rf"^a\.x: the .* has more than \d+ {parts}; "
    ) as refusal:
        picture_of(data, "a.x")
    assert refusal.value.code == "unreadable"


@pytest.mark.parametrize(
    "data",
    [
        repeated_scans(MAX_SCANS),
        encoded("JPEG", progressive=True),
        with_chunks(5000),
        encoded("TIFF"),
        encoded("TIFF", compression="tiff_lzw", mode="L", height=600, tiffinfo={278: 1}),
        b"P2\n# a comment\n64 64\n255\n" + b"7 " * 4096,
    ],
)
def test_what_programs_write_is_read(data):
    assert picture_of(data, "a").pixels.shape[1] == 64


@pytest.mark.parametrize("size", range(4, 40))
def test_a_tiff_cut_anywhere_is_refused(size):
    with pytest.raises(ImageRefused):
        picture_of(grey_tiff(273, 1)[:size], "a")


def test_a_folder_with_one_attack_is_scored_to_its_end(tmp_path, capsys):
    """A row with a code for each, and those of the other pictures."""
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(encoded("PNG", 112, 112))
    (tmp_path / "scans.jpg").write_bytes(ATTACKS["jpeg scans"][0])
    (tmp_path / "tiles.tif").write_bytes(ATTACKS["tiff tiles"][0])
    out = tmp_path / "out.csv"
    main(["score", str(tmp_path), "--aligned", "--output", str(out)])
    text = out.read_text(encoding="utf-8")
    assert text.count("unreadable") == 2
    assert "more than 64 scans" in text + "".join(capsys.readouterr())
    assert len(text.splitlines()) == 5
