"""The card's tables of quality and behaviour are those of the results that it names."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
CARD = FOLDER.parent / "edge_fiqa/models/README.md"
NAMES = ("quality_card", "baselines", "common")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("quality_card")
    for name in NAMES:
        sys.modules.pop(name, None)


def result(kind):
    (name,) = set(re.findall(rf"benchmarks/results/([\w-]+-{kind}\.json)", CARD.read_text("utf-8")))
    return json.loads((FOLDER / "results" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("mark", "kind"), [("table", "quality"), ("behaviour", "behaviour")])
def test_the_card_shows_the_results_that_it_names(script, mark, kind):
    """Else `quality_card.py` was not run, or a table was changed by hand."""
    text = getattr(script, f"{kind}_text")(result(f"model_{kind}"))
    assert f"<!-- {mark} -->\n{text}\n<!-- /{mark} -->" in CARD.read_text(encoding="utf-8")


def test_both_parts_of_a_card_are_written_between_their_marks(script, monkeypatch, tmp_path):
    files = []
    for kind in ("quality", "behaviour"):
        files.append(tmp_path / f"{kind}.json")
        files[-1].write_text(json.dumps(result(f"model_{kind}")))
    card = tmp_path / "card.md"
    marks = [f"<!-- {name} -->\nold\n<!-- /{name} -->" for name in ("behaviour", "table")]
    card.write_text("before\n" + "\nbetween\n".join(marks) + "\nafter\n")
    monkeypatch.setattr(sys, "argv", ["x", *map(str, files), "--card", str(card)])
    script.main()
    written = card.read_text()
    assert "old" not in written
    assert re.sub(r"(?s)-->\n\|.*?\n<!--", "--><!--", written) == (
        "before\n<!-- behaviour --><!-- /behaviour -->\nbetween\n"
        "<!-- table --><!-- /table -->\nafter\n"
    )


def test_a_card_without_marks_stays_as_it_is(script, monkeypatch, tmp_path):
    card = tmp_path / "card.md"
    card.write_text("<!-- /table -->\n<!-- table -->\n")
    with pytest.raises(SystemExit, match=r"card\.md: no <!-- table -->"):
        script.put_between("table", "new", card)
    assert card.read_text() == "<!-- /table -->\n<!-- table -->\n"


def test_the_worst_degradation_is_named_where_one_does_not_fall(script):
    monotone = {"noise": {"exit 1": 0.1, "exit 3": 1.0}, "crop": {"exit 3": 0.98, "FW": 0.97}}
    assert script._least_monotone(monotone) == "0.97 (crop, FW)"
    assert script._least_monotone({"noise": monotone["noise"]}) == "1.00 (all)"
