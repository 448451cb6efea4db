"""What people read of reasons."""

import pytest

from edge_fiqa.reasons.report import Reasons, ReportedCause
from edge_fiqa.reasons.words import causes_in_words, reasons_in_words


def of(instruction, *causes):
    return Reasons(instruction, tuple(ReportedCause(cause, None, 10) for cause in causes), {})


@pytest.mark.parametrize(
    ("reasons", "causes", "text"),
    [
        (None, "", ""),
        (of(None), "", ""),
        (of("hold still", "motion_blur"), "motion blur", "hold still: motion blur"),
        (of(None, "compression"), "compression", "compression"),
        (of("come closer", "a", "b", "c", "d"), "a, b, c", "come closer: a, b, c"),
    ],
)
def test_the_instruction_and_at_most_three_causes(reasons, causes, text):
    assert causes_in_words(reasons) == causes
    assert reasons_in_words(reasons) == text


def test_fewer_causes_where_there_is_little_room():
    assert causes_in_words(of(None, "low_contrast", "yaw"), most=1) == "low contrast"
