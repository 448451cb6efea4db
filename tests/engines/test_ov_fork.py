"""OpenVINO in forked children: its threads stay in the process that first compiled.

Each case is a program of its own with a time limit, because what is tested against is waiting for ever.
"""

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
import numpy as np
from edge_fiqa import Scorer

FOLDER = Path({folder!r})
FACE = np.zeros((112, 112, 3), np.uint8)

def score(backend):
    with Scorer.open(FOLDER, backend=backend, threads=1) as scorer:
        return scorer.score_face(FACE).quality.code

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            print(work())
        except Exception as exc:
            print(type(exc).__name__, exc)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture
def said_by(bundle):
    """What a program prints, of which PROGRAM is the beginning."""

    def run(lines):
        code = PROGRAM.format(folder=str(bundle.folder)) + lines
        command = [sys.executable, "-W", "ignore", "-c", code]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        ).stdout.splitlines()

    return run


def refused(line):
    return (
        line.startswith("EngineFailed OpenVINO was used before this process was forked")
        and 'get_context("spawn")' in line
    )


def test_opening_it_in_a_child_is_refused_once_the_parent_has_scored(said_by):
    """Also in a child's child; and the parent goes on."""
    parent, child, grandchild, again = said_by("""
print(score("ov"))
in_child(lambda: score("ov"))
in_child(lambda: in_child(lambda: score("ov")) or os._exit(0))
print(score("ov"))
""")
    assert (parent, again) == ("ok", "ok")
    assert refused(child)
    assert refused(grandchild)


def test_other_backends_may_be_opened_in_a_child(said_by):
    assert said_by("""
print(score("ov"))
in_child(lambda: score("ort"))
print(score("ort"))
in_child(lambda: score("ort"))
""") == ["ok", "ok", "ok", "ok"]


def test_a_parent_that_has_computed_nothing_leaves_its_children_free(said_by):
    """As web servers do, which load an application and then fork."""
    assert said_by("""
opened = Scorer.open(FOLDER, backend="ov", threads=1)
in_child(lambda: score("ov"))
in_child(lambda: score("ov"))
print(opened.score_face(FACE).quality.code)
""") == ["ok", "ok", "ok"]
