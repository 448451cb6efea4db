"""A test that cannot run says so; in continuous integration it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import missing, need

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [
        ("", pytest.skip.Exception),
        ("false", pytest.skip.Exception),
        ("true", pytest.fail.Exception),
        ("1", pytest.fail.Exception),
    ],
)
def test_what_is_missing_fails_in_continuous_integration_only(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="a broker is not here"):
        missing("a broker is not here")
    with pytest.raises(outcome, match="no-such-tool is not installed; apt-get install its-package"):
        need("no-such-tool", "nor-this", package="its-package")


def test_what_is_installed_is_given_by_its_path(monkeypatch, tmp_path):
    for folder, name in ((tmp_path / "a", "second"), (tmp_path / "b", "first")):
        folder.mkdir()
        (folder / name).symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert need("first", "second") == str(tmp_path / "b/first")
    assert need("absent", "second") == str(tmp_path / "a/second")


def test_continuous_integration_stops_where_a_package_cannot_be_installed(tmp_path):
    """With an apt-get that fails, nothing after it runs: not even make."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'no network' >&2\nexit 100\n")
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "make").write_text("#!/bin/sh\necho made\n")
    for tool in tmp_path.iterdir():
        tool.chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci/run"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 100
    assert "made" not in done.stdout
    assert "no network" in done.stderr
