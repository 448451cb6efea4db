"""Effects of the demonstration: strength 0 changes nothing, more strength changes more."""

import numpy as np
import pytest

from edge_fiqa.cli.demo import portrait
from edge_fiqa.cli.effects import EFFECTS


@pytest.mark.parametrize("name", EFFECTS)
def test_strength(name):
    face = portrait()
    before = face.copy()
    versions = [EFFECTS[name](face, strength) for strength in (0, 0.25, 0.5, 1)]
    changes = [np.abs(v.astype(int) - face).mean() for v in versions]
    assert changes[0] == 0 < changes[1] < changes[2] < changes[3]
    assert all(v.shape == face.shape and v.dtype == np.uint8 for v in versions)
    np.testing.assert_array_equal(face, before)
