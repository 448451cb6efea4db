"""What a command prints: no name steers the terminal."""

import ast
import logging
from pathlib import Path

import pytest

import edge_fiqa
from edge_fiqa.cli import main
from edge_fiqa.cli.printing import EscapingFormatter, escaped, say

HOSTILE = "x\x1b]0;owned\x07\x9b31m\u202egpj.exe\x7f"


def steers(text):
    return [c for c in text if not c.isprintable() and c != "\n"]


def test_lines_stay_lines(capsys):
    say("one\ntwo", f"three {HOSTILE}")
    say("", error=True)
    out, err = capsys.readouterr()
    assert out.startswith("one\ntwo\nthree x\\x1b]0;owned")
    assert steers(out) == []
    assert err == "\n"
    assert escaped("é 日本 -1.2") == "é 日本 -1.2"


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", HOSTILE],
        ["score", "--bundle", HOSTILE, HOSTILE],
        ["score", f"--{HOSTILE}", "x"],
        ["info", HOSTILE],
        ["calibrate", HOSTILE, "-o", HOSTILE],
        ["build", HOSTILE, "-o", HOSTILE],
        ["train", "--config", HOSTILE, "-o", HOSTILE],
        ["evaluate", HOSTILE, "-o", HOSTILE],
        ["edc", HOSTILE],
        ["explain", HOSTILE, "-o", HOSTILE],
        ["gateway", "--check", HOSTILE],
        [HOSTILE],
    ],
)
def test_errors_name_hostile_names_harmlessly(arguments, capsys):
    try:
        status = main(arguments)
    except SystemExit as exit_:
        status = exit_.code
    out, err = capsys.readouterr()
    assert status == 2
    assert "x" in err
    assert steers(out + err) == []


def test_a_folder_of_hostile_names(tmp_path, capsys):
    """In a table, in the progress of the run, among the files passed over, on both streams."""
    folder = tmp_path / HOSTILE
    folder.mkdir()
    (folder / f"{HOSTILE}.jpg").write_bytes(b"no picture")
    (folder / f"notes.{HOSTILE}").write_bytes(b"no picture")
    for output in ([], ["--format", "ndjson"], ["--output", str(tmp_path / f"{HOSTILE}.csv")]):
        assert main(["score", str(folder), *output]) == 1
        out, err = capsys.readouterr()
        assert steers(out + err) == []
        assert "passed over" in err


def test_a_bundle_with_a_hostile_name(bundle, tmp_path, capsys):
    import json
    import shutil

    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    (copy / "manifest.json").write_text(json.dumps({**manifest, "name": HOSTILE}), encoding="utf-8")
    for form in ("table", "json"):
        assert main(["info", str(copy), "--format", form]) == 0
        out, err = capsys.readouterr()
        assert steers(out + err) == []
    assert json.loads(out)["name"] == HOSTILE


def test_log_lines():
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%s left out\nnext", (HOSTILE,), None)
    assert steers(EscapingFormatter("%(message)s").format(record)) == []


def test_commands_print_in_one_way():
    folder = Path(edge_fiqa.__file__).parent / "cli"
    printing = [
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printing == ["printing.py"]
