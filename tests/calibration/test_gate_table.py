"""The table counts faces and pairs; expected values are counted by hand, or are published."""

import msgspec
import numpy as np
import pytest
from scipy.stats import binomtest

from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.calibration.gate_table import (
    LEAST_PAIRS,
    GateTable,
    kind_of_use,
    remaining_errors,
    wilson,
)
from edge_fiqa.errors import ConfigError
from tests.calibrated import calibration_of_numbers


def names(count):
    return [str(row) for row in range(count)]


def errors_of(quality, fails, persons):
    return remaining_errors(
        np.asarray(quality), np.asarray(fails), persons, recogniser="r", fmr=1e-3, impostors=10_000
    )


def test_a_face_passes_the_gate_that_it_equals():
    use = kind_of_use(np.array([-1, 0, 50, 100]), names(4), name="door", images="faces of four")
    assert (use.faces, use.persons) == (4, 4)
    assert [use.passing.rate[gate] for gate in (0, 1, 50, 51, 100)] == [0.75, 0.5, 0.5, 0.25, 0.25]


def test_the_error_is_of_the_pairs_that_pass():
    quality = np.repeat([20, 60], [40, 50])
    fails = np.arange(90) % 10 < np.where(
        quality == 20, 5, 1
    )  # half of the low, a tenth of the high
    errors = errors_of(quality, fails, names(90))
    assert errors.pairs[0] == errors.pairs[20] == 90
    assert errors.pairs[21] == errors.pairs[60] == 50
    assert errors.fnmr.rate[0] == pytest.approx(25 / 90, abs=1e-5)
    assert errors.fnmr.rate[60] == 0.1
    assert errors.fnmr.rate[61] is None
    assert errors.fnmr.text(61) == "NA"


def test_too_few_pairs_say_nothing():
    errors = errors_of(np.full(LEAST_PAIRS - 1, 50), np.zeros(LEAST_PAIRS - 1, bool), names(29))
    assert set(errors.fnmr.rate) == {None}


@pytest.mark.parametrize(("hits", "count"), [(0, 40), (3, 100), (50, 100), (40, 40)])
def test_the_interval_is_wilsons(hits, count):
    ours = wilson(np.array([hits / count]), np.array([float(count)]))
    theirs = binomtest(hits, count).proportion_ci(method="wilson")
    assert ours[0][0] == pytest.approx(theirs.low, abs=1e-6)
    assert ours[1][0] == pytest.approx(theirs.high, abs=1e-6)


def test_independent_pairs_have_the_plain_interval():
    fails = np.random.default_rng(0).random(2000) < 0.1
    rates = errors_of(np.full(2000, 50), fails, names(2000)).fnmr
    theirs = binomtest(int(fails.sum()), 2000).proportion_ci(method="wilson")
    assert rates.low[0] == pytest.approx(theirs.low, abs=2e-4)
    assert rates.high[0] == pytest.approx(theirs.high, abs=2e-4)


def test_pairs_that_fail_together_count_as_one():
    """Ten copies of each pair say no more than the pair itself."""
    fails = np.random.default_rng(0).random(200) < 0.1
    alone = errors_of(np.full(200, 50), fails, names(200)).fnmr
    persons = np.repeat(names(200), 10).tolist()
    copied = errors_of(np.full(2000, 50), np.repeat(fails, 10), persons).fnmr
    assert copied.rate[0] == alone.rate[0]
    assert copied.low[0] == pytest.approx(alone.low[0], abs=1e-3)
    assert copied.high[0] == pytest.approx(alone.high[0], abs=1e-3)


def test_the_interval_holds_the_true_rate_as_often_as_it_says():
    """Persons fail at rates of their own around 10 %, and have up to 20 pairs; 95 % of 400 draws."""
    rng, holds = np.random.default_rng(1), 0
    for _ in range(400):
        sizes = rng.integers(1, 21, 80)
        persons = np.repeat(names(80), sizes).tolist()
        fails = rng.random(sizes.sum()) < np.repeat(rng.beta(0.5, 4.5, 80), sizes)
        rates = errors_of(np.full(sizes.sum(), 50), fails, persons).fnmr
        holds += rates.low[0] <= 0.1 <= rates.high[0]
    assert 0.90 <= holds / 400 <= 0.99


def test_faces_of_one_person_are_one_face():
    use = kind_of_use(np.arange(100), ["she"] * 100, name="door", images="faces")
    assert use.passing.rate[50] == 0.5
    assert use.passing.low[50] < 0.1
    assert use.passing.high[50] > 0.9


def test_a_file_with_a_table_is_read_back_under_the_same_name(tmp_path):
    plain = calibration_of_numbers()
    use = kind_of_use(np.arange(100), names(100), name="door", images="faces")
    calibration = msgspec.structs.replace(plain, gate_table=GateTable("FW", (use,)))
    calibration.save(tmp_path / "c.json")
    assert load_calibration(tmp_path / "c.json") == calibration
    assert calibration.id == plain.id  # it changes no quality, so records stay comparable


def test_a_file_without_a_table_is_as_it_was_before_there_were_any(tmp_path):
    calibration_of_numbers().save(tmp_path / "c.json")
    assert b"gate_table" not in (tmp_path / "c.json").read_bytes()
    assert load_calibration(tmp_path / "c.json").gate_table is None


def test_a_table_of_other_length_is_refused(tmp_path):
    use = kind_of_use(np.arange(100), names(100), name="door", images="faces")
    tree = msgspec.to_builtins(
        msgspec.structs.replace(calibration_of_numbers(), gate_table=GateTable("FW", (use,)))
    )
    for value in ([0.5] * 100, [1.5] * 101):
        tree["gate_table"]["uses"][0]["passing"]["rate"] = value
        (tmp_path / "c.json").write_bytes(msgspec.json.encode(tree))
        with pytest.raises(ConfigError, match="is not a calibration"):
            load_calibration(tmp_path / "c.json")
