"""Gates of an old model and of a new one that pass as many faces."""

import numpy as np
import pytest

from edge_fiqa.calibration.gate_map import same_share, shared_uses, shares_differ
from edge_fiqa.calibration.gate_table import GateTable, kind_of_use
from edge_fiqa.errors import ConfigError

PERSONS = [str(number) for number in range(1000)]


def use(quality, name="portrait", images="faces"):
    return kind_of_use(np.asarray(quality), PERSONS[: len(quality)], name=name, images=images)


OLD = np.random.default_rng(0).integers(20, 90, 1000)


@pytest.mark.parametrize("gate", [30, 45, 60, 88])
def test_a_model_whose_qualities_are_ten_lower_has_gates_ten_lower(gate):
    assert same_share(gate, use(OLD), use(OLD - 10)) == gate - 10


@pytest.mark.parametrize("gate", range(0, 101, 5))
def test_the_share_that_passes_is_as_near_as_it_can_be(gate):
    new = np.random.default_rng(1).integers(0, 101, 1000) ** 2 // 100
    shares = [(new >= other).mean() for other in range(101)]
    now = same_share(gate, use(OLD), use(new))
    wanted = (gate <= OLD).mean()
    assert abs(shares[now] - wanted) == pytest.approx(
        np.abs(np.array(shares) - wanted).min(), abs=1e-5
    )


def test_a_gate_that_all_pass_stays_where_it_is_if_all_pass_there_still():
    assert same_share(10, use(OLD), use(OLD + 5)) == 10
    assert same_share(20, use(OLD), use(OLD - 15)) == 5


def test_only_the_same_faces_are_compared():
    street = use(OLD // 2, "street")
    pairs = shared_uses(
        GateTable("FW", (use(OLD), street)), GateTable("FW", (street, use(OLD[:9])))
    )
    assert pairs == [(street, street)]


@pytest.mark.parametrize("other", [use(OLD, "own"), use(OLD, images="others"), use(OLD[:999])])
def test_other_faces_are_refused(other):
    with pytest.raises(ConfigError, match="on other faces"):
        shared_uses(GateTable("FW", (use(OLD),)), GateTable("FW", (other,)))


def test_no_gate_stays_no_gate():
    with_lost = np.where(np.arange(1000) < 30, -1, OLD)
    assert same_share(0, use(with_lost), use(OLD)) == 0
    assert not shares_differ(0, use(with_lost), use(OLD))


def test_it_is_noticed_where_no_gate_passes_nearly_as_many():
    two_values = use(np.repeat([20, 80], 500))
    assert shares_differ(30, use(OLD), two_values)
    assert not shares_differ(30, use(OLD), use(OLD - 10))


def test_two_fusion_rules_are_refused():
    with pytest.raises(ConfigError, match="fusion FW, and these of F"):
        shared_uses(GateTable("FW", (use(OLD),)), GateTable("F", (use(OLD),)))
