"""The documents keep their word: commands exist, files exist, numbers have a source."""

import re
from pathlib import Path

import pytest

from edge_fiqa.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_OURS = {".git", ".venv", "build", "dist", "mutants", "runs"}
DOCUMENTS = [p for p in ROOT.rglob("*.md") if not NOT_OURS & set(p.relative_to(ROOT).parts)]


def test_every_flag_in_the_readme_exists(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    said = set(re.findall(r"(?<=[ `])--[a-z-]+", README))
    assert said
    assert said <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_result_files_that_are_named_exist(document):
    for target in re.findall(
        r"benchmarks/results/[\w.-]+\.json", document.read_text(encoding="utf-8")
    ):
        assert (ROOT / target).is_file(), target


def test_the_two_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{command}:" in makefile


def test_documents_do_not_name_one_machines_paths():
    for document in DOCUMENTS:
        assert not re.search(r"/(work|root|home)/", document.read_text(encoding="utf-8"))


def test_the_index_of_decisions_lists_every_page_in_order():
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^- \[(\d{4})\]\(\1-", index, re.MULTILINE) == sorted(
        page.name[:4] for page in folder.glob("0*.md")
    )


def test_targets_of_the_makefile_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    declared = re.search(r"^\.PHONY: (.+)", makefile, re.MULTILINE)[1].split()
    assert declared
    for target in declared:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
