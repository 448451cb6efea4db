"""The documentation site: where links lead, and that the reference lists every public name."""

import importlib.util
import re
from pathlib import Path

import pytest

import edge_fiqa

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "docs/site/hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("docs/gateway.md", "gateway.md"),
        ("docs/decisions/0053-x.md", "decisions/0053-x.md"),
        ("engines/README.md", "engines.md"),
        ("README.md", "index.md"),
        ("benchmarks/results/a.png", "results/a.png"),
        ("benchmarks/results/a.json", None),
        ("docs/site/hook.py", None),
        ("deploy", None),
    ],
)
def test_a_file_of_the_repository_on_the_site(hook, path, uri):
    assert hook.site_uri(path) == uri


class Place:
    def __init__(self, src_uri):
        self.file, self.src_uri, self.repo_url = self, src_uri, "https://host/us/repository"


def test_links_lead_to_pages_or_to_the_repository(hook):
    page = Place("engines.md")
    text = (
        "See [the forms](../docs/forms.md#known), [the card](../edge_fiqa/models/README.md),\n"
        "[code](../edge_fiqa/errors.py), [elsewhere](https://x.org/a.md), [below](#end).\n"
        "- a list\n<!-- table -->\n| a |\n|---|\n`[no](link.md)`\n"
    )
    made = hook.on_page_markdown(text, page, page, None)
    assert "[the forms](forms.md#known), [the card](models.md)" in made
    assert "[code](https://host/us/repository/blob/main/edge_fiqa/errors.py)" in made
    assert "[elsewhere](https://x.org/a.md), [below](#end)" in made
    assert "below](#end).\n\n- a list" in made
    assert "<!--" not in made
    assert "`[no](link.md)`" in made


def test_a_link_that_leads_nowhere_is_a_warning(hook, caplog):
    page = Place("decisions/0001-x.md")
    hook.on_page_markdown("[gone](../../edge_fiqa/gone.py)", page, page, None)
    assert "links to ../../edge_fiqa/gone.py, which does not exist" in caplog.text


def test_the_reference_lists_every_public_name():
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: [\w.]+\.(\w+)$", page, re.MULTILINE)) - {"errors"}
    named |= set(re.search(r"members: \[(EdgeFiqaError[^\]]*)\]", page)[1].split(", "))
    assert named == set(edge_fiqa.__all__) - {"__version__"}
