"""The number type of training: bfloat16 only where there are products of it."""

import pytest
import torch

from edge_fiqa.engines.processor import Processor
from edge_fiqa.training import number_type as module
from edge_fiqa.training.number_type import mixed_precision, number_type

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        (("avx2",), torch.float32),
        (("avx2", "avx512f", "avx512_vnni"), torch.float32),
        (("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), torch.bfloat16),
        (("avx2", "avx512f", "amx_bf16"), torch.bfloat16),
        (("asimd", "asimddp", "i8mm"), torch.float32),
        (("asimd", "asimddp", "i8mm", "bf16"), torch.bfloat16),
        ((), torch.float32),
    ],
)
def test_of_a_processor(instructions, expected, monkeypatch):
    assert number_type(CPU, instructions) == expected
    monkeypatch.setattr(module, "this_processor", lambda: Processor("any", instructions))
    assert number_type(CPU) == expected
    with mixed_precision(CPU):
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 2), torch.float32), ((8, 7), torch.bfloat16)]
)
def test_of_a_gpu(capability, expected, monkeypatch):
    """Xavier has no products of bfloat16, Orin has."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert number_type(CUDA) == expected
