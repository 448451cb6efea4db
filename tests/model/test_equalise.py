"""Equalised channels: the same network, with values that share a scale better."""

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper

from edge_fiqa.model.equalise import WIDEST, equalise, equalised_values, expose
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.types import Segment

ALL = Segment(1, 4)


def run(model, names, inputs):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(names, inputs)


def channel_tops(graph, names, faces):
    values = run(expose(graph, names), names, {"image": faces})
    return {
        n: np.abs(v).reshape(-1, v.shape[-1]).max(axis=0)
        for n, v in zip(names, values, strict=True)
    }


@pytest.fixture(scope="module")
def ranges(tiny, faces):
    return channel_tops(segment_graph(tiny, ALL), equalised_values(4), faces)


def test_scores_are_those_of_the_plain_graph(tiny, faces, ranges):
    plain, equal = segment_graph(tiny, ALL), equalise(segment_graph(tiny, ALL), ranges)
    expected, found = (run(model, ["scores"], {"image": faces})[0] for model in (plain, equal))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.array_equal(found, expected)


def test_a_loud_channel_is_quietened(tiny, faces):
    graph = segment_graph(tiny, ALL)
    names = equalised_values(4)
    tops = channel_tops(graph, names, faces)
    loud = {name: np.where(np.arange(len(top)) == 3, 8 * top, top) for name, top in tops.items()}
    for name, after in channel_tops(equalise(graph, loud), names, faces).items():
        assert after[3] / np.median(after) < 0.5 * tops[name][3] / np.median(tops[name]), name


def test_a_body_and_a_tail_share_their_weights(tiny, ranges):
    def weights(segment):
        graph = equalise(segment_graph(tiny, segment), ranges)
        tensors = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
        return {name: value for name, value in tensors.items() if name.startswith("block2/")}

    body, tail = weights(Segment(2, 2)), weights(Segment(2, 2, tail=True))
    assert body.keys() == tail.keys()
    assert {"block2/norm1.scale", "block2/norm2.scale"} <= body.keys()
    assert all(np.array_equal(body[name], tail[name]) for name in body)


def test_a_channel_that_is_always_zero_divides_by_no_zero(tiny, faces, ranges):
    silent = {name: top * (np.arange(len(top)) > 0) for name, top in ranges.items()}
    graph = equalise(segment_graph(tiny, ALL), silent)
    scales = [
        numpy_helper.to_array(t) for t in graph.graph.initializer if t.name.endswith("norm1.scale")
    ]
    assert all(np.isfinite(s).all() and s.max() <= WIDEST and s.min() > 0 for s in scales)
    np.testing.assert_allclose(
        run(graph, ["scores"], {"image": faces})[0],
        run(segment_graph(tiny, ALL), ["scores"], {"image": faces})[0],
        atol=1e-5,
    )
