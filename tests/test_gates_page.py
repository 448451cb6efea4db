"""docs/gates.md shows what the shipped calibrations hold, and each shipped bundle holds the same."""

import re
from pathlib import Path

import pytest

from edge_fiqa.bundle.bundle import SHIPPED_FORMS
from edge_fiqa.calibration.artefact import FILE, load_calibration
from edge_fiqa.cli.gate_report import markdown_lines

ROOT = Path(__file__).parents[1]
KINDS = ["portrait", "access control", "surveillance"]


MEASURED = [
    name
    for name in SHIPPED_FORMS
    if load_calibration(ROOT / f"calibration/default/{name}.json").gate_table is not None
]


def table_of(model):
    return load_calibration(ROOT / f"calibration/default/{model}.json").gate_table


def test_the_default_model_is_measured():
    assert "nano" in MEASURED


@pytest.mark.parametrize("model", SHIPPED_FORMS)
def test_the_page_shows_what_edge_fiqa_gate_prints(model):
    page = (ROOT / "docs/gates.md").read_text(encoding="utf-8")
    shown = re.search(rf"<!-- gates {model} -->\n(.*?)<!-- /gates -->", page, re.DOTALL)[1]
    unknown = [f"Not measured yet: `make gates DATA=FOLDER MODELS={model}`."]
    assert shown.splitlines() == (markdown_lines(table_of(model)) if model in MEASURED else unknown)


@pytest.mark.parametrize("model", SHIPPED_FORMS)
def test_the_shipped_bundles_hold_the_same_calibration(model):
    shipped = (ROOT / f"calibration/default/{model}.json").read_bytes()
    for folder in SHIPPED_FORMS[model].values():
        assert (folder / FILE).read_bytes() == shipped


@pytest.mark.parametrize("model", MEASURED)
def test_the_numbers_can_be(model):
    """Worse faces pass less often, a higher gate is passed by fewer, each kind has pairs."""
    uses = table_of(model).uses
    assert [use.name for use in uses] == KINDS
    for gate in range(10, 100, 10):
        shares = [use.passing.rate[gate] for use in uses]
        assert shares == sorted(shares, reverse=True)
    for use in uses:
        assert list(use.passing.rate) == sorted(use.passing.rate, reverse=True)
        assert use.persons > 500
        assert use.errors.recogniser == "mobilefacenet_casia_112x96"  # taught neither model
        assert 0 < use.errors.fnmr.rate[0] < 1
