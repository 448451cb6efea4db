"""The contract test as it is, over backend trt, on a made-up GPU with each version's bindings."""

import importlib.util
from pathlib import Path
from unittest.mock import patch

import pytest

import edge_fiqa.engines
from edge_fiqa.engines import BACKENDS, open_engine

from .conftest import extract, fakes

PATH = Path(__file__).with_name("test_contract.py")


def contract():
    """test_contract.py, where trt is the only backend."""
    spec = importlib.util.spec_from_file_location("contract_over_trt", PATH)
    module = importlib.util.module_from_spec(spec)
    with patch.object(edge_fiqa.engines, "BACKENDS", {"trt": BACKENDS["trt"]}):
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
    pytest.mark.parametrize(
        ("backend", "precision"), [("trt", "fp16"), ("trt", "bf16"), ("trt", "int8")]
    )
]


@pytest.fixture(scope="module", params=extract.VERSIONS, autouse=True)
def version(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGE_FIQA_CACHE", str(tmp_path_factory.mktemp("plans")))
        world = fakes.install(patched, fakes.World(), extract.load(request.param))
        yield request.param
        assert world.complaints == []
        assert world.used() == 0


@pytest.fixture(scope="module")
def engine(bundle, version):
    with open_engine(bundle, "trt") as opened:
        yield opened
