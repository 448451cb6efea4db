"""The Python of README.md and docs/python.md runs as it is shown, each as a process of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from edge_fiqa import find_detector
from tests.needs import missing

ROOT = Path(__file__).parents[1]
PHOTO = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
A_CROP = "from edge_fiqa.cli.demo import portrait\n\ncrop = portrait()\n"


def blocks_of(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def printed_by(code, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(maxsplit=2)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_a_crop_is_scored(page, tmp_path, monkeypatch):
    code = A_CROP + blocks_of(page)[0]
    quality, depth, reason = printed_by(code, tmp_path, monkeypatch)
    assert 0 <= int(quality) <= 100
    assert 1 <= int(depth) <= 12
    assert reason.strip() in ("budget", "full")


def test_faces_of_a_photograph_are_scored(tmp_path, monkeypatch):
    if find_detector() is None:
        missing("no detector is installed: pip install 'edge-fiqa[detector]'")
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    quality, code, box = printed_by(blocks_of("docs/python.md")[1], tmp_path, monkeypatch)
    assert int(quality) > 60
    assert code == "ok"
    assert box.count(",") == 3
