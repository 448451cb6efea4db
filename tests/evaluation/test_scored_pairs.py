"""Anybody's pairs: what is undefined, doubled, upside down or not there."""

import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.scored_pairs import read_scored, score_pairs

HEAD = "similarity,same,quality_a,quality_b\n"


def csv(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_pair_is_as_good_as_its_worse_face(tmp_path):
    pairs = read_scored(csv(tmp_path, HEAD + "0.9,1,5,2\n0.1,0,1,4\n"))
    assert pairs.quality.tolist() == [2, 1]
    assert (pairs.genuine.tolist(), pairs.impostor.tolist()) == ([0.9], [0.1])
    assert pairs.identity is None
    assert pairs.notes == ()


def test_lower_may_be_better_and_distance_may_be_told(tmp_path):
    path = csv(tmp_path, HEAD + "0.2,true,5,2\n1.4,false,1,4\n")
    pairs = read_scored(path, distance=True, lower_is_better=True)
    assert pairs.quality.tolist() == [-5, -4]
    assert pairs.similarity.tolist() == [-0.2, -1.4]


@pytest.mark.parametrize("missing", ["", "nan", "NA", "null", "None"])
def test_a_face_without_quality_makes_its_pair_the_worst(tmp_path, missing):
    text = HEAD + f"0.9,1,{missing},2\n0.8,1,3,3\n0.7,1,2,9\n"
    worst = read_scored(csv(tmp_path, text))
    assert worst.quality.argmin() == 0
    assert worst.quality[0] < 2
    assert "1 pair without a quality is counted as the worst" in worst.notes[0]
    dropped = read_scored(csv(tmp_path, text), undefined="drop")
    assert dropped.similarity.tolist() == [0.8, 0.7]
    with pytest.raises(ConfigError, match="1 pair has no quality"):
        read_scored(csv(tmp_path, text), undefined="refuse")


def test_a_pair_without_similarity_was_never_compared():
    pairs = score_pairs([0.9, np.nan, 0.3], [1, 1, 0], [1, 2, 3], ["a", "b", "c"])
    assert pairs.similarity.tolist() == [0.9, 0.3]
    assert pairs.identity.tolist() == ["a", "c"]
    assert pairs.notes == ("1 pair without a similarity is left out",)


def test_the_worst_quality_is_below_the_worst_found_however_large():
    pairs = score_pairs([0.5, 0.5], [1, 1], [1e30, np.nan])
    assert pairs.quality[1] < pairs.quality[0]


def test_pairs_listed_twice_are_noted_and_kept(tmp_path):
    rows = "".join(f"0.{i},1,{i},{i}\n" for i in range(10, 30)) * 2
    pairs = read_scored(csv(tmp_path, HEAD + rows))
    assert pairs.same.size == 40
    assert "20 of 40 rows repeat another" in pairs.notes[0]


def test_npz_reads_as_csv_does(tmp_path):
    path = tmp_path / "pairs.npz"
    np.savez(
        path, similarity=[0.9, 0.1], same=[True, False], pair_quality=[3, 4], identity=["a", "b"]
    )
    pairs = read_scored(path)
    assert pairs.quality.tolist() == [3, 4]
    assert pairs.same.tolist() == [True, False]
    assert pairs.identity.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column similarity"),
        (HEAD, "holds no pairs"),
        (
            "similarity,same\n0.9,1\n",
            "no column quality_a and quality_b .*; it has similarity, same",
        ),
        ("same,pair_quality\n1,1\n", "no column similarity; it has same, pair_quality"),
        (
            "source,quality.scalar\na.png,70\n",
            "lists faces, as edge-fiqa score writes them, and edc reads pairs",
        ),
        ("a,b\n1,1\n", "no column similarity, same, quality_a .* it has a, b"),
        (HEAD + "0.9,1,5,2\n0.9,2,5,2\n", "line 3: same must be 1 or 0"),
        (HEAD + "0.9,1,high,2\n", "line 2: could not convert"),
        (HEAD + "0.9\n", "line 2: same must be 1 or 0"),
        (HEAD + "nan,1,1,1\n", "no pair is left"),
    ],
)
def test_a_bad_file_is_one_line_with_the_place(tmp_path, text, said):
    path = csv(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_scored(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_npz_is_one_line(tmp_path):
    path = tmp_path / "pairs.npz"
    for write in (
        lambda: path.write_bytes(b"PK\x03\x04 not a zip"),
        lambda: path.write_bytes(b""),
        lambda: np.savez(path, similarity=np.array([{}], object)),
        lambda: np.savez(path, similarity=["a"], same=[1], pair_quality=[1]),
        lambda: np.savez(path, similarity=[1, 2], same=[1], pair_quality=[1]),
        lambda: np.savez(path, similarity=[1], same=[1], pair_quality=[1], identity=["a", "b"]),
    ):
        write()
        with pytest.raises(ConfigError, match=r"pairs\.npz"):
            read_scored(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_scored(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match="No such file"):
        read_scored(tmp_path / "none.csv")


def test_other_column_names(tmp_path):
    path = csv(tmp_path, "score,label,q1,q2,same\n0.9,1,5,2,7\n0.1,0,1,4,7\n")
    names = {"similarity": "score", "same": "label", "quality_a": "q1", "quality_b": "q2"}
    pairs = read_scored(path, columns=names)
    assert (pairs.similarity.tolist(), pairs.quality.tolist()) == ([0.9, 0.1], [2, 1])
    np.savez(tmp_path / "pairs.npz", score=[0.9], label=[1], pair_quality=[3])
    pairs = read_scored(tmp_path / "pairs.npz", columns=names)
    assert (pairs.similarity.tolist(), pairs.quality.tolist()) == ([0.9], [3])
