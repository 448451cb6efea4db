"""Every benchmark script starts: what it imports is there, and `--help` says what it does."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
ELSEWHERE = {"gateway_rtsp.py"}  # runs under the system's Python, with GStreamer
FILES = sorted(file for file in FOLDER.glob("*.py") if file.name not in ELSEWHERE)
SCRIPTS = [file for file in FILES if "__main__" in file.read_text(encoding="utf-8")]


@pytest.fixture
def siblings(monkeypatch):
    """Scripts import each other by name, as when they are run; nothing of that stays."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for file in FILES:
        sys.modules.pop(file.stem, None)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.stem)
def test_a_script_starts(script, siblings, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    first_line = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))).splitlines()[0]
    assert first_line in " ".join(capsys.readouterr().out.split())


def test_the_readme_names_every_script():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in FOLDER.glob("*.py") if f"`{file.name}" not in readme] == []
