"""The groups, rates and labels of benchmarks/fairness.py, from their definitions."""

import importlib
import io
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = ("common", "baselines", "pair_lists", "fairness_faces", "fairness_rates", "fairness")


@pytest.fixture
def script(monkeypatch):
    """The script's parts; they import each other by name, and nothing of that stays."""
    pytest.importorskip("torch")  # of the package's training room, which reads shards
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    for name in NAMES:
        sys.modules.pop(name, None)


def test_a_name_says_age_sex_race_and_time(script):
    labels = script.fairness_faces.name_labels
    assert labels("26_1_3_20170104235639459.jpg.chip.jpg") == (26, 1, 3, "20170104235639459")
    assert labels("1_0_0_20161219140623097.jpg") == (1, 0, 0, "20161219140623097")
    assert labels("44_1_4_20170116235150272jpg.chip.jpg") == (44, 1, 4, "20170116235150272")


@pytest.mark.parametrize(
    "name",
    [
        "39_1_20170116174525125.jpg.chip.jpg",  # without a race, as in the published set
        "26_2_3_20170104235639459.jpg",
        "26_1_5_20170104235639459.jpg",
        "117_1_3_20170104235639459.jpg",
        "-1_1_3_20170104235639459.jpg",
        "26_1_3.jpg",
        "26_1_3_20170104235639459.png",
        "x26_1_3_20170104235639459.jpg",
        "",
    ],
)
def test_a_malformed_name_says_nothing(script, name):
    assert script.fairness_faces.name_labels(name) is None
    nothing = script.fairness_faces.utkface_labels(f"folder/{name}", {})
    assert (nothing.sex, nothing.age, nothing.race) == (None, None, None)


def test_ages_fall_into_bands_and_folders(script):
    faces = script.fairness_faces
    limits = {0: "0-2", 2: "0-2", 3: "3-12", 12: "3-12", 13: "13-19", 19: "13-19", 20: "20-39",
              39: "20-39", 40: "40-59", 59: "40-59", 60: "60+", 116: "60+"}  # fmt: skip
    assert {age: faces.age_band(age) for age in limits} == limits
    folders = {0: 0, 5: 0, 6: 1, 10: 1, 15: 2, 16: 3, 20: 3, 21: 4, 30: 4, 31: 5, 70: 8, 71: 9, 116: 9}
    assert {age: faces.age_class(age) for age in folders} == folders


def test_a_sorted_path_gets_its_labels_from_the_published_names(script):
    faces = script.fairness_faces
    places = faces.sorted_names(
        ["26_1_3_111.jpg.chip.jpg", "26_0_1_111.jpg.chip.jpg", "nonsense", "24_0_2_222.jpg",
         "24_0_4_222.jpg", "19_0_0_333.jpg", "20_0_0_333.jpg"]
    )  # fmt: skip
    labels = faces.utkface_labels("data/UTKFace/labeled/4.1/111.jpg", places)
    assert (labels.sex, labels.age, labels.race) == ("female", "20-39", "Indian")
    contradicting = faces.utkface_labels("data/UTKFace/labeled/4.0/222.jpg", places)
    assert (contradicting.sex, contradicting.age, contradicting.race) == ("male", "20-39", None)
    two_ages = faces.utkface_labels("data/UTKFace/labeled/3.0/333.jpg", places)
    assert (two_ages.age, two_ages.race) == (None, "White")
    unknown = faces.utkface_labels("data/UTKFace/labeled/4.0/444.jpg", places)
    assert (unknown.sex, unknown.age, unknown.race) == ("male", None, None)


def test_a_list_without_names_is_refused(script, tmp_path):
    list_file = tmp_path / "names.txt"
    list_file.write_text("a.jpg\nb.jpg\n")
    with pytest.raises(ValueError, match=r"names\.txt: no name like 26_1_3"):
        script.fairness_faces.read_names(list_file)
    list_file.write_text("UTKFace/26_1_3_20170104235639459.jpg\n")
    assert script.fairness_faces.read_names(list_file) == ["26_1_3_20170104235639459.jpg"]


