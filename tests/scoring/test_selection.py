"""Which faces are the best: from records whose order is known."""

from pathlib import Path

import msgspec
import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.scoring.crops import person_by_folder
from edge_fiqa.scoring.selection import Selection
from tests.scoring.records import record


def face(source, scalar, raw=0.0):
    plain = record(source)
    quality = msgspec.structs.replace(plain.quality, scalar=scalar, raw=raw)
    return msgspec.structs.replace(plain, quality=quality)


def sources(records):
    return [record.source for record in records]


def by_first_letter(record):
    return record.source[0]


FACES = [
    face("a1", 40), face("b1", 90), record("b2", code="no_face"), face("a2", 70), face("a3", 60),
    face("b3", 80),
]  # fmt: skip


def test_sorted_the_best_comes_first_and_na_last():
    assert sources(Selection().of(FACES, by_first_letter)) == ["b1", "b3", "a2", "a3", "a1", "b2"]


def test_the_top_leaves_out_what_has_no_score():
    assert sources(Selection(top=2).of(FACES, by_first_letter)) == ["b1", "b3"]
    assert sources(Selection(top=9).of(FACES, by_first_letter)) == ["b1", "b3", "a2", "a3", "a1"]


def test_each_person_has_its_own_best():
    assert sources(Selection(per_person=1).of(FACES, by_first_letter)) == ["b1", "a2"]
    assert sources(Selection(per_person=2, top=3).of(FACES, by_first_letter)) == ["b1", "b3", "a2"]


def test_raw_scores_decide_between_equal_qualities_and_then_the_order():
    faces = [face("x", 50, 0.1), face("y", 50, 0.2), face("z", 50, 0.1)]
    assert sources(Selection().of(faces, by_first_letter)) == ["y", "x", "z"]


def test_a_bundle_without_a_scale_is_sorted_by_its_raw_score():
    faces = [face("x", None, -2.0), face("y", None, 3.0)]
    assert sources(Selection(top=1).of(faces, by_first_letter)) == ["y"]


@pytest.mark.parametrize("numbers", [{"top": 0}, {"per_person": -1}, {"top": 1.5}])
def test_a_number_of_faces_is_at_least_one(numbers):
    with pytest.raises(ConfigError, match=r"--top|--per-person"):
        Selection(**numbers)


def test_a_folder_is_a_person_but_files_of_a_flat_folder_are_not(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
    person_of = person_by_folder([str(tmp_path), f"{tmp_path}/bob/1.png"])
    named = person_by_folder([f"{tmp_path}/ann", f"{tmp_path}/bob"])  # as a shell's * gives them
    assert len({named(record(f"{tmp_path}/ann/{k}.png")) for k in (1, 2)}) == 1
    ann = [person_of(record(f"{tmp_path}/ann/{k}.png")) for k in (1, 2)]
    flat = [person_of(record(f"{tmp_path}/{k}.png")) for k in (1, 2)]
    assert ann[0] == ann[1]
    assert len({*ann, *flat, person_of(record(f"{tmp_path}/bob/1.png"))}) == 4


def test_one_folder_named_another_way_is_the_same_person(tmp_path):
    (tmp_path / "ann").mkdir()
    person_of = person_by_folder([f"{tmp_path}/", f"{tmp_path}/./ann/1.png"])
    assert person_of(record(f"{tmp_path}/ann/1.png")) == str(Path(f"{tmp_path}/ann"))
