"""The groups, rates and labels of benchmarks/fairness.py, from their definitions."""

import importlib
import io
import json
import re
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ("faces", "rates", "card")
NAMES = ("common", "baselines", "pair_lists", *(f"fairness_{part}" for part in PARTS), "fairness")
CARD = FOLDER.parent / "edge_fiqa/models/README.md"


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
    folders = {
        0: 0,
        5: 0,
        6: 1,
        10: 1,
        15: 2,
        16: 3,
        20: 3,
        21: 4,
        30: 4,
        31: 5,
        70: 8,
        71: 9,
        116: 9,
    }
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
    rows = [f"{s},{m},{path}," for (s, m), path in zip(place, paths, strict=True)]
    rows[1] += "Anna_of_training"
    (more / "notes.csv").write_text("\n".join(["shard,member,source_path,train_identity", *rows]))
    utkface, web = script.fairness_faces.more_sets(tmp_path, None, 2)
    assert (utkface.source, web.source) == ("more/utkface", "more/web")
    assert utkface.faces[:, 0, 0, 0].tolist() == [0, 50]
    assert [(one.sex, one.age, one.race) for one in utkface.labels] == [
        ("male", None, None), ("female", "60+", "Black")
    ]  # fmt: skip
    assert web.faces[:, 0, 0, 0].tolist() == [10, 40]  # the first and the last of four
    assert web.persons == ["Anna", "b.tar/4.png"]
    assert web.known == [True, False]
    assert utkface.known == [False, False]
    assert (web.trained, utkface.trained) == (1, 0)


def scored(script, quality, persons=None, flipped=None, known=True):
    faces = len(quality)
    return script.fairness_rates.ScoredSet(
        "set",
        np.array([str(n) for n in range(faces)] if persons is None else persons),
        np.broadcast_to(known, faces),
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
                   "faces_of_unknown_persons": 0, "too_few": True}  # fmt: skip


def test_persons_that_nobody_names_are_not_counted(script):
    rates, everyone = script.fairness_rates, np.ones(400, bool)
    nobody = rates.group_row(scored(script, [80] * 400, known=False), "sex", "female", everyone)
    assert (nobody["persons"], nobody["faces_of_unknown_persons"]) == (None, 400)
    persons = [str(n) if n < 40 else f"person {n % 5}" for n in range(400)]
    some = scored(script, [80] * 400, persons, known=np.arange(400) >= 40)
    row = rates.group_row(some, "sex", "female", everyone)
    assert (row["persons"], row["faces_of_unknown_persons"]) == (5, 40)


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
    together = scored(
        script, np.repeat([80, 20] * 10, 20), np.repeat(np.arange(20).astype(str), 20)
    )
    everyone = np.ones(400, bool)
    widths = []
    for group in (alone, together):
        row = script.fairness_rates.group_row(group, "sex", "female", everyone)
        rate, low, high = row["gates"]["50"]["accepted"]
        assert rate == 0.5
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


