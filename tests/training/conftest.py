import numpy as np
import pytest
import torch

from edge_fiqa.training.faces import TrainingFaces

torch.set_num_threads(1)  # tests run in parallel, one process a core


@pytest.fixture(autouse=True)
def _short_critic(monkeypatch):
    """Where a test asks how well it judges, the test sets more steps."""
    monkeypatch.setattr("edge_fiqa.training.critic.STEPS", 20)


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
