"""From logits to reasons: what is reported, in which order, with which instruction."""

import msgspec
import numpy as np

from edge_fiqa.reasons.causes import CAUSES
from edge_fiqa.reasons.report import ReportedCause, cause_values, reasons_of
from tests.causes import limits_of

LIMITS = limits_of(
    ("compression", "motion_blur", "yaw"), (2, 4), ((9.0, 9.0, 9.0), (0.0, -1.0, 1.0))
)


def reasons(*logits, exit=4):
    return reasons_of(np.array(logits, np.float32), exit, LIMITS)


def test_a_good_face_has_values_and_no_reason():
    answer = reasons(-3, -3, -3)
    assert answer.reported == ()
    assert answer.instruction is None
    assert answer.values == {"compression": 95, "motion_blur": 95, "yaw": 95}


def test_causes_above_their_limits_are_reported_most_unusual_first():
    answer = reasons(-1, 0, 5)
    assert answer.reported == (
        ReportedCause("yaw", "HeadPoseYaw", 1),
        ReportedCause("motion_blur", "Sharpness", 50),
    )
    assert answer.instruction == CAUSES["yaw"].instruction


def test_what_is_many_spreads_from_usual_comes_before_what_is_far_above_its_limit():
    limits = msgspec.structs.replace(
        limits_of(("noise", "yaw"), (1,), ((0.0, 0.0),)),
        usual=((-4.0, -0.5),),
        spread=((4.0, 0.5),),
    )
    answer = reasons_of(np.array([2.0, 1.0], np.float32), 1, limits)
    assert [each.cause for each in answer.reported] == ["yaw", "noise"]


def test_what_is_most_unusual_but_below_its_limit_is_not_reported():
    limits = msgspec.structs.replace(
        limits_of(("noise", "yaw"), (1,), ((0.0, 0.0),)), usual=((-9.0, -1.0),)
    )
    answer = reasons_of(np.array([-0.5, 1.0], np.float32), 1, limits)
    assert [each.cause for each in answer.reported] == ["yaw"]
    assert answer.instruction == CAUSES["yaw"].instruction


def test_the_instruction_is_of_the_first_cause_that_a_person_can_change():
    answer = reasons(8, -0.5, -9)
    assert [each.cause for each in answer.reported] == ["compression", "motion_blur"]
    assert answer.instruction == "hold still"


def test_limits_are_those_of_the_exit():
    assert reasons(-1, 0, 5, exit=2).reported == ()


def test_a_broken_logit_gives_no_reasons():
    assert reasons(np.nan, 0, 0) is None


def test_a_cause_that_is_not_ours_is_reported_without_component():
    limits = limits_of(("rain",), (1,), ((0.0,),))
    answer = reasons_of(np.array([2.0], np.float32), 1, limits)
    assert answer.reported == (ReportedCause("rain", None, 12),)
    assert answer.instruction is None


def test_a_value_is_what_is_left_of_the_expected_strength():
    assert cause_values(np.array([0.0, np.log(9), -np.log(9), 1e6, -1e6])).tolist() == [
        50, 10, 90, 0, 100,
    ]  # fmt: skip
