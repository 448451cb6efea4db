"""The loop: a kill changes nothing, seeds repeat, every exit learns, early stopping stops."""

import dataclasses
import errno
import json
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
from edge_fiqa.training.faces import TrainingFaces
from edge_fiqa.training.loop import Trainer
from edge_fiqa.training.pace import pace
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.types import VitConfig

CONFIG = VitConfig(width=16, depth=2, heads=2)
SCHEDULE = Schedule(steps=6, batch=8, held_out=0.2, validate_every=3)


@pytest.fixture
def faces():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 112, 112, 3), dtype=np.uint8)
    images[1::2] //= 4  # every second version is dark, and bad
    quality = np.tile(np.array([1, -1], np.float32), 20)
    quality[3] = np.nan
    return TrainingFaces(
        images,
        quality,
        np.arange(40) // 4,
        np.arange(40) % 2 == 0,
        np.ones(40, bool),
        (rng.normal(size=(40, 4)).astype(np.float16),),
        (rng.normal(size=(40, 5, 7, 7)).astype(np.float16),),
    )


def test_a_killed_run_ends_with_the_same_weights(faces, tmp_path):
    torch.set_num_threads(1)
    whole = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a", checkpoint_every=3).run()
    interrupted = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "b", checkpoint_every=3)
    for _ in range(4):
        interrupted._one_step()
        if interrupted.step == 3:
            interrupted._checkpoint("latest.pt")
    resumed = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "b", checkpoint_every=3)
    assert resumed.step == 3
    found, expected = load_weights(resumed.run()), load_weights(whole)
    assert found.fingerprint == expected.fingerprint
    assert found.config == CONFIG


def test_causes_are_learnt_and_said(faces, tmp_path):
    """Every second face is dark: of one cause; a second one is never known."""
    causes = np.full((40, 2), np.nan, np.float32)
    causes[:, 0] = np.arange(40) % 2
    known = dataclasses.replace(faces, causes=causes)
    schedule = msgspec.structs.replace(SCHEDULE, steps=60, causes=1.0, learning_rate=1e-2, ema=0.5)
    trainer = Trainer(CONFIG, schedule, known, tmp_path)
    trainer.run()
    logits = trainer.judged(faces.images)[1]
    assert logits.shape == (40, 2, 2)
    dark = logits[1::2, :, 0], logits[::2, :, 0]
    assert (dark[0].min(0) > dark[1].max(0)).all()
    last = json.loads((tmp_path / "log.ndjson").read_text(encoding="utf-8").splitlines()[-1])
    assert last["validation"]["causes 2"] > 0


def test_another_seed_gives_other_weights(faces, tmp_path):
    other = msgspec.structs.replace(SCHEDULE, seed=1)
    one = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a").run()
    two = Trainer(CONFIG, other, faces, tmp_path / "b").run()
    assert load_weights(one).fingerprint != load_weights(two).fingerprint


def test_a_checkpoint_of_another_schedule_is_not_continued(faces, tmp_path):
    Trainer(CONFIG, SCHEDULE, faces, tmp_path).run()
    with pytest.raises(CheckpointError, match="another schedule"):
        Trainer(CONFIG, msgspec.structs.replace(SCHEDULE, steps=9), faces, tmp_path)
    (tmp_path / "latest.pt").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="latest"):
        Trainer(CONFIG, SCHEDULE, faces, tmp_path)


STABLE = msgspec.structs.replace(SCHEDULE, steps=6, decay_steps=2, kept_patches=20)


def test_a_longer_run_goes_on_from_before_the_decay(faces, tmp_path):
    """...and ends as if it had been meant to be that long from the start."""
    longer = msgspec.structs.replace(STABLE, steps=9, warmup=0.0)
    shorter = msgspec.structs.replace(longer, steps=6)
    whole = Trainer(CONFIG, longer, faces, tmp_path / "whole").run()
    Trainer(CONFIG, shorter, faces, tmp_path / "a").run()
    resumed = Trainer(CONFIG, longer, faces, tmp_path / "a")
    assert resumed.step == 4
    assert load_weights(resumed.run()).fingerprint == load_weights(whole).fingerprint


def test_a_decay_begins_early_but_not_in_the_past(faces, tmp_path):
    Trainer(CONFIG, STABLE, faces, tmp_path).run()
    late = msgspec.structs.replace(STABLE, steps=5)  # its rate should have begun to fall at step 3
    with pytest.raises(CheckpointError, match="another schedule"):
        Trainer(CONFIG, late, faces, tmp_path)


def test_a_level_rate_falls_at_last(faces, tmp_path):
    rates = [pace(Schedule(steps=100, warmup=0.1, decay_steps=20), step) for step in range(100)]
    assert rates[0] < 0.05
    assert rates[10:81] == [1.0] * 71
    assert (np.diff(rates[80:]) < 0).all()
    assert rates[-1] < 0.05
    batches = Trainer(CONFIG, STABLE, faces, tmp_path).batches
    assert batches[3].kept is not None
    assert batches[4].kept is None


def test_a_run_starts_from_a_model_without_its_teachers(faces, tmp_path):
    model = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a").run()
    begun = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "b", start=model)
    np.testing.assert_allclose(
        begun.judged(faces.images)[0],
        Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a").judged(faces.images)[0],
        atol=0.02,  # the model is kept in float16
    )


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


def test_a_wider_model_starts_from_a_narrower_run(faces, tmp_path):
    Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a").run()
    wide = VitConfig(width=32, depth=2, heads=4)
    grown = Trainer(wide, SCHEDULE, faces, tmp_path / "b", start=tmp_path / "a/latest.pt")
    assert load_weights(grown.run()).config == wide


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
    trail = trainer.judged(faces.images)[0]
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
