"""What a run begins with: needed at step 0, and remembered."""

import numpy as np
import pytest

from edge_fiqa.errors import CheckpointError
from edge_fiqa.model.weights import load_weights
from edge_fiqa.training.loop import Trainer
from edge_fiqa.training.validation import judge
from edge_fiqa.types import VitConfig
from tests.training.runs import CONFIG, SCHEDULE, assert_same, kept_in


@pytest.fixture
def start(faces, tmp_path):
    """The model of another run."""
    return Trainer(CONFIG, SCHEDULE, faces, tmp_path / "other").run()


def begun(faces, folder, start):
    """A run of which three steps are done."""
    trainer = Trainer(CONFIG, SCHEDULE, faces, folder, start=start)
    assert trainer.run(lambda: trainer.step == 3) is None


def scores(trainer, faces):
    return judge(trainer.student, trainer.average, trainer.batches, faces.images)[0]


def test_a_run_starts_from_a_model_without_its_teachers(faces, tmp_path, start):
    np.testing.assert_allclose(
        scores(Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a", start=start), faces),
        scores(Trainer(CONFIG, SCHEDULE, faces, tmp_path / "other"), faces),
        atol=0.02,  # the model is kept in float16
    )


def test_a_wider_model_starts_from_a_narrower_run(faces, tmp_path):
    Trainer(CONFIG, SCHEDULE, faces, tmp_path / "a").run()
    wide = VitConfig(width=32, depth=2, heads=4)
    grown = Trainer(wide, SCHEDULE, faces, tmp_path / "b", start=tmp_path / "a/latest.pt")
    assert load_weights(grown.run()).config == wide


def test_a_run_that_has_begun_does_not_need_its_start(faces, tmp_path, start):
    Trainer(CONFIG, SCHEDULE, faces, tmp_path / "whole", start=start).run()
    begun(faces, tmp_path / "run", start)
    start.unlink()
    Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start).run()
    assert_same(kept_in(tmp_path / "run"), kept_in(tmp_path / "whole"))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Trainer(CONFIG, SCHEDULE, faces, tmp_path / "new", start=start)


def test_another_file_in_the_place_of_the_start_is_refused(faces, tmp_path, start):
    begun(faces, tmp_path / "run", start)
    data = start.read_bytes()
    start.unlink()
    begun_without = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start)
    begun_without._checkpoint("latest.pt")  # it was remembered meanwhile
    start.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="is not what the run in "):
        Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start)
    assert Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run").step == 3  # as the message advises
    start.write_bytes(data)
    assert Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start).step == 3


def test_a_start_that_came_later_is_refused(faces, tmp_path, start):
    begun(faces, tmp_path / "run", None)
    with pytest.raises(CheckpointError, match="is not what the run in "):
        Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start)


def test_an_earlier_versions_checkpoint_says_nothing_of_the_start(faces, tmp_path, start):
    begun(faces, tmp_path / "run", start)
    trainer = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start)
    trainer.start = None
    trainer._checkpoint("latest.pt")
    assert kept_in(tmp_path / "run")[".start"] is None
    resumed = Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start)
    resumed.run()
    start.write_bytes(b"another")
    with pytest.raises(CheckpointError, match="began with"):  # from then on it is known
        Trainer(CONFIG, SCHEDULE, faces, tmp_path / "run", start=start)
