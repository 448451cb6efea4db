"""What a package index shows: README.md, with links that lead to the repository."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOST = "https://host/us/repository"


@pytest.fixture(scope="module")
def absolute_links():
    spec = importlib.util.spec_from_file_location("readme", ROOT / ".ci/release_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda text: module.absolute_links(text, HOST, "v1.2.0", ROOT)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("[a](docs/gateway.md)", "blob/v1.2.0/docs/gateway.md"),
        ("[a](docs/gateway.md#the-file)", "blob/v1.2.0/docs/gateway.md#the-file"),
        ("[a](#measured)", "blob/v1.2.0/README.md#measured"),
        ("[a](examples)", "tree/v1.2.0/examples"),
        ("![a [b] c](docs/demo.png)", "raw/v1.2.0/docs/demo.png"),
    ],
)
def test_a_link_leads_to_the_repository(absolute_links, link, target):
    before, after = link.rsplit("(", 1)[0], f"({HOST}/{target})"
    assert absolute_links(link) == before + after


def test_addresses_stay(absolute_links):
    text = "[a](https://x.org/b.md#c), [d](mailto:a@x.org), `e[0](f)` and http://127.0.0.1:8080."
    assert absolute_links(text).startswith("[a](https://x.org/b.md#c), [d](mailto:a@x.org), ")


def test_no_link_of_the_readme_stays_relative(absolute_links):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    made = absolute_links(readme)
    assert made.count("](") == readme.count("](")
    assert all(target.startswith("https://") for target in re.findall(r"\]\(([^)]*)\)", made))


def test_all_addresses_of_the_metadata_are_of_one_repository():
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = re.search(r"^\[project\.urls\]\n(.*?)^\[", metadata, re.M | re.S)[1]
    addresses = dict(re.findall(r'^(\w+) = "(.+)"$', section, re.M))
    assert len(addresses) == len(section.strip().splitlines())
    assert all(url.startswith(addresses["Repository"]) for url in addresses.values())
