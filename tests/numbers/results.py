"""The files that pages name, and claims: parts of a text that state numbers of a file.

A claim is a part of a page with # for each number, and a function that takes these numbers from the
file. A text that changes must bring its claim along: a claim that matches nothing is a failure.
"""

import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results"
README, MEASURED, RAY = "README.md", "docs/measured.md", "docs/ray.md"
CARD, REASONS = "edge_fiqa/models/README.md", "docs/reasons.md"
TRAINING = "docs/training.md"
PAGES = README, MEASURED, RAY, CARD, REASONS, TRAINING


@cache
def result(name):
    """Of the files that the pages name, the one that ends so: all pages mean the same run."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES]
    named = {stem for text in texts for stem in re.findall(r"results/([\w.-]+)\.json", text)}
    (stem,) = [stem for stem in named if stem.endswith(f"-{name}")]
    return json.loads((RESULTS / f"{stem}.json").read_text(encoding="utf-8"))


def rounded(value, digits=0, times=1):
    return f"{value * times:,.{digits}f}"


def each(claims):
    """Parameters of a test: page, claim, numbers."""
    return pytest.mark.parametrize(
        ("page", "claim", "numbers"),
        [pytest.param(page, *claim, id=f"{page} {name}") for page, name, *claim in claims],
    )


def assert_stated(page, claim, numbers):
    text = (ROOT / page).read_text(encoding="utf-8")
    pattern = re.escape(claim).replace(r"\#", r"(\d[\d,]*(?:\.\d+)?)")
    (stated,) = re.finditer(pattern, text)  # else the text has changed: change its claim
    assert list(stated.groups()) == numbers()


def rows_of_table(page, first_cell):
    text = (ROOT / page).read_text(encoding="utf-8")
    table = text[text.index(first_cell) :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
