import numpy as np
import pytest

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.config import BuildRecipe
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.fake import FakeEngine
from edge_fiqa.measurement.all_exits import all_exits, all_exits_and_causes, synthetic_faces
from tests.causes import logits_of


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


def test_logits_come_from_the_same_pass_at_the_exits_of_the_bundle():
    causes = {"yaw": [[1, 2, 3, 4], [5, 6, 7, 8]], "noise": [[-1, -2, -3, -4], [-5, -6, -7, -8]]}
    engine = FakeEngine([[1, 2, 3, 4], [5, 6, 7, 8]], boundaries=[2, 3, 4], causes=causes)
    scores, logits = all_exits_and_causes(engine, engine.faces, batch=2)
    assert scores.tolist() == engine.scores.tolist()
    assert logits.dtype == np.float32
    assert logits[0].tolist() == [[2, -2], [3, -3], [4, -4]]  # (N, K, D), K of exits 2, 3 and 4
    assert logits[1].tolist() == [[6, -6], [7, -7], [8, -8]]
    assert engine.calls == [("body-01-02", 2), ("body-03-03", 2), *[("tail-04-04", 1)] * 2]


def test_there_are_no_logits_without_heads():
    engine = FakeEngine([[1, 2], [3, 4]])
    scores, logits = all_exits_and_causes(engine, engine.faces)
    assert scores.tolist() == engine.scores.tolist()
    assert logits is None


@pytest.mark.parametrize("segments", ["4", "1,3,4"])
def test_logits_are_those_of_their_definition(
    tiny_causes, cause_checkpoint, faces, tmp_path, segments
):
    recipe = BuildRecipe(backend="ov", segments=segments)
    bundle = build_bundle(cause_checkpoint, tmp_path / "b", recipe)
    with open_engine(bundle, threads=1) as engine:
        logits = all_exits_and_causes(engine, faces, batch=4)[1]
    expected = logits_of(tiny_causes, faces)[:, np.array(bundle.manifest.exits) - 1]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
