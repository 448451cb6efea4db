"""npz files of any origin: nothing is unpickled, and no small file fills the memory."""

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.arrays import read_npz
from edge_fiqa.files import unpacking_bomb

GB = 1 << 30


def zipped(path, content, name="embeddings.npy"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def npy(shape, data=b"", dtype="<f4"):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return out.getvalue() + data


def test_plain_arrays_are_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, zeros=np.zeros((1000, 1000)), names=np.array(["a", "b"]))
    arrays = read_npz(path)  # zeros shrink by a thousand, and are small all the same
    assert arrays["zeros"].shape == (1000, 1000)
    assert arrays["names"].tolist() == ["a", "b"]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """A directory that says 4 GB; the file itself has 5 kB."""
    path = zipped(tmp_path / "bomb.npz", npy((1,), bytes(1 << 20)))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 4 * GB - 16)
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"bomb\.npz: .* MB would become 4\.3 GB in memory"):
        read_npz(path)


def test_the_same_bytes_under_many_names_count_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr("edge_fiqa.files.LARGEST_UNPACKED", 1 << 20)
    path = tmp_path / "many.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.npy", npy((1,), bytes(1 << 19)))
    assert unpacking_bomb(path) is not None
    with pytest.raises(ConfigError, match="save it without compression"):
        read_npz(path)
    np.savez(path, whole=np.zeros(1 << 20))  # large, and as large on the disk
    assert unpacking_bomb(path) is None


@pytest.mark.parametrize(
    "shape", [(1 << 40,), (1 << 62, 4), (1 << 20, 1 << 20), (-1, 4), (2**63, 2**63), (1000, 1000)]
)
def test_a_huge_shape_is_one_line(tmp_path, shape):
    path = zipped(tmp_path / "shape.npz", npy(shape, b"1234"))
    with pytest.raises(ConfigError, match=r"shape\.npz"):
        read_npz(path)


@pytest.mark.parametrize("name", ["embeddings.npy", "evil.pkl"])
def test_a_pickle_is_not_run(tmp_path, name):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_run"), "w"))

    content = (
        npy((1,), pickle.dumps([Trap()]), "|O") if name.endswith("npy") else pickle.dumps(Trap())
    )
    path = zipped(tmp_path / "trap.npz", content, name)
    with pytest.raises(ConfigError, match=r"trap\.npz") if name.endswith("npy") else nullcontext():
        read_npz(path)
    assert not (tmp_path / "was_run").exists()


def test_what_does_not_fit_into_memory_is_one_line(tmp_path):
    """2 GB of zeros in a file of 200 MB, where 1 GB may be used."""
    code = """
import resource, sys
from pathlib import Path
from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.arrays import read_npz
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
try:
    read_npz(Path(sys.argv[1]))
except ConfigError as exc:
    print(exc)
"""
    path = zipped(tmp_path / "large.npz", npy((1 << 29,), b"1234"))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(2 * GB)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip().endswith("its arrays do not fit into memory"), done.stderr
