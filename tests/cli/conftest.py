"""What several commands are tried on."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def training_root(tmp_path, recogniser_file):
    """A folder with faces of three persons, a recogniser, and `tiny.yaml`, a recipe of 8 steps."""
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "faces" / f"person {number // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "tiny.yaml").write_text(
        "faces: faces\n"
        f"teachers: [{{path: {recogniser_file.name}, map: pooled}}]\n"
        "variants: 2\n"
        "model: {width: 16, depth: 2, heads: 2}\n"
        "schedule: {steps: 8, batch: 4, held_out: 0}\n",
        encoding="utf-8",
    )
    return tmp_path
