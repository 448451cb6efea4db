"""The model of a run: averaged weights, and the heads of causes beside them."""

import dataclasses

import msgspec
import numpy as np
import pytest

from edge_fiqa.model.weights import load_weights
from edge_fiqa.training.loop import Trainer
from edge_fiqa.training.validation import judge
from tests.training.runs import CONFIG, SCHEDULE

LEARNS = msgspec.structs.replace(SCHEDULE, causes=1.0, learning_rate=1e-2, ema=0.5)


@pytest.fixture
def known(faces):
    """Every second face is dark; how noisy they are is drawn."""
    strengths = np.stack([np.arange(40) % 2, np.random.default_rng(2).random(40)], 1)
    causes = strengths.astype(np.float32)
    return dataclasses.replace(faces, causes=causes, cause_names=("under_exposure", "noise"))


def logits(trainer, faces):
    return judge(trainer.student, trainer.average, trainer.batches, faces.images)[1]


def test_heads_are_kept_beside_the_network(known, tmp_path):
    trainer = Trainer(CONFIG, LEARNS, known, tmp_path)
    weights = load_weights(trainer.run())
    assert weights.causes.names == known.cause_names
    for index, head in enumerate(trainer.student.causes):
        for part in ("weight", "bias"):
            name = f"causes.{index}.{part}"
            expected = trainer.average[name].half().float().numpy()
            np.testing.assert_array_equal(weights.causes.arrays[name], expected)
            assert expected.shape == getattr(head, part).shape


def five_times(faces):
    """200 faces of as many persons."""
    tables = {name: np.tile(getattr(faces, name), 5) for name in ("quality", "clean", "usable")}
    return dataclasses.replace(
        faces,
        **tables,
        images=np.tile(faces.images, (5, 1, 1, 1)),
        identity=np.arange(200),
        embeddings=tuple(np.tile(table, (5, 1)) for table in faces.embeddings),
        maps=tuple(np.tile(table, (5, 1, 1, 1)) for table in faces.maps),
        causes=np.tile(faces.causes, (5, 1)),
    )


def test_how_often_each_exit_is_right_is_kept_where_enough_persons_are_held_out(known, tmp_path):
    for held_out in (0, 0.03):
        schedule = msgspec.structs.replace(LEARNS, held_out=held_out)
        few = Trainer(CONFIG, schedule, known, tmp_path / f"few{held_out}")
        assert load_weights(few.run()).causes.right == ()
    trainer = Trainer(CONFIG, LEARNS, five_times(known), tmp_path / "enough")
    trainer.batches.held_out = np.arange(200)
    right = load_weights(trainer.run()).causes.right
    assert len(right) == CONFIG.depth
    assert right[-1] > 0.5


def test_a_run_without_causes_has_no_heads(known, tmp_path):
    assert load_weights(Trainer(CONFIG, SCHEDULE, known, tmp_path).run()).causes is None


def test_a_run_that_starts_from_a_model_takes_its_heads_if_they_read_the_same(known, tmp_path):
    first = Trainer(CONFIG, LEARNS, known, tmp_path / "first")
    model, expected = first.run(), logits(first, known)
    same = Trainer(CONFIG, LEARNS, known, tmp_path / "same", start=model)
    np.testing.assert_allclose(logits(same, known), expected, atol=0.02)  # kept in float16
    swapped = dataclasses.replace(known, cause_names=known.cause_names[::-1])
    other = Trainer(CONFIG, LEARNS, swapped, tmp_path / "other", start=model)
    assert not np.allclose(logits(other, known), expected, atol=0.02)
