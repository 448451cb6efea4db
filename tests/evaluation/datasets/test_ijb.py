"""IJB-C: alignment by five points, templates of media, pairs of templates."""

import cv2
import numpy as np
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.evaluation.datasets import open_pairs
from edge_fiqa.evaluation.datasets.face_pairs import Templates
from edge_fiqa.measurement.all_exits import synthetic_faces
from tests.published import ARCFACE


@pytest.fixture
def ijb(tmp_path):
    """Four pictures: template 7 of media 1, 1, 2; template 9 of medium 3. Shifted by (20, 10)."""
    (tmp_path / "loose_crop").mkdir()
    (tmp_path / "meta").mkdir()
    points = " ".join(f"{x + 20:.4f} {y + 10:.4f}" for x, y in ARCFACE)
    for number, face in enumerate(synthetic_faces(4, 9), 1):
        image = np.zeros((150, 160, 3), np.uint8)
        image[10:122, 20:132] = face[..., ::-1]
        cv2.imwrite(str(tmp_path / f"loose_crop/{number}.png"), image)
    write = {
        "ijbc_name_5pts_score": "".join(f"{n}.png {points} 0.9\n" for n in range(1, 5)),
        "ijbc_face_tid_mid": "1.png 7 1\n2.png 7 1\n3.png 7 2\n4.png 9 3\n",
        "ijbc_template_pair_label": "7 9 0\n7 7 1\n",
    }
    for name, text in write.items():
        (tmp_path / f"meta/{name}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def test_pictures_are_aligned_and_pairs_are_of_templates(ijb):
    pairs = open_pairs(ijb, name="IJB-C")
    assert (pairs.a.tolist(), pairs.b.tolist(), pairs.same.tolist()) == (
        [0, 0],
        [1, 0],
        [False, True],
    )
    np.testing.assert_array_equal(pairs.faces.crop(2)[0], synthetic_faces(4, 9)[2])
    quality = np.array([1.0, 3.0, 5.0, 4.0])
    assert pairs.pair_quality(quality).tolist() == [3, 3]
    embeddings = np.array([[1, 0], [0, 1], [-1, 0], [0, 2]], np.float32)
    # Template 7: medium 1 is (.5, .5), medium 2 (-1, 0); their mean is (-.25, .25). Template 9: (0, 1).
    assert pairs.similarity(embeddings)[0] == pytest.approx(np.sqrt(0.5))


def test_a_template_is_judged_by_the_faces_that_have_a_score():
    templates = Templates(np.array([0, 0, 1, 2]), np.array([0, 1, 2, 3]))
    pooled = templates.pool_quality(np.array([2, np.nan, np.nan, 7.0]))
    np.testing.assert_array_equal(pooled, [2, np.nan, 7])
    embeddings = np.array([[1, 0], [np.nan] * 2, [np.nan] * 2, [0, 1]], np.float32)
    np.testing.assert_array_equal(
        templates.pool_embeddings(embeddings), [[1, 0], [np.nan] * 2, [0, 1]]
    )


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("ijbc_template_pair_label", None, "not there; IJB needs it"),
        ("ijbc_name_5pts_score", None, "not there; IJB needs it"),
        ("ijbc_template_pair_label", "7 8 1\n7 9 0\n", "template 8 has no picture"),
        ("ijbc_template_pair_label", "7 x 1\n", "expected 3 numbers a line"),
        ("ijbc_face_tid_mid", "1.png 7\n", "expected a name and 2 numbers"),
        ("ijbc_face_tid_mid", "", "expected a name and 2 numbers"),
        ("ijbc_face_tid_mid", "1.png 7 1\n", "its pictures are not those of"),
    ],
)
def test_files_that_do_not_fit_are_named(ijb, file, text, said):
    path = ijb / f"meta/{file}.txt"
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        open_pairs(ijb)


def test_without_pictures(ijb):
    (ijb / "loose_crop/1.png").unlink()
    with pytest.raises(ConfigError, match=r"1\.png: no such picture"):
        open_pairs(ijb)
