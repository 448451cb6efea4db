"""A run that ended early goes on, and ends as if it had never been interrupted."""

import msgspec
import pytest

from edge_fiqa.errors import CheckpointError
from edge_fiqa.model.weights import load_weights
from edge_fiqa.training.export import MODEL
from edge_fiqa.training.loop import Trainer
from edge_fiqa.types import VitConfig
from tests.training.runs import CONFIG, LATE_FALL, SCHEDULE, assert_same, kept_in


def test_a_killed_run_ends_with_the_same_weights(faces, tmp_path):
    Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a", checkpoint_every=3).run()
    interrupted = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "b", checkpoint_every=3)

    def kill_after_four_steps():
        if interrupted.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.run(kill_after_four_steps)
    resumed = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "b", checkpoint_every=3)
    assert resumed.step == 3
    assert load_weights(resumed.run()).config == CONFIG
    assert_same(kept_in(tmp_path / "b"), kept_in(tmp_path / "a"))


@pytest.mark.parametrize("schedule", [SCHEDULE, LATE_FALL], ids=["cosine", "late fall"])
def test_a_run_that_is_stopped_at_every_step_ends_with_the_same_weights(faces, tmp_path, schedule):
    Trainer(CONFIG, schedule, faces, tmp_path / "whole").run()
    for steps in range(schedule.steps):
        trainer = Trainer(CONFIG, schedule, faces, tmp_path / "stopped")
        assert trainer.step == steps
        asked = iter([False, True])
        ended = trainer.run(lambda: next(asked))  # noqa: B023, it is used up in this turn
        assert (ended is None) == (steps + 1 < schedule.steps)
    assert trainer.step == schedule.steps
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    assert (stopped / MODEL).read_bytes() == (whole / MODEL).read_bytes()
    checkpoints = ["latest.pt", "stable.pt"] if schedule.decay_steps else ["latest.pt"]
    assert sorted(path.name for path in stopped.glob("*.pt")) == checkpoints
    for name in checkpoints:
        assert_same(kept_in(stopped, name), kept_in(whole, name))


def test_a_run_that_is_stopped_before_its_first_step_has_lost_nothing(faces, tmp_path):
    assert Trainer(CONFIG, SCHEDULE, faces, tmp_path).run(lambda: True) is None
    assert Trainer(CONFIG, SCHEDULE, faces, tmp_path).step == 0


def test_what_a_kill_left_half_written_is_removed(faces, tmp_path):
    names = (".latest.pt.0a1b2c3d.part", ".model.safetensors.0a1b2c3d.part", ".mine.part")
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    Trainer(CONFIG, SCHEDULE, faces, tmp_path).run()
    assert [path.name for path in tmp_path.glob(".*.part")] == [".mine.part"]


def test_patience_goes_on_counting(faces, tmp_path):
    still = msgspec.structs.replace(
        SCHEDULE, steps=500, validate_every=1, patience=2, learning_rate=0.0
    )
    for step in (1, 2, 3, 3):
        trainer = Trainer(CONFIG, still, faces, tmp_path)
        asked = iter([False, True])
        trainer.run(lambda: next(asked))  # noqa: B023
        assert trainer.step == step
    assert (tmp_path / MODEL).exists()


def test_a_run_of_another_model_or_other_teachers_is_not_continued(faces, tmp_path):
    Trainer(CONFIG, SCHEDULE, faces, tmp_path).run()
    with pytest.raises(CheckpointError, match="another model, other teachers or other causes"):
        Trainer(VitConfig(width=32, depth=2, heads=2), SCHEDULE, faces, tmp_path)


def test_a_checkpoint_of_another_schedule_is_not_continued(faces, tmp_path):
    Trainer(CONFIG, SCHEDULE, faces, tmp_path).run()
    with pytest.raises(CheckpointError, match="another schedule"):
        Trainer(CONFIG, msgspec.structs.replace(SCHEDULE, steps=9), faces, tmp_path)
    (tmp_path / "latest.pt").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="latest"):
        Trainer(CONFIG, SCHEDULE, faces, tmp_path)


def test_a_longer_run_goes_on_from_before_the_decay(faces, tmp_path):
    """...and ends as if it had been meant to be that long from the start."""
    longer = msgspec.structs.replace(LATE_FALL, steps=9, warmup=0.0)
    shorter = msgspec.structs.replace(longer, steps=6)
    whole = Trainer(CONFIG, longer, faces, tmp_path / "whole").run()
    Trainer(CONFIG, shorter, faces, tmp_path / "a").run()
    resumed = Trainer(CONFIG, longer, faces, tmp_path / "a")
    assert resumed.step == 4
    assert load_weights(resumed.run()).fingerprint == load_weights(whole).fingerprint


def test_a_decay_begins_early_but_not_in_the_past(faces, tmp_path):
    Trainer(CONFIG, LATE_FALL, faces, tmp_path).run()
    late = msgspec.structs.replace(
        LATE_FALL, steps=5
    )  # its rate should have begun to fall at step 3
    with pytest.raises(CheckpointError, match="another schedule"):
        Trainer(CONFIG, late, faces, tmp_path)


def test_a_run_that_is_shortened_to_where_it_stands_can_be_made_longer_again(faces, tmp_path):
    """Its rate falls at once, and what was before the fall is kept."""
    longer = msgspec.structs.replace(LATE_FALL, steps=9, warmup=0.0)
    begun = Trainer(CONFIG, longer, faces, tmp_path)
    begun.run(lambda: begun.step == 3)
    Trainer(CONFIG, msgspec.structs.replace(longer, steps=5), faces, tmp_path).run()
    assert Trainer(CONFIG, longer, faces, tmp_path).step == 3
