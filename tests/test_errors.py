"""An error is as many lines as it was made of, whatever the names in it."""

import inspect
import logging
import pickle

import pytest

from edge_fiqa import errors
from edge_fiqa.cli import main
from edge_fiqa.cli.printing import EscapingFormatter
from edge_fiqa.errors import ConfigError, EdgeFiqaError, ImageRefused, counted

HOSTILE = "a\nedge-fiqa: all is well\r\x1b]0;owned\x07\u2028\u202egpj"
KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, EdgeFiqaError) and kind is not ImageRefused
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_ends_no_line(kind):
    text = str(kind(f"{HOSTILE}.jpg: it is damaged"))
    assert text.isprintable()
    assert text.startswith("a\\nedge-fiqa: all is well\\r\\x1b]0;owned")
    assert str(kind("first", f"second {HOSTILE}")).count("\n") == 1
    assert str(kind(kind(HOSTILE))) == str(kind(HOSTILE))


def test_a_refused_image_keeps_its_code():
    refusal = ImageRefused("unreadable", HOSTILE)
    assert str(refusal).isprintable()
    assert refusal.code == "unreadable"


def test_other_words_stay():
    assert str(ConfigError("é 日本 C:\\new -1.2")) == "é 日本 C:\\new -1.2"
    assert str(ConfigError()) == ""
    assert str(pickle.loads(pickle.dumps(ConfigError("a\nb")))) == "a\\nb"


def test_a_command_says_one_line_of_a_file_with_two(tmp_path, capsys):
    assert main(["info", str(tmp_path / "a\nb\x1b[31m")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a\\nb\\x1b[31m" in line


def test_so_does_its_log(tmp_path):
    form = EscapingFormatter("%(levelname)s %(message)s")
    values = (HOSTILE, tmp_path / HOSTILE, 7)
    record = logging.LogRecord("n", logging.INFO, "p", 1, "%s, %s: %d left out", values, None)
    assert form.format(record).isprintable()
    assert record.args == values


def test_a_count_agrees_with_its_noun():
    assert [counted(n, "face") for n in (0, 1, 2)] == ["0 faces", "1 face", "2 faces"]
    assert [counted(n, "file was", "files were") for n in (1, 2)] == ["1 file was", "2 files were"]
    assert counted(12345, "identity", "identities", ",") == "12,345 identities"
    assert [counted(n, "GPU", form="g") for n in (1.0, 0.5)] == ["1 GPU", "0.5 GPUs"]
