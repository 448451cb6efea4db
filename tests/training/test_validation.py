"""What a run says of itself, by its averaged weights."""

import dataclasses
import json

import msgspec
import numpy as np
import torch

from edge_fiqa.training.loop import Trainer
from edge_fiqa.training.validation import judge, shares_right, validate
from tests.causes import limits_of
from tests.training.runs import CONFIG, SCHEDULE


def test_causes_are_learnt_and_said(faces, tmp_path):
    """Every second face is dark: of one cause; a second one is never known."""
    causes = np.full((40, 2), np.nan, np.float32)
    causes[:, 0] = np.arange(40) % 2
    known = dataclasses.replace(faces, causes=causes, cause_names=("dark", "never_known"))
    schedule = msgspec.structs.replace(SCHEDULE, steps=60, causes=1.0, learning_rate=1e-2, ema=0.5)
    trainer = Trainer(CONFIG, schedule, known, tmp_path)
    trainer.run()
    logits = judge(trainer.student, trainer.average, trainer.batches, faces.images)[1]
    assert logits.shape == (40, 2, 2)
    dark = logits[1::2, :, 0], logits[::2, :, 0]
    assert (dark[0].min(0) > dark[1].max(0)).all()
    last = json.loads((tmp_path / "log.ndjson").read_text(encoding="utf-8").splitlines()[-1])
    assert last["validation"]["causes 2"] > 0


def test_judging_changes_no_weights(faces, tmp_path):
    trainer = Trainer(CONFIG, SCHEDULE, faces, tmp_path)
    trainer.run()
    before = {name: value.clone() for name, value in trainer.student.state_dict().items()}
    validate(trainer.student, trainer.average, trainer.batches)
    after = trainer.student.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert trainer.student.training


def test_two_held_out_faces_say_nothing(faces, tmp_path):
    trainer = Trainer(CONFIG, SCHEDULE, faces, tmp_path)
    trainer.batches.held_out = trainer.batches.held_out[:2]
    assert validate(trainer.student, trainer.average, trainer.batches) == {}


LIMITS = limits_of(("dark", "noise"), (1, 2, 3), ((0.0, 0.0),) * 3)
THERE = np.array([[0.8, 0.0], [0.0, 0.8]] * 50, np.float32)


def test_an_exit_that_sees_every_cause_is_always_right():
    assert shares_right(np.stack([5 * THERE - 1] * 3, 1), THERE, LIMITS) == (1.0, 1.0, 1.0)


def test_an_exit_that_takes_one_cause_for_the_other_is_right_for_half_of_the_faces():
    logits = np.stack([5 * THERE - 1] * 3, 1)
    logits[:, 1] = [3, 1]
    assert shares_right(logits, THERE, LIMITS) == (1.0, 0.5, 1.0)


def test_only_faces_for_which_something_is_reported_count():
    logits = np.stack([5 * THERE - 1] * 3, 1)
    logits[1::2, 1] = -1  # nothing is said of noise
    logits[:29, 2] = [9, 1]  # and of too few
    logits[29:, 2] = -1
    assert shares_right(logits, THERE, LIMITS) == (1.0, 1.0, None)
    assert shares_right(logits[:0], THERE[:0], LIMITS) == (None,) * 3


def test_a_cause_that_is_hardly_there_is_not_right():
    assert shares_right(np.stack([5 * THERE - 1] * 3, 1), THERE / 4, LIMITS) == (0.0,) * 3


def test_what_is_most_unusual_but_below_its_limit_is_not_the_first():
    """The darkness of every face is 8 spreads above the usual, and hardly there."""
    logits = np.stack([5 * THERE - 1] * 3, 1)
    logits[..., 0] = -1
    limits = msgspec.structs.replace(LIMITS, usual=((-9.0, -1.0),) * 3)
    assert limits.unusual(logits[1, 0], 1).argmax() == 0
    assert shares_right(logits[1::2], THERE[1::2], limits) == (1.0, 1.0, 1.0)


def test_a_first_cause_of_which_nothing_is_known_does_not_count():
    there = THERE.copy()
    there[0, 0] = np.nan  # a mask that was there before
    logits = np.stack([5 * THERE - 1] * 3, 1)
    logits[2:, 0] = [-1, 3]  # noise is said of all others, which is right of every second
    assert shares_right(logits, there, LIMITS) == (round(50 / 99, 3), 1.0, 1.0)
