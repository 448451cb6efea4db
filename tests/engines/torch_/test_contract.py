"""The contract test as it is, over the CUDA engine of torch, on a device that stands in for a GPU."""

import contextlib
from unittest.mock import patch

import pytest

from edge_fiqa.engines import open_engine
from edge_fiqa.engines.torch_ import engine as pt
from tests.engines.conftest import contract_over, torch_gpu

CONTRACT, TESTS = contract_over("pt")
reference, images = CONTRACT.reference, CONTRACT.images
globals().update(TESTS)
test_every_precision_stays_in_its_bounds.pytestmark = [  # noqa: F821
    pytest.mark.parametrize(("backend", "precision"), [("pt", "fp16"), ("pt", "bf16")])
]


@pytest.fixture(autouse=True, scope="module")
def gpus():
    """Every engine gets a device of its own. Scores came out of replays, not of what comes before."""
    made = []

    def find():
        made.append(torch_gpu.Gpu())
        return made[-1]

    with patch.object(pt, "find_cuda", find):
        yield made
    assert all(gpu.replays for gpu in made if gpu.captured)


@pytest.fixture(autouse=True)
def on_the_stream(gpus):
    """Nothing touches a device's tensors but through its stream."""
    with contextlib.ExitStack() as stack:
        for gpu in gpus:
            stack.enter_context(gpu.watched())
        yield


@pytest.fixture(scope="module")
def engine(bundle, gpus):
    with open_engine(bundle, "pt") as opened:
        yield opened
