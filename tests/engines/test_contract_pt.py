"""The contract test as it is, over the CUDA engine of torch, on a device that stands in for a GPU."""

import contextlib
import importlib.util
from pathlib import Path
from unittest.mock import patch

import pytest

import edge_fiqa.engines
from edge_fiqa.engines import BACKENDS, open_engine, pt

from .conftest import torch_gpu

PATH = Path(__file__).with_name("test_contract.py")


def contract():
    """test_contract.py, where pt is the only backend."""
    spec = importlib.util.spec_from_file_location("contract_over_pt", PATH)
    module = importlib.util.module_from_spec(spec)
    with patch.object(edge_fiqa.engines, "BACKENDS", {"pt": BACKENDS["pt"]}):
        spec.loader.exec_module(module)
    return module


CONTRACT = contract()
reference, images = CONTRACT.reference, CONTRACT.images
globals().update(
    {
        name: test
        for name, test in vars(CONTRACT).items()
        if name.startswith("test_")
        and name not in ("test_refused_at_the_door", "test_buckets_are_powers_of_two")
    }
)
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