def compared(script, quality, genuine, embedding=None):
    """Persons of two faces of equal quality, one mated pair each."""
    faces = np.arange(len(quality))
    a = faces[::2]
    return script.fairness_rates.ComparedPairs(
        scored(script, quality, [str(row // 2) for row in faces]),
        np.zeros((len(quality), 1)) if embedding is None else embedding,
        a,
        a + 1,
        np.ones(len(a), bool),
        genuine,
        np.zeros(0),
    )


def test_at_an_equal_error_each_group_has_a_gate_of_its_own(script):
    """Pairs fail below 40 in one group and below 70 in the other; qualities are 0..99 in both."""
    rates = script.fairness_rates
    quality = np.repeat(np.arange(100), 20)
    results = {}
    for limit in (40, 70):
        pairs = compared(script, quality, np.where(quality[::2] < limit, 0.1, 0.9))
        results[limit] = rates.pair_row(pairs, np.ones(len(quality), bool), 0.5, 0.0, 50)
    assert [row["accepted"][0] for row in results.values()] == [0.5, 0.5]
    assert [row["fnmr_accepted"][0] for row in results.values()] == [0.0, 0.4]
    assert [row["fnmr_all"][0] for row in results.values()] == [0.4, 0.7]
    assert [row["equal_error"]["gate"] for row in results.values()] == [40, 70]
    for row, share in zip(results.values(), (0.6, 0.3), strict=True):
        rate, low, high = row["equal_error"]["accepted"]
        assert rate == share
        assert share - 0.1 < low < share < high < share + 0.1


def test_a_gate_of_its_own_is_that_of_the_library(script):
    """Qualities and errors drawn at random, beside `edge-fiqa gate --fnmr` of the same pairs."""
    from edge_fiqa.calibration.gate_table import kind_of_use, remaining_errors
    from edge_fiqa.calibration.recommend import gate_for_fnmr
    from edge_fiqa.errors import ConfigError

    rng = np.random.default_rng(0)
    for target in (0.05, 0.1, 0.2, 0.3, 0.6):
        quality = rng.integers(0, 90, 500)
        wrong = rng.random(500) < 0.5 - quality / 180
        persons = [str(n) for n in range(500)]
        errors = remaining_errors(quality, wrong, persons, recogniser="", fmr=0.1, impostors=100)
        use = kind_of_use(quality, persons, name="", images="", errors=errors)
        try:
            expected = gate_for_fnmr(use, target)
        except ConfigError:
            expected = -1
        once = np.ones((1, 500))
        gates, accepted = script.fairness_rates.own_gates(
            quality, quality, wrong, once, once, target
        )
        assert gates.tolist() == [expected]
        share = 0 if expected < 0 else (quality >= expected).mean()
        assert accepted[0] == pytest.approx(share)


def test_an_error_that_no_gate_reaches_is_said(script):
    quality = np.repeat(np.arange(100), 20)
    pairs = compared(script, quality, np.full(1000, 0.1))
    row = script.fairness_rates.pair_row(pairs, np.ones(len(quality), bool), 0.5, 0.5, 50)
    assert row["equal_error"] is None


def test_false_matches_are_of_all_pairs_of_two_persons(script):
    """Of 300 persons with two faces each, 100 are of the group. Their faces point along one of two
    axes by turns, so that half of them look alike."""
    rates = script.fairness_rates
    axis = np.arange(600) // 2 % 2
    pairs = compared(script, np.full(600, 80), np.full(300, 0.9), np.eye(2)[axis])
    row = rates.pair_row(pairs, np.arange(600) < 200, 0.5, 0.1, 50)
    assert (row["faces"], row["persons"], row["mated_pairs"]) == (200, 100, 100)
    rate, low, high = row["fmr"]
    assert rate == pytest.approx(49 / 99, abs=1e-6)  # of the 99 others, 49 have the same axis
    assert low <= rate <= high


def test_too_few_pairs_have_no_rates(script):
    rates = script.fairness_rates
    everyone = np.ones(400, bool)
    pairs = compared(script, np.full(400, 80), np.full(200, 0.9))
    for mated in (29, 0):
        few = replace(
            pairs, a=pairs.a[:mated], b=pairs.b[:mated], same=pairs.same[:mated],
            genuine=pairs.genuine[:mated],
        )  # fmt: skip
        row = rates.pair_row(few, everyone, 0.5, 0.1, 50)
        assert row == {"faces": 400, "persons": 200, "mated_pairs": mated, "too_few": True}


def test_a_row_of_recognition_says_its_gate(script):
    """And the card puts this gate over the column, not that of the tables of groups."""
    quality = np.repeat(np.arange(100), 20)
    pairs = compared(script, quality, np.where(quality[::2] < 40, 0.1, 0.9))
    pairs = replace(pairs, impostor=np.linspace(0, 0.5, 20_000))
    (row,) = script.fairness.recognition_rows(script.fairness_card.RECOGNISER, [pairs], 7)
    assert row["gate"] == 7
    assert row["accepted"][0] == pytest.approx(0.93)
    text = script.fairness_card.errors({"recognition": [row], "gates": [7, 38, 63], "fmr": 1e-3})
    assert "| passes 7, % |" in text
    assert "and at gate 7.\n" in text
    assert "38" not in text.split("| --- ")[0]
    assert f"`{script.fairness_card.RECOGNISER}`" in text
    assert "an FMR of 0.001" in text


def test_what_a_gate_accepts_more_than_a_gate_of_equal_error(script):
    row = {"accepted": [0.9, 0.8, 0.95], "equal_error": {"gate": 3, "accepted": [0.7, 0.6, 0.85]}}
    assert script.fairness_card.excess(row) == pytest.approx([0.2, -0.05, 0.35])


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
    assert rates.in_order(tones)[1] == [
        "very light",
        "light to intermediate",
        "tan",
        "brown to dark",
    ]


def test_a_run_must_say_what_training_saw(script, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["fairness.py", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        script.fairness.main()
    assert ended.value.code == 2
    assert "--trained-on-more" in capsys.readouterr().err


def results_in_the_card():
    """Model -> file, as the tables say."""
    card = CARD.read_text(encoding="utf-8")
    names = re.findall(r"from `benchmarks/results/([\w-]+-fairness-(\w+)\.json)`", card)
    return {model: name for name, model in names}


def test_the_card_shows_the_results_that_it_names(script):
    """Else `fairness_card.py` was not run, or a table was changed by hand."""
    card = CARD.read_text(encoding="utf-8")
    results = {
        name: json.loads((FOLDER / "results" / name).read_text(encoding="utf-8"))
        for name in results_in_the_card().values()
    }
    block = card[card.index("<!-- fairness -->\n") : card.index("\n<!-- /fairness -->")]
    assert block == "<!-- fairness -->\n" + script.fairness_card.text(results)


def test_the_results_in_the_card_are_of_the_models_that_are_shipped():
    named = results_in_the_card()
    assert set(named) == {"nano"}
    for model, name in named.items():
        result = json.loads((FOLDER / "results" / name).read_text(encoding="utf-8"))
        manifest = json.loads((CARD.parent / f"{model}-int8/manifest.json").read_text("utf-8"))
        assert result["model"]["fingerprint"] == manifest["fingerprint"]


def test_a_card_is_written_between_its_marks(script, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    result = sorted((FOLDER / "results").glob("*-fairness-nano.json"))[-1]
    (tmp_path / "nano.json").write_bytes(result.read_bytes())
    card = tmp_path / "card.md"
    card.write_text("before\n<!-- fairness -->\nold\n<!-- /fairness -->\nafter\n")
    arguments = ["fairness_card.py", str(tmp_path / "nano.json"), "--card", str(card)]
    monkeypatch.setattr(sys, "argv", arguments)
    script.fairness_card.main()
    written = card.read_text()
    assert written.startswith("before\n<!-- fairness -->\n**nano** (INT8), from `b")
    assert written.endswith("|\n<!-- /fairness -->\nafter\n")
    assert "\nold\n" not in written
    assert (tmp_path / "nano.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        (True, "were part of its training, so their rows"),
        (False, "were no part of its training; of some sets, persons were."),
    ],
)
def test_the_card_says_what_training_saw(script, trained, words):
    result = {"model": {"name": "edge-fiqa-nano", "precision": "int8"}, "gates": [7, 38, 63]}
    text = script.fairness_card.stated("x.json", result | {"trained_on_more": trained})
    assert words in text
    assert "Gate 38 is the one that 95 % of portraits pass, gate 63 75 %" in text
    assert "Skin tone is here that of the face." in text


def test_the_card_counts_faces_of_persons_of_training(script):
    counts = {"trained_on_more": False, "faces_of_training_persons": {"more/a": 397, "more/b": 0}}
    training = script.fairness_card.training
    assert training(counts).endswith("training; faces of persons who were: more/a 397")
    counts["faces_of_training_persons"]["more/a"] = 0
    assert training(counts).endswith("training; faces of persons who were: none is known")


def test_groups_of_too_few_are_named_in_the_card(script):
    row = {"by": "age", "group": "0-2", "source": "more/utkface", "faces": 7, "persons": 7}
    cells = script.fairness_card.group_cells(row | {"too_few": True}, [38, 63])
    assert cells[:2] == ["7", "too few"]
    assert "".join(cells[2:]) == ""
