"""Every `edge-fiqa ...` in a document is taken by the real argument parser, and named files exist."""

import ast
import contextlib
import io
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import edge_fiqa
from edge_fiqa.cli import COMMANDS, main
from edge_fiqa.gateway.config.gateway import load_config

ROOT = Path(__file__).parents[1]
NOT_OURS = {".git", ".venv", "build", "dist", "mutants", "runs"}
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not NOT_OURS & set(path.relative_to(ROOT).parts)
)
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(edge-fiqa [^`\n]+)`")
OPERATORS = {"|", "&&", "||", ";", ">", ">>", "2>", "&"}


def commands_of(text):
    """Each shell command line of the code blocks: all of a block, or what stands behind `$ `."""
    for _, block in FENCE.findall(text):
        lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        yield from prompted or lines


def calls_of(line):
    """The arguments of each `edge-fiqa` of a line, sudo and pipes aside."""
    if "edge-fiqa " not in line or line.startswith("#"):
        return
    words = shlex.split(line, comments=True)
    while "edge-fiqa" in words:
        words = words[words.index("edge-fiqa") + 1 :]
        end = next((n for n, word in enumerate(words) if word in OPERATORS), len(words))
        if words and words[0] in COMMANDS:
            yield words[:end]


CALLS = [
    (document.relative_to(ROOT), call)
    for document in DOCUMENTS
    for line in commands_of(document.read_text(encoding="utf-8"))
    for call in calls_of(line)
]


def test_commands_are_found():
    assert len(CALLS) > 60
    assert {call[0] for _, call in CALLS} >= set(COMMANDS) - {"demo", "detector"}
    text = (
        "```console\n$ sudo x && edge-fiqa score a \\\n  --gate 4 | cat # b\nedge-fiqa: no\n```\n"
    )
    found = [call for line in commands_of(text) for call in calls_of(line)]
    assert found == [["score", "a", "--gate", "4"]]


@pytest.mark.parametrize(
    ("document", "call"),
    [pytest.param(document, call, id=f"{document}: {' '.join(call)}") for document, call in CALLS],
)
def test_the_parser_takes_it(document, call, monkeypatch, capsys):
    monkeypatch.setattr(import_module(f"edge_fiqa.cli.{call[0]}"), "run", lambda options: 0)
    try:
        assert main(call) == 0
    except SystemExit:
        pytest.fail(f"{document}: {capsys.readouterr().err}")


@pytest.fixture(scope="module")
def known_flags():
    """Command -> flags that its help names."""
    flags = {}
    for name in COMMANDS:
        text = io.StringIO()
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
            main([name, "--help"])
        flags[name] = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text.getvalue()))
    return flags


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_within_sentences_exist(document, known_flags):
    for snippet in INLINE.findall(document.read_text(encoding="utf-8")):
        name = snippet.split()[1]
        if name in COMMANDS:
            flags = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", snippet))
            assert flags <= known_flags[name], snippet


def test_commands_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        lines = [line for line in commands_of(text) if line.startswith("make ")]
        for target in [line.split()[1] for line in lines] + re.findall(r"`make ([a-z-]+)", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document}: make {target}"


def test_python_in_documents_uses_public_names():
    blocks = [
        block
        for document in DOCUMENTS
        for language, block in FENCE.findall(document.read_text(encoding="utf-8"))
        if language == "python"
    ]
    assert len(blocks) >= 2
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("edge_fiqa"):
                assert node.module == "edge_fiqa"
                assert {name.name for name in node.names} <= set(edge_fiqa.__all__)


@pytest.mark.parametrize("page", ["README.md", "docs/gateway.md"])
def test_the_first_gateway_yaml_is_a_configuration(page, tmp_path, monkeypatch):
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = re.search(r"^\$ cat gateway.yaml\n(.*?)^\$ ", text, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "gateway.yaml").write_text(shown, encoding="utf-8")
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("gateway.yaml"), {"CAM_PASSWORD": "a"})
    assert list(config.cameras) == ["door"]
    assert config.mqtt.host == "localhost"


def test_faces_and_similarities_become_pairs_as_the_page_says(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    (code,) = [block for language, block in FENCE.findall(text) if language == "python"]
    monkeypatch.chdir(tmp_path)
    faces = "".join(f"{n}.png,{n},\n" for n in range(60)) + "bad.png,,unreadable\n"
    Path("scores.csv").write_text("source,quality.raw,quality.code\n" + faces, encoding="utf-8")
    pairs = "".join(f"{n}.png,{n + 1}.png,1,{0.3 + n / 100}\n" for n in range(59))
    pairs += "0.png,bad.png,1,0.2\n"
    Path("similarities.csv").write_text("path_a,path_b,same,similarity\n" + pairs, encoding="utf-8")
    exec(compile(code, "evaluation.md", "exec"), {})
    rows = Path("pairs.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1] == "0.3,1,0,1"
    assert rows[-1] == "0.2,1,0,"
    assert main(["edc", "pairs.csv", "--threshold", "0.5"]) == 0
    assert "NaN" not in capsys.readouterr().out
