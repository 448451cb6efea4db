"""The contract test as it is, over backend rtx, on a made-up card with TensorRT for RTX."""

import pytest

from edge_fiqa.engines import open_engine
from tests.engines.conftest import contract_over, extract, fakes

CONTRACT, TESTS = contract_over("rtx")
reference, images = CONTRACT.reference, CONTRACT.images
globals().update(TESTS)
test_every_precision_stays_in_its_bounds.pytestmark = [  # noqa: F821
    pytest.mark.parametrize(
        ("backend", "precision"), [("rtx", "fp16"), ("rtx", "bf16"), ("rtx", "int8")]
    )
]


@pytest.fixture(scope="module", autouse=True)
def card(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGE_FIQA_CACHE", str(tmp_path_factory.mktemp("plans")))
        world = fakes.install(patched, fakes.World(sm=(8, 6)), extract.load(extract.RTX))
        yield world
        assert world.complaints == []
        assert world.used() == 0


@pytest.fixture(scope="module")
def engine(bundle, card):
    with open_engine(bundle, "rtx") as opened:
        yield opened
