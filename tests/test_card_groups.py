"""Sentences of the models' card on groups of people are true of the result file that it names."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CARD = (ROOT / "edge_fiqa/models/README.md").read_text(encoding="utf-8")
NAMED = re.findall(r"results/([\w-]+-fairness-(\w+)\.json)", CARD)
RESULT = json.loads((ROOT / "benchmarks/results" / NAMED[0][0]).read_text(encoding="utf-8"))
NETWORKS = ("mobilefacenet_casia_112x96", "mobileface_id_v2")


def rows_of(network, by, source):
    return [
        row
        for row in RESULT["recognition"]
        if (row["recogniser"], row["by"], row["source"]) == (network, by, source)
    ]


def gap(row):
    """Least and most that the intervals allow: accepted at the common gate less at the own one."""
    assert row["equal_error"] is not None, f"{row['source']}, {row['group']}: nothing to compare"
    (_, low, high), (_, own_low, own_high) = row["accepted"], row["equal_error"]["accepted"]
    return low - own_high, high - own_low


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("source", ["celeba10k", "celeba5"])
def test_the_card_is_right_that_no_tone_is_known_to_be_refused_without_need(network, source):
    """The gap of every tone may be that of its source, as decision 58 compares them."""
    tones = rows_of(network, "skin tone", source)
    (whole,) = rows_of(network, "source", source)
    assert len(tones) == 4
    least, most = gap(whole)
    for row in tones:
        low, high = gap(row)
        assert low <= most
        assert least <= high


@pytest.mark.parametrize("network", NETWORKS)
def test_the_card_is_right_that_lfw_says_nothing_of_tones(network):
    """Every row of it has a smaller error than is to reach, so that its own gate is 0."""
    rows = rows_of(network, "skin tone", "lfw") + rows_of(network, "source", "lfw")
    assert len(rows) == 5
    assert {row["equal_error"]["gate"] for row in rows} == {0}
    assert all(row["fnmr_accepted"][0] < row["fnmr_to_reach"] for row in rows)


@pytest.mark.parametrize(
    ("source", "dark"), [("celeba5", "brown to dark"), ("celeba10k", "tan to dark")]
)
def test_dark_skin_is_refused_more_often_in_celeba(source, dark):
    """By the tone of the face; the intervals are apart."""
    passing = {
        row["group"]: row["gates"]["47"]["accepted"]
        for row in RESULT["groups"]
        if (row["by"], row["source"]) == ("skin tone", source)
    }
    assert passing[dark][2] < passing["light"][1]


def test_pages_claim_errors_only_by_what_has_rows_and_only_of_measured_models():
    """Rows of recognition are by source and skin tone, and one result is in the card."""
    rows = RESULT["recognition"]
    assert {row["by"] for row in rows} == {"source", "skin tone"}
    assert {model for _, model in NAMED} == {"nano"}
    assert "- Anything of small: this was measured with nano." in CARD
    for page, model in (("CHANGELOG.md", "nano's gate"), ("docs/evaluation.md", "for nano it is"),
                        ("benchmarks/README.md", "only nano was measured")):  # fmt: skip
        (line,) = [
            line
            for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
            if "sex, age, race label" in line
        ]
        assert model in line
        assert re.search(
            r"with which recognition error, by skin tone and source( only)?[:.?]", line
        )


def test_the_card_is_right_about_impostors_of_orl():
    """At the threshold for all, at least eight times as many match as elsewhere."""
    rows = [r for r in RESULT["recognition"] if r["by"] == "source"]
    for network in {row["recogniser"] for row in rows}:
        rates = {r["source"]: r["fmr"][0] for r in rows if r["recogniser"] == network}
        orl = rates.pop("orl")
        assert orl >= 8 * max(rates.values())
