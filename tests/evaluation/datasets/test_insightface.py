""".bin files: read when they are plain, refused unopened when they are anything else."""

import io
import pickle
import struct

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets import open_pairs
from edge_fiqa.measurement.all_exits import synthetic_faces


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lfw.bin"


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_faces_and_pairs_come_back(path, encoded, protocol):
    path.write_bytes(pickle.dumps((encoded[:6], [True, False, True]), protocol))
    pairs = open_pairs(path)
    assert (pairs.name, len(pairs.faces)) == ("lfw", 6)
    assert (pairs.a.tolist(), pairs.b.tolist()) == ([0, 2, 4], [1, 3, 5])
    assert pairs.same.tolist() == [True, False, True]
    assert pairs.identity is None
    crop, warnings = pairs.faces.crop(4)
    np.testing.assert_array_equal(crop, synthetic_faces(12, 3)[4])
    assert warnings == ()


def test_python_2_wrote_the_first_of_them(path, encoded):
    """BINSTRING and I01/I00, as Python 2's pickle wrote str and bool at protocol 0 and 1."""
    out = io.BytesIO()
    out.write(b"(](")
    for face in encoded[:4]:
        out.write(b"T" + struct.pack("<i", len(face)) + face)
    out.write(b"e](I01\nI00\net.")
    path.write_bytes(out.getvalue())
    pairs = open_pairs(path)
    assert pairs.same.tolist() == [True, False]
    np.testing.assert_array_equal(pairs.faces.crop(1)[0], synthetic_faces(12, 3)[1])


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("place", ["faces", "labels", "whole"])
def test_a_pickle_that_calls_something_calls_nothing(path, tmp_path, encoded, place):
    marker = tmp_path / "was here"
    hostile = Hostile(marker)
    built = {
        "faces": ([hostile, encoded[0]], [True]),
        "labels": (encoded[:2], [hostile]),
        "whole": hostile,
    }[place]
    path.write_bytes(pickle.dumps(built))
    with pytest.raises(ConfigError, match="it asks for") as caught:
        open_pairs(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # the classic
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",  # STACK_GLOBAL
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pid\n.",  # PERSID
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # BINBYTES8 of 2**63 - 1 bytes
        b"\x80\x04]\x94h\x05.",  # a memo that is not there
        b"",
        b"PK\x03\x04",
        b".",
        b"]R.",
        b"](K\x01b.",
    ],
)
def test_hostile_and_damaged_bytes_are_one_line(path, data):
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"lfw\.bin"):
        open_pairs(path)


def test_a_cut_file_is_refused(path, encoded):
    whole = pickle.dumps((encoded[:2], [True]))
    for size in range(0, len(whole) - 1, 997):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match="not an insightface"):
            open_pairs(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (([b"a", b"b", b"c"], [True]), "3 faces for 1 pair; some are unpaired"),
        (([], []), "no pairs"),
        (([b"a", b"b"], [True]), "1 pair and none is non-mated"),
        (([b"a", "b"], [True]), "not a list of encoded images"),
        (([b"a", b"b"], ["x"]), "not a list of booleans"),
        ({"a": 1}, "expected faces and labels, found a dict"),
        ([1, 2, 3], "expected faces and labels"),
    ],
)
def test_what_is_no_data_set_is_said(path, content, said):
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ConfigError, match=said):
        open_pairs(path)
