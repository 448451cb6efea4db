import numpy as np

from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.measurement.all_exits import all_exits, synthetic_faces


def test_every_face_at_every_exit():
    engine = FakeEngine(scores=[[1, 2, 3, 4], [5, 6, 7, 8]])
    assert all_exits(engine, engine.faces).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    # one pass for each face: the bodies, and the last block as a tail
    steps = ["body-01-01", "body-02-02", "body-03-03", "tail-04-04"]
    assert engine.calls == [(name, 1) for name in steps * 2]


def test_a_network_without_tails():
    engine = FakeEngine(scores=[[1, 2, 3, 4]], boundaries=[2, 4], tails=False)
    assert all_exits(engine, engine.faces).tolist() == [[1, 2, 3, 4]]


def test_synthetic_faces_are_the_same_everywhere():
    faces = synthetic_faces(3)
    assert (faces.shape, faces.dtype) == ((3, 112, 112, 3), np.uint8)
    assert np.array_equal(faces[:2], synthetic_faces(3)[:2])
    assert not np.array_equal(faces, synthetic_faces(3, seed=1))
    assert faces.min() == 0  # the whole range of pixels is there
    assert faces.max() == 255


def test_a_batch_goes_through_the_bodies_together_and_through_the_last_step_one_by_one():
    engine = FakeEngine(scores=[[1, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6]])
    assert all_exits(engine, engine.faces, batch=2).tolist() == engine.scores.tolist()
    bodies = ["body-01-01", "body-02-02", "body-03-03"]
    assert engine.calls == [
        *((name, 2) for name in bodies),
        *[("tail-04-04", 1)] * 2,
        *((name, 1) for name in bodies),
        ("tail-04-04", 1),
    ]


def test_a_network_of_one_segment_takes_a_batch():
    engine = FakeEngine(scores=[[1, 2], [3, 4]], boundaries=[2])
    assert all_exits(engine, engine.faces, batch=2).tolist() == [[1, 2], [3, 4]]
