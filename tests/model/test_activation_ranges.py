"""INT8 ranges: measured block by block, they are those of each segment computed by itself."""

import numpy as np
import pytest

from edge_fiqa.exits.route import segments_for
from edge_fiqa.model.activation_ranges import (
    RangeMeter,
    float_session,
    linear_layers,
    ranges_of_segments,
)
from edge_fiqa.model.equalise import equalise, equalised_values, expose
from edge_fiqa.model.graph import segment_graph
from edge_fiqa.types import Segment


def tokens_reaching(weights, segment, images):
    if segment.first == 1:
        return images
    session = float_session(segment_graph(weights, Segment(1, segment.first - 1)))
    return [session.run(["tokens_out"], {"image": image})[0] for image in images]


def same_ranges(measured, expected):
    assert measured.keys() == expected.keys()
    for name, ends in expected.items():
        np.testing.assert_allclose(measured[name], ends, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("mode", "method"), [("token", "minmax"), ("crfiqa", "minmax"), ("crfiqa", "percentile")]
)
def test_every_segment_has_the_ranges_that_it_has_alone(tiny, tiny_c, faces, mode, method):
    weights, ends = (tiny, (1, 3, 4)) if mode == "token" else (tiny_c, (1, 2))
    segments = segments_for(ends, tails=mode == "token")
    images = [face[None] for face in faces[:3]]
    channels, ranges = ranges_of_segments(weights, segments, images, method)
    assert ranges.keys() == set(segments)
    for segment in segments:
        graph = equalise(segment_graph(weights, segment), channels)
        inputs = tokens_reaching(weights, segment, images)
        same_ranges(ranges[segment], RangeMeter(graph, method).over(inputs)[0])


def test_channels_are_those_of_the_whole_network(tiny, faces):
    images = [face[None] for face in faces[:3]]
    channels, _ = ranges_of_segments(tiny, [Segment(1, 4)], images, "minmax")
    names = equalised_values(4)
    session = float_session(expose(segment_graph(tiny, Segment(1, 4)), names))
    values = session.run(names, {"image": np.concatenate(images)})
    assert sorted(channels) == sorted(names)
    for name, value in zip(names, values, strict=True):
        top = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
        np.testing.assert_allclose(channels[name], top, rtol=1e-4, atol=1e-5)


def test_a_range_holds_every_number_that_was_seen(tiny, faces):
    """From the definition: the least and the largest of all faces, and nothing beyond."""
    graph = segment_graph(tiny, Segment(1, 1))
    images = [face[None] for face in faces[:3]]
    ranges, tokens = RangeMeter(graph, "minmax").over(images)
    names = sorted(ranges)
    assert set(names) == {node.input[0] for node in linear_layers(graph)}
    session = float_session(expose(graph, names), optimised=False)
    seen = [session.run(names, {"image": image}) for image in images]
    for name, values in zip(names, zip(*seen, strict=True), strict=True):
        assert ranges[name] == (np.min(values), np.max(values))
    assert [x.shape for x in tokens] == [(1, tiny.config.tokens, tiny.config.width)] * 3
