"""What to keep and to drop, from planned qualities, looks and embeddings."""

import numpy as np
import pytest

from edge_fiqa.gallery.choose import GalleryFace, PersonFaces, choose
from edge_fiqa.gallery.likeness import (
    FMR,
    NEAR_DUPLICATE,
    SAME_PERSON,
    look_of,
    main_person,
    same_person_threshold,
)


def direction(*weights, size=8):
    vector = np.zeros(size, np.float32)
    vector[: len(weights)] = weights
    return vector / np.linalg.norm(vector)


def face(name, quality, embedding=None, look=None):
    return GalleryFace(name, quality, look, embedding)


def verdicts(*persons, gate=30, most=10, threshold=None):
    choice = choose([PersonFaces(n, tuple(f)) for n, f in persons], gate, most, threshold)
    return [[(v.action, v.reason, v.other) for v in each] for each in choice.verdicts], choice


def test_gate_and_failures():
    faces = [face("a", 30), face("b", 29), face("c", None)]
    (of_ann,), choice = verdicts(("ann", faces))
    assert [each[:2] for each in of_ann] == [
        ("keep", "best"),
        ("drop", "below_gate"),
        ("drop", "not_scored"),
    ]
    assert choice.threshold is None


def test_the_best_are_kept_and_others_are_spare():
    (of_ann,), _ = verdicts(("ann", [face(str(q), q) for q in (50, 90, 70, 80)]), most=2)
    assert [each[0] for each in of_ann] == ["spare", "keep", "spare", "keep"]


def test_of_near_duplicates_the_best_stays():
    same, almost = direction(1), direction(1, 0.2)
    other = direction(0, 1)
    assert same @ almost > NEAR_DUPLICATE
    faces = [
        face("worse", 60, look=almost),
        face("better", 80, look=same),
        face("new", 50, look=other),
    ]
    (of_ann,), _ = verdicts(("ann", faces))
    assert of_ann == [
        ("drop", "near_duplicate", "better"),
        ("keep", "best", None),
        ("keep", "best", None),
    ]


def test_duplicates_are_looked_for_within_a_person_only():
    look = direction(1)
    both, _ = verdicts(("ann", [face("a", 60, look=look)]), ("bob", [face("b", 60, look=look)]))
    assert [each[0][0] for each in both] == ["keep", "keep"]


def test_a_face_of_another_person_is_named():
    ann, bob, nobody = direction(1), direction(0, 1), direction(0, 0, 1)
    of_ann = [face("1", 60, ann), face("2", 60, ann), face("3", 90, bob), face("4", 70, nobody)]
    of_bob = [face("5", 60, bob), face("6", 60, bob)]
    (first, second), choice = verdicts(("ann", of_ann), ("bob", of_bob))
    assert [each[1] for each in first] == ["best", "best", "other_person", "other_person"]
    assert (first[2][2], first[3][2]) == ("bob", None)
    assert [each[0] for each in second] == ["keep", "keep"]
    assert choice.threshold.value == SAME_PERSON


def test_where_no_two_are_alike_nobody_is_blamed():
    faces = [face("1", 60, direction(1)), face("2", 60, direction(0, 1))]
    (of_ann,), choice = verdicts(("ann", faces))
    assert [each[0] for each in of_ann] == ["keep", "keep"]
    assert choice.doubtful == ("ann",)


def test_a_face_below_the_gate_decides_about_nobody():
    blurred = [face(str(n), 10, direction(0, 1)) for n in range(5)]
    sharp = [face("a", 60, direction(1)), face("b", 60, direction(1, 0.1))]
    (of_ann,), _ = verdicts(("ann", [*blurred, *sharp]))
    assert [each[1] for each in of_ann] == ["below_gate"] * 5 + ["best"] * 2


def test_differing_faces_go_before_slightly_better_ones():
    """A cosine of 0.4 less is worth 20 points: the profile of 70 goes before the next front of 80."""
    front, profile = direction(1), direction(0.6, 0.8)
    faces = [face("1", 90, front), face("2", 80, front), face("3", 70, profile)]
    (of_ann,), _ = verdicts(("ann", faces), most=2)
    assert [each[0] for each in of_ann] == ["keep", "spare", "keep"]


def test_a_stated_threshold_counts():
    faces = [
        face("1", 60, direction(1)),
        face("2", 60, direction(1)),
        face("3", 60, direction(1, 1)),
    ]
    (strict,), choice = verdicts(("ann", faces), threshold=0.9)
    (loose,), _ = verdicts(("ann", faces), threshold=0.5)
    assert [each[0] for each in strict] == ["keep", "keep", "drop"]
    assert [each[0] for each in loose] == ["keep"] * 3
    assert choice.threshold.source == "--match"


def test_the_threshold_lets_one_of_a_thousand_pairs_of_a_gallery_through():
    rng = np.random.default_rng(0)
    persons = [rng.standard_normal((50, 32)).astype(np.float32) for _ in range(4)]
    persons = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in persons]
    threshold = same_person_threshold(persons)
    pairs = np.concatenate([(a @ b.T).ravel() for i, a in enumerate(persons) for b in persons[:i]])
    assert (pairs > threshold.value).mean() == pytest.approx(FMR, abs=2e-4)
    assert "15000 pairs" in threshold.source
    assert same_person_threshold(persons[:1]).value == SAME_PERSON
    mixed = [persons[0], persons[0], *persons[1:]]
    assert "mixed up" in same_person_threshold(mixed).source


def test_misfiled_pictures_do_not_raise_the_threshold():
    """Nor does a person in two folders: their pairs are of one person."""
    rng = np.random.default_rng(0)

    def faces_of(number):
        own = np.zeros(64, np.float32)
        own[number] = 6
        faces = rng.standard_normal((12, 64)).astype(np.float32) + own
        return faces / np.linalg.norm(faces, axis=1, keepdims=True)

    persons = [faces_of(number) for number in range(8)]
    clean = same_person_threshold(persons)
    assert clean.source.startswith("FMR")
    twice = [*persons, faces_of(0)]
    misfiled = [np.concatenate([persons[0], persons[1][:1], persons[2][:1]]), *persons[1:]]
    for mixed in (twice, misfiled):
        assert same_person_threshold(mixed).value == pytest.approx(clean.value, abs=0.03)


def test_the_main_person_is_the_largest_group():
    rows = np.stack([direction(0, 1), direction(1), direction(1, 0.1), direction(0, 1, 1)])
    assert main_person(rows[[1, 2, 0]], [1, 1, 99], 0.5).tolist() == [0, 1]
    assert main_person(rows[[0, 1]], [1, 2], 0.5).tolist() == []
    assert main_person(rows[:1], [1], 0.5).tolist() == [0]


def test_the_look_of_a_crop_is_its_correlation():
    rng = np.random.default_rng(1)
    smooth = np.kron(rng.integers(0, 200, (14, 14)), np.ones((8, 8))).astype(np.uint8)
    crop = np.repeat(smooth[..., None], 3, axis=2)
    other = np.repeat(rng.permutation(smooth.ravel()).reshape(112, 112, 1), 3, axis=2)
    assert look_of(crop) @ look_of(crop) == pytest.approx(1)
    assert look_of(crop) @ look_of(crop // 2 + 30) > 0.99
    assert abs(look_of(crop) @ look_of(other)) < 0.5
    plain = look_of(np.full((112, 112, 3), 90, np.uint8))
    assert plain.shape == (357,)
    assert not plain.any()
