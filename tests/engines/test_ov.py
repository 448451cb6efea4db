"""OpenVINO: attention of INT8 bundles in bfloat16, and life without a cache."""

import numpy as np
import pytest

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines.ov import OpenVINO, attend_in_bf16, ov
from edge_fiqa.types import Segment

ALL = Segment(1, 12, True)


@pytest.fixture(scope="module")
def shipped():
    return Bundle.open()


def model_of(bundle, segment):
    model = ov.Core().read_model(bundle.file_of(segment))
    attend_in_bf16(model)
    return model


@pytest.mark.parametrize("segment", [ALL, Segment(2, 2), Segment(2, 2, True)])
def test_products_and_softmax_are_bfloat16_and_nothing_else_is(shipped, segment):
    half = {
        node.get_friendly_name().split("/", 1)[1]
        for node in model_of(shipped, segment).get_ordered_ops()
        if node.get_type_name() != "Convert" and node.get_output_element_type(0) == ov.Type.bf16
    }
    parts = ("q/biased", "k/biased", "v/biased", "logits", "mixed", "heads")
    assert all(any(name.startswith(part) for part in parts) for name in half)
    assert {"logits", "mixed"} <= half
    assert any("softmax" in name for name in half)


def test_inputs_and_outputs_keep_their_types(shipped):
    model = model_of(shipped, Segment(2, 2))
    assert {port.element_type for port in (*model.inputs, *model.outputs)} == {ov.Type.f32}


def test_scores_stay_close_to_those_of_float_attention(shipped, faces):
    """Of random pixels. With OpenVINO's own conversion where a CPU has no bfloat16."""
    with OpenVINO(shipped, threads=1) as half, OpenVINO(shipped, threads=1) as full:
        half._half_attention, full._half_attention = True, False
        found, expected = half.run(ALL, faces)[1], full.run(ALL, faces)[1]
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 0.05


def test_only_int8_bundles_are_touched(shipped, bundle):
    native = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    with OpenVINO(shipped) as int8, OpenVINO(bundle) as fp32:
        assert bundle.manifest.precision == "fp32"
        assert (int8._half_attention, fp32._half_attention) == (native, False)


def test_a_user_without_a_home_has_no_cache(homeless, bundle, faces):
    with OpenVINO(bundle, threads=1) as engine:
        assert engine.run(Segment(1, 1), faces[:1])[1].shape == (1, 1)
