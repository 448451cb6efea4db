"""The loop: seeds repeat, every exit learns, early stopping stops."""

import errno
import os

import msgspec
import numpy as np
import pytest
import torch

from edge_fiqa.errors import CheckpointError, ConfigError
from edge_fiqa.files import lock_of, locked
from edge_fiqa.kept import SEAL_BYTES
from edge_fiqa.model.weights import load_weights
from edge_fiqa.training.curve import plot_curve, read_log
from edge_fiqa.training.loop import Trainer
from edge_fiqa.training.pace import pace
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.validation import judge
from tests.training.runs import CONFIG, LATE_FALL, SCHEDULE


def test_another_seed_gives_other_weights(faces, tmp_path):
    other = msgspec.structs.replace(SCHEDULE, seed=1)
    one = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a").run()
    two = Trainer(CONFIG, other, faces, tmp_path / "b").run()
    assert load_weights(one).fingerprint != load_weights(two).fingerprint


def test_a_level_rate_falls_at_last(faces, tmp_path):
    rates = [pace(Schedule(steps=100, warmup=0.1, decay_steps=20), step) for step in range(100)]
    assert rates[0] < 0.05
    assert rates[10:81] == [1.0] * 71
    assert (np.diff(rates[80:]) < 0).all()
    assert rates[-1] < 0.05
    batches = Trainer(CONFIG, LATE_FALL, faces, tmp_path).batches
    assert batches[3].kept is not None
    assert batches[4].kept is None


def test_parts_of_a_batch_give_the_gradient_of_the_whole(faces, tmp_path):
    """...where the loss is a mean over faces: without the pairs of the ranking term."""
    alone = msgspec.structs.replace(SCHEDULE, ranking=0.0, kept_patches=144)
    gradients = []
    for parts in (1, 2):
        schedule = msgspec.structs.replace(alone, parts=parts)
        trainer = Trainer(CONFIG, schedule, faces, tmp_path / str(parts))
        batch = trainer.batches[0]
        batch.quality.nan_to_num_(0.5)  # as many known labels in every part
        terms = trainer._gradients(batch)
        assert set(terms) == {"quality", "agreement", "distil", "maps"}
        gradients.append(torch.cat([p.grad.ravel() for p in trainer.parameters]))
    whole, halves = gradients
    assert (whole - halves).norm() < 0.02 * whole.norm()  # bfloat16


def test_parts_repeat_exactly(faces, tmp_path):
    schedule = msgspec.structs.replace(SCHEDULE, parts=2)
    models = [Trainer(CONFIG, schedule, faces, tmp_path / n).run() for n in "ab"]
    assert load_weights(models[0]).fingerprint == load_weights(models[1]).fingerprint


def test_held_out_persons_are_never_trained_on(faces, tmp_path):
    batches = Trainer(CONFIG, SCHEDULE, faces, tmp_path).batches
    held = set(faces.identity[batches.held_out])
    assert len(held) == 2
    drawn = np.concatenate([batches._rows(np.random.default_rng(s)) for s in range(200)])
    assert held.isdisjoint(faces.identity[drawn])
    assert set(drawn) == set(np.flatnonzero(~np.isin(faces.identity, list(held))))
    assert np.mean(drawn % 2 == 0) == pytest.approx(0.4, abs=0.05)


def test_the_same_step_sees_the_same_batch(faces, tmp_path):
    batches = Trainer(CONFIG, SCHEDULE, faces, tmp_path).batches
    one, again, other = batches[2], batches[2], batches[3]
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    assert one.maps[0].shape == (8, 72, 5)
    assert batches[5].kept is None  # the last fifth of the steps reads every patch


def test_early_stopping_and_the_curve(faces, tmp_path):
    still = msgspec.structs.replace(
        SCHEDULE, steps=500, validate_every=1, patience=2, learning_rate=0.0
    )
    Trainer(CONFIG, still, faces, tmp_path).run()
    rows = read_log(tmp_path / "log.ndjson")
    assert len(rows) == 3  # one validation sets the mark, two do not pass it
    assert set(rows[0]["validation"]) == {"exit 1", "exit 2", "FW", "FW clean"}
    assert plot_curve(tmp_path / "log.ndjson").stat().st_size > 5000


def test_only_the_last_exit_is_supervised_when_asked(faces, tmp_path):
    only = msgspec.structs.replace(SCHEDULE, supervision="last", distil=0.0, maps=0.0)
    trainer = Trainer(CONFIG, only, faces, tmp_path)
    terms = trainer._terms(trainer.batches[0])
    assert set(terms) == {"quality", "ranking"}


@pytest.mark.slow
def test_every_exit_learns(faces, tmp_path):
    schedule = Schedule(steps=60, batch=16, kept_patches=144, learning_rate=3e-3, held_out=0)
    trainer = Trainer(CONFIG, schedule, faces, tmp_path)
    trainer.run()
    trail = judge(trainer.student, trainer.average, trainer.batches, faces.images)[0]
    assert (trail[::2].mean(0) > trail[1::2].mean(0) + 0.5).all()


def test_a_full_disk_is_one_line_and_the_checkpoint_stays(faces, tmp_path, monkeypatch):
    trainer = Trainer(CONFIG, SCHEDULE, faces, tmp_path, checkpoint_every=1)
    trainer._checkpoint("latest.pt")
    before = (tmp_path / "latest.pt").read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"latest\.pt cannot be written: No space left"):
        trainer.run()
    assert (tmp_path / "latest.pt").read_bytes() == before
    assert not (tmp_path / "model.safetensors").exists()
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_a_damaged_checkpoint_is_refused_and_an_older_one_read(faces, tmp_path):
    trainer = Trainer(CONFIG, SCHEDULE, faces, tmp_path)
    trainer._checkpoint("latest.pt")
    path = tmp_path / "latest.pt"
    data = path.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1  # within the weights: torch would read it without a word
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match="damaged or was changed; delete it to train"):
        Trainer(CONFIG, SCHEDULE, faces, tmp_path)
    path.write_bytes(data[:-SEAL_BYTES])  # as older versions wrote them
    assert Trainer(CONFIG, SCHEDULE, faces, tmp_path).step == trainer.step


def test_two_runs_do_not_train_in_one_folder(faces, tmp_path):
    first, second = (Trainer(CONFIG, SCHEDULE, faces, tmp_path) for _ in range(2))
    busy = pytest.raises(ConfigError, match="another run trains there")
    with locked(lock_of(tmp_path / "log.ndjson"), "busy"), busy:
        second.run()
    first.run()


def test_a_model_of_somebody_else_is_not_replaced(faces, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"holds a model\.safetensors and no latest\.pt"):
        Trainer(CONFIG, SCHEDULE, faces, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


def test_a_log_line_that_a_kill_cut_short_is_removed(faces, tmp_path):
    (tmp_path / "log.ndjson").write_bytes(b'{"step": 1, "quality": 2.0}\n{"step": 2, "qua')
    Trainer(CONFIG, SCHEDULE, faces, tmp_path).run()
    steps = [row["step"] for row in read_log(tmp_path / "log.ndjson")]
    assert steps[0] == 1
    assert steps == sorted(set(steps))
    plot_curve(tmp_path / "log.ndjson")
