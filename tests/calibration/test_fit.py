"""From trails to a calibration: what it says is true of faces that it has not seen."""

import msgspec
import numpy as np
import pytest

from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.calibration.estimate import Estimator
from edge_fiqa.calibration.fit import fit_calibration, fitted_on
from edge_fiqa.calibration.scale import Sigmoid
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import RULES, fuse

EXITS = (1, 2, 3, 4, 5, 6)


def trails(faces, seed=0):
    """Exits on different scales that come closer and closer to the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(faces, 1))
    noise = rng.normal(size=(faces, 6)) * [1.0, 0.6, 0.4, 0.3, 0.2, 0.15]
    return ((truth + noise) * np.linspace(0.3, 2, 6) + np.arange(6)).astype(np.float32)


def fit(trail, groups=None, **options):
    names = [str(row) for row in range(len(trail))] if groups is None else groups
    stated = {"model": "m", "fingerprint": "f" * 20, "exits": EXITS, "images": "numbers"}
    return fit_calibration(trail, names, **stated, **options)


@pytest.fixture(scope="module")
def found():
    return fit(trails(3000))


def test_every_depth_of_every_rule_estimates_the_full_score(found):
    unseen = trails(3000, seed=1)
    assert set(found.rules) == set(RULES)
    for rule in RULES:
        estimator = Estimator.of(found, rule)
        full = fuse(unseen, 6, rule)
        misses = []
        for depth in EXITS:
            estimate = estimator.estimate(fuse(unseen, depth, rule), depth)
            assert abs((full - estimate).mean()) < 0.06 * full.std()
            misses.append(np.abs(full - estimate).mean())
        assert misses[-1] == 0
        assert misses[4] < misses[2] < misses[0]


def test_intervals_hold_nine_in_ten_unseen_faces(found):
    unseen = trails(4000, seed=2)
    estimator = Estimator.of(found, "FW")
    full = estimator.scale.quality(fuse(unseen, 6))
    for depth in EXITS[:-1]:
        qualities = estimator.qualities(fuse(unseen, depth), np.full(4000, depth))
        inside = (qualities.low <= full) & (full <= qualities.high)
        assert 0.87 < inside.mean() < 0.96
        assert (qualities.low <= qualities.quality).all()
        assert (qualities.quality <= qualities.high).all()
    qualities = estimator.qualities(fuse(unseen, 6), np.full(4000, 6))
    assert (qualities.low == qualities.high).all()


def test_judging_a_mixed_batch_is_judging_each(found):
    unseen = trails(50, seed=3)
    estimator = Estimator.of(found, "FW")
    depth = np.arange(50) % 6 + 1
    score = fuse(unseen, depth)
    score[7] = np.nan
    mixed = estimator.qualities(score, depth)
    assert np.isnan(mixed.estimate[7])
    for row in set(range(50)) - {7}:
        alone = estimator.qualities(score[row : row + 1], depth[row : row + 1])
        assert (mixed.quality[row], mixed.low[row]) == (alone.quality[0], alone.low[0])


def test_groups_are_never_torn_apart():
    groups = [f"person {row // 7}" for row in range(3000)]
    fitting = fitted_on(trails(3000), groups)
    assert 0.35 < fitting.mean() < 0.45
    assert not {g for g, f in zip(groups, fitting, strict=True) if f} & {
        g for g, f in zip(groups, fitting, strict=True) if not f
    }


def test_promises_state_what_they_were_tested_on(found):
    promises = found.rules["FW"].promises
    assert [promise.risk for promise in promises] == [0.01, 0.005, 0.02, 0.05]
    assert {promise.faces for promise in promises} == {1800}
    assert all(len(promise.gates) == 101 for promise in promises)
    assert promises[1].all_gates > promises[0].all_gates > promises[2].all_gates


def test_a_scale_that_is_given_is_kept():
    given = Sigmoid(2.0, 0.25)
    assert fit(trails(300), fusions=["FW"], scale=given).rules["FW"].scale == given


def test_custom_weights_are_calibrated_by_their_name():
    weights = (1.0, 0.0, 0.0, 0.0, 0.0, 3.0)
    found = fit(trails(300), fusions=[weights])
    assert list(found.rules) == ["1,0,0,0,0,3"]
    Estimator.of(found, weights)
    with pytest.raises(ConfigError, match="--fusion FW"):
        Estimator.of(found, "FW")


def test_broken_faces_are_left_out_and_few_are_refused():
    broken = trails(300)
    broken[::3] = np.nan
    assert fit(broken).faces == 200
    with pytest.raises(ConfigError, match="at least 100 faces, found 99"):
        fit(trails(99))
    with pytest.raises(ConfigError, match="of one person"):
        fit(trails(200), ["one"] * 200)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        fit(trails(200), risks=[0.0])


def test_the_file_is_frozen_and_belongs_to_one_model(found, tmp_path):
    path = tmp_path / "calibration.json"
    found.save(path)
    assert load_calibration(path, found.fingerprint) == found
    assert fit(trails(3000)).id == found.id  # the same faces, the same file
    with pytest.raises(ConfigError, match="made for another model"):
        load_calibration(path, "another")
    text = path.read_text(encoding="utf-8")
    for damaged in (text[:-30], text.replace('"spread"', '"sprawl"'), "[]", "\xff"):
        path.write_text(damaged, encoding="latin-1")
        with pytest.raises(ConfigError, match=r"calibration\.json is not a calibration"):
            load_calibration(path)
    with pytest.raises(ConfigError, match="No such file"):
        load_calibration(tmp_path / "absent.json")
    with pytest.raises(ConfigError, match="cannot be written"):
        found.save(tmp_path)
    assert msgspec.json.decode(text, type=Calibration).id == found.id
