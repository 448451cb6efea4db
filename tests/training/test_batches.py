"""What a batch shows of the faces: moved, mirrored, and the same again at the same step."""

import numpy as np
import pytest
import torch

from edge_fiqa.training.batches import Batches, shifted
from edge_fiqa.training.recipe import Schedule

SCHEDULE = Schedule(batch=16, held_out=0, grey=0)


def images_of(faces, schedule, step=0):
    x = Batches(faces, schedule, torch.device("cpu"))[step].images
    return ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -2), (-8, 8)])
def test_a_face_is_moved_and_its_edge_repeated(down, right):
    face = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    (moved,) = shifted(face[None], np.array([[down, right]]))
    rows = np.clip(np.arange(112) - down, 0, 111)
    columns = np.clip(np.arange(112) - right, 0, 111)
    np.testing.assert_array_equal(moved, face[rows][:, columns])


def test_every_face_is_moved_on_its_own_and_anew_at_every_step(faces):
    still = images_of(faces, SCHEDULE)
    moved = images_of(faces, Schedule(batch=16, held_out=0, grey=0, shift=3))
    places = []
    for before, after in zip(still, moved, strict=True):
        middle = after[8:-8, 8:-8]
        places += [
            (down, right)
            for down in range(-3, 4)
            for right in range(-3, 4)
            if (before[8 - down : 104 - down, 8 - right : 104 - right] == middle).all()
        ]
    assert len(places) == len(still) == 16  # mirrored as before, and moved by at most 3
    assert len(set(places)) > 8


def test_a_step_shows_the_same_faces_again(faces):
    schedule = Schedule(batch=16, held_out=0, shift=2)
    first, again = (images_of(faces, schedule, step=5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (images_of(faces, schedule, step=6) != first).any()
