"""Lists of pairs over folders of faces: CSV, LFW view 2, XQLFW, Adience."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets import open_pairs
from edge_fiqa.evaluation.datasets.lists import parse_csv


def put(root, names, encoded):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded[number])


@pytest.fixture
def csv_set(tmp_path, encoded):
    put(tmp_path, ["ann/1.png", "ann/2.png", "bob/1.png", "bob/2.png"], encoded)
    path = tmp_path / "pairs.csv"
    path.write_text(
        "path_a,path_b,same\nann/1.png,ann/2.png,1\nbob/2.png,bob/1.png,true\n"
        "ann/1.png,bob/1.png,0\nann/1.png,eve/1.png,0\n",
        encoding="utf-8",
    )
    return path


def test_csv(csv_set):
    pairs = open_pairs(csv_set)
    assert list(pairs.faces.names) == ["ann/1.png", "ann/2.png", "bob/1.png", "bob/2.png"]
    assert list(zip(pairs.a.tolist(), pairs.b.tolist(), pairs.same, strict=True)) == [
        (0, 1, True),
        (3, 2, True),
        (0, 2, False),
    ]
    assert pairs.identity.tolist() == ["ann", "bob", "ann"]
    assert "1 of 4 pairs are left out: their files are missing, such as eve/1.png" in pairs.notes[0]


def test_csv_identities_may_be_told_and_faces_lie_elsewhere(csv_set, tmp_path):
    path = tmp_path / "lists" / "p.csv"
    path.parent.mkdir()
    path.write_text(
        "path_a,path_b,same,identity\nann/1.png,ann/2.png,1,A\nann/1.png,bob/1.png,0,B\n",
        encoding="utf-8",
    )
    assert open_pairs(path, tmp_path).identity.tolist() == ["A", "B"]
    with pytest.raises(ConfigError, match="none of its faces is below"):
        open_pairs(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no path_a in it"),
        ("path_a,path_b,same\n", "no pairs"),
        ("path_a,path_b,same\nx,y,maybe\n", "line 2: expected two paths and 1 or 0"),
        ("path_a,path_b,same\nx\n", "line 2"),
    ],
)
def test_a_bad_csv_is_one_line(tmp_path, text, said):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        open_pairs(path)


def test_a_list_that_is_not_text(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"pairs\.csv"):
        parse_csv(path)


@pytest.mark.parametrize("pattern", ["{0}/{0}_{1:04d}.png", "{0}/{1:04d}.png"])
@pytest.mark.parametrize("header", ["10\t300\n", "500\n", ""])
def test_lfw_view_2(tmp_path, encoded, pattern, header):
    put(tmp_path / "lfw", [pattern.format("Ann_B", i) for i in (1, 2)], encoded)
    put(tmp_path / "lfw", [pattern.format("Cy", 1)], encoded[2:])
    path = tmp_path / "pairs.txt"
    path.write_text(header + "Ann_B\t1\t2\nAnn_B\t2\tCy\t1\n", encoding="utf-8")
    pairs = open_pairs(path, tmp_path / "lfw", "LFW")
    assert pairs.name == "LFW"
    assert pairs.same.tolist() == [True, False]
    assert pairs.identity.tolist() == ["Ann_B", "Ann_B"]
    assert pairs.faces.names[pairs.b[1]] == pattern.format("Cy", 1)
    assert pairs.faces.crop(0)[0].shape == (112, 112, 3)


@pytest.mark.parametrize("line", ["Ann 1 x", "Ann 1", "Ann one two Bob 1", "Ann 1 2 3 4"])
def test_a_bad_line_is_named(tmp_path, encoded, line):
    put(tmp_path, ["Ann/0001.png"], encoded)
    (tmp_path / "pairs.txt").write_text(f"Ann 1 1\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2: expected `name i j`"):
        open_pairs(tmp_path / "pairs.txt")


def test_without_faces_the_folder_is_named(tmp_path):
    (tmp_path / "pairs.txt").write_text("Ann 1 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no folders of faces"):
        open_pairs(tmp_path / "pairs.txt")


HEAD = "user_id\toriginal_image\tface_id\tage\n"


def adience(tmp_path, encoded, kind, prefix):
    rows = [("u1", f"{i}.png", i // 3) for i in range(6)] + [("u2", "x.png", 2)]
    put(tmp_path / kind, [f"{u}/{prefix}.{face}.{image}" for u, image, face in rows[:-1]], encoded)
    for fold in (0, 1):
        text = HEAD + "".join(f"{u}\t{n}\t{f}\t(1, 2)\n" for u, n, f in rows[fold::2])
        (tmp_path / f"fold_{fold}_data.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("aligned", "landmark_aligned_face"), ("faces", "coarse_tilt_aligned_face")],
)
def test_adience(tmp_path, encoded, kind, prefix):
    adience(tmp_path, encoded, kind, prefix)
    pairs = open_pairs(tmp_path)
    assert pairs.same.sum() == 6  # two persons of three faces
    assert (~pairs.same).sum() == 9  # every face of one with every face of the other, once
    person = [name.split(".")[1] for name in pairs.faces.names]
    for a, b, same in zip(pairs.a, pairs.b, pairs.same, strict=True):
        assert (person[a] == person[b]) == same
    assert pairs.identity.tolist() == [person[a] for a in pairs.a]
    assert "1 of 7 faces are missing" in pairs.notes[0]


def test_adience_without_its_faces(tmp_path):
    (tmp_path / "fold_0_data.txt").write_text(HEAD + "u\ti.jpg\t1\t2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no folder aligned or faces"):
        open_pairs(tmp_path)
    (tmp_path / "aligned").mkdir()
    with pytest.raises(ConfigError, match=r"such as u/landmark_aligned_face\.1\.i\.jpg"):
        open_pairs(tmp_path)
    (tmp_path / "fold_0_data.txt").write_text("user_id\tage\nu\t1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no column face_id"):
        open_pairs(tmp_path)


def test_what_is_not_there_or_unknown(tmp_path):
    with pytest.raises(ConfigError, match="no such data set"):
        open_pairs(tmp_path / "lfw.bin")
    with pytest.raises(ConfigError, match="neither Adience"):
        open_pairs(tmp_path)
    (tmp_path / "a.xyz").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown kind"):
        open_pairs(tmp_path / "a.xyz")


def test_real_lists_read(shared):
    data = shared / "data"
    pairs = open_pairs(data / "pairs/lfw_view2_test.csv", data)
    assert (pairs.same.sum(), (~pairs.same).sum()) == (587, 590)
    assert pairs.notes == ()
    assert "faces/lfw/Aaron_Sorkin" in pairs.identity
    assert pairs.faces.crop(0)[0].dtype == np.uint8