def shard(path, pictures):
    with tarfile.open(path, "w") as tar:
        for name, picture in pictures.items():
            data = cv2.imencode(".png", picture)[1].tobytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_sets_come_out_of_their_shards(script, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    face = [np.full((112, 112, 3), 10 * number, np.uint8) for number in range(6)]
    shard(more / "a.tar", {f"{n}.png": face[n] for n in range(3)})
    shard(more / "b.tar", {f"{n}.png": face[n] for n in range(3, 6)})
    sets = ["utkface", "web", "web", "web", "web", "utkface"]
    place = [("a.tar" if n < 3 else "b.tar", f"{n}.png") for n in range(6)]
    rows = [f"{s},{m},{sets[n]},{'Anna' if n == 1 else ''},99" for n, (s, m) in enumerate(place)]
    (more / "faces.csv").write_text(
        "\n".join(["shard,member,dataset,identity,source_size_px", *rows])
    )
    paths = ["x/labeled/4.0/7.jpg", *"1234", "x/unlabeled/61_1_1_8.jpg.chip.jpg"]
    rows = [f"{s},{m},{path}" for (s, m), path in zip(place, paths, strict=True)]
    (more / "notes.csv").write_text("\n".join(["shard,member,source_path", *rows]))
    utkface, web = script.fairness_faces.more_sets(tmp_path, None, 2)
    assert (utkface.source, web.source) == ("more/utkface", "more/web")
    assert utkface.faces[:, 0, 0, 0].tolist() == [0, 50]
    assert [(one.sex, one.age, one.race) for one in utkface.labels] == [
        ("male", None, None), ("female", "60+", "Black")
    ]  # fmt: skip
    assert web.faces[:, 0, 0, 0].tolist() == [10, 40]  # the first and the last of four
    assert web.persons == ["Anna", "b.tar/4.png"]


def scored(script, quality, persons=None, flipped=None):
    faces = len(quality)
    return script.fairness_rates.ScoredSet(
        "set",
        np.array([str(n) for n in range(faces)] if persons is None else persons),
        [script.fairness_faces.Labels()] * faces,
        np.full(faces, 30.0),
        np.array(quality),
        np.zeros((101, faces), bool) if flipped is None else flipped,
        {50: np.full(faces, 3)},
        np.zeros(faces, bool),
    )


def test_a_group_of_too_few_has_no_rates(script):
    rates = script.fairness_rates
    few = scored(script, [80] * (rates.LEAST - 1))
    row = rates.group_row(few, "sex", "female", np.ones(len(few.quality), bool))
    assert row == {"by": "sex", "group": "female", "source": "set", "faces": 199, "persons": 199,
                   "too_few": True}  # fmt: skip


def test_the_rates_of_a_group(script):
    """Beside scipy's interval of Wilson."""
    binomtest = pytest.importorskip("scipy.stats").binomtest
    flipped = np.zeros((101, 500), bool)
    flipped[50, :2] = True
    group = scored(script, [80] * 320 + [50] * 40 + [20] * 40 + [99] * 100, flipped=flipped)
    row = script.fairness_rates.group_row(group, "sex", "female", np.arange(500) < 400)
    assert row["quality_mean"] == (320 * 80 + 40 * 50 + 40 * 20) / 400
    assert row["quality_quantiles"] == [20, 80, 80, 80, 80]
    gate = row["gates"]["50"]
    for stated, count in ((gate["accepted"], 360), (gate["false_exits"], 2)):
        ends = binomtest(count, 400).proportion_ci(method="wilson")
        np.testing.assert_allclose(stated, [count / 400, ends.low, ends.high], atol=2e-5)
    assert gate["mean_depth"] == 3


def test_faces_of_one_person_count_less(script):
    alone = scored(script, [80, 20] * 200)
    together = scored(script, np.repeat([80, 20] * 10, 20), np.repeat(np.arange(20).astype(str), 20))
    everyone = np.ones(400, bool)
    widths = []
    for group in (alone, together):
        row = script.fairness_rates.group_row(group, "sex", "female", everyone)
        rate, low, high = row["gates"]["50"]["accepted"]
        assert rate == 0.5
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


def compared(script, quality, genuine):
    """Persons of two faces of equal quality, one mated pair each."""
    faces = np.arange(len(quality))
    persons = [str(row // 2) for row in faces]
    a = faces[::2]
    pairs = script.fairness_rates.ComparedPairs
    same = np.ones(len(a), bool)
    return pairs(scored(script, quality, persons), a, a + 1, same, genuine, np.zeros(0))


def test_at_an_equal_error_each_group_has_a_gate_of_its_own(script):
    """Pairs fail below 40 in one group and below 70 in the other; qualities are 0..99 in both."""
    rates = script.fairness_rates
    quality = np.repeat(np.arange(100), 20)
    results = {}
    for limit in (40, 70):
        pairs = compared(script, quality, np.where(quality[::2] < limit, 0.1, 0.9))
        row = rates.pair_row(pairs, np.ones(len(quality), bool), 0.5, 1e-3, 50)
        results[limit] = rates.at_equal_error(row, 0.0)
    assert [row["accepted"][0] for row in results.values()] == [0.5, 0.5]
    assert [row["fnmr_accepted"][0] for row in results.values()] == [0.0, 0.4]
    assert [row["fnmr_all"][0] for row in results.values()] == [0.4, 0.7]
    assert [row["equal_error"]["gate"] for row in results.values()] == [40, 70]
    assert [row["equal_error"]["accepted"][0] for row in results.values()] == [0.6, 0.3]
    assert results[40]["fmr"] is None  # no pairs of two persons


def test_an_error_that_no_gate_reaches_is_said(script):
    quality = np.repeat(np.arange(100), 20)
    pairs = compared(script, quality, np.full(1000, 0.1))
    row = script.fairness_rates.pair_row(pairs, np.ones(len(quality), bool), 0.5, 1e-3, 50)
    assert script.fairness_rates.at_equal_error(row, 0.5)["equal_error"] is None


def test_only_pairs_within_a_group_count(script):
    """Each of 300 persons has two faces; 200 faces are of the group, a pair of which matches by
    mistake, and so does one pair with a face outside."""
    rates = script.fairness_rates
    quality = np.full(600, 80)
    pairs = compared(script, quality, np.full(300, 0.9))
    others = np.array([(i, i + 2) for i in range(598)]).T
    similarity = np.zeros(598)
    similarity[[0, 199]] = 0.9
    pairs = rates.ComparedPairs(
        pairs.scored,
        np.concatenate([pairs.a, others[0]]),
        np.concatenate([pairs.b, others[1]]),
        np.arange(898) < 300,
        pairs.genuine,
        similarity,
    )
    row = rates.pair_row(pairs, np.arange(600) < 200, 0.5, 0.05, 50)
    assert (row["faces"], row["mated_pairs"], row["non_mated_pairs"]) == (200, 100, 198)
    assert row["fmr"] is None  # 198 pairs resolve no FMR of 0.05
    row = rates.pair_row(pairs, np.arange(600) < 202, 0.5, 0.05, 50)
    assert row["non_mated_pairs"] == 200
    assert row["fmr"][0] == 2 / 200


def test_too_few_pairs_have_no_rates(script):
    rates = script.fairness_rates
    everyone = np.ones(400, bool)
    pairs = compared(script, np.full(400, 80), np.full(200, 0.9))
    few = rates.ComparedPairs(
        pairs.scored, pairs.a[:29], pairs.b[:29], pairs.same[:29], pairs.genuine[:29], np.zeros(0)
    )
    none = rates.ComparedPairs(
        pairs.scored, pairs.a[:1], pairs.b[:1], np.array([False]), np.zeros(0), np.zeros(1)
    )
    for pairs, mated in ((few, 29), (none, 0)):
        row = rates.pair_row(pairs, everyone, 0.5, 1e-3, 50)
        assert row["too_few"]
        assert (row["faces"], row["mated_pairs"]) == (400, mated)
        assert rates.at_equal_error(row, 0.1) == row


def test_a_person_has_one_tone(script):
    """By the median of the person's faces, of those that show a colour."""
    rates = script.fairness_rates
    faces = 3 * rates.LEAST
    group = scored(script, [80] * 2 * faces, np.repeat(["a", "b"], faces))
    ita = np.concatenate([np.tile([60.0, 30.0, 35.0], rates.LEAST), np.full(faces, -50.0)])
    ita[faces] = np.nan
    tones = rates.person_tones(rates.ScoredSet(**{**vars(group), "ita": ita}))
    assert set(tones[:faces]) == {"intermediate"}
    assert set(tones[faces:]) == {"dark"}


def test_groups_stand_in_their_own_order(script):
    rates = script.fairness_rates
    names = ["60+", "3-12", "0-2", "13-19"]
    assert sorted(names, key=rates.rank_of_group) == ["0-2", "3-12", "13-19", "60+"]
    tones = np.array(["tan", "light to intermediate", "", "brown to dark", "very light"])
    assert rates.in_order(tones)[1] == ["very light", "light to intermediate", "tan", "brown to dark"]


def test_a_run_must_say_what_training_saw(script, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["fairness.py", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        script.fairness.main()
    assert ended.value.code == 2
    assert "--trained-on-more" in capsys.readouterr().err
