"""The contract test as it is, over backend trt, on a made-up GPU with each version's bindings."""

import pytest

from edge_fiqa.engines import open_engine
from tests.engines.conftest import contract_over, extract, fakes

CONTRACT, TESTS = contract_over("trt")
reference, images = CONTRACT.reference, CONTRACT.images
globals().update(TESTS)
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
