"""`build --force`: only bundles are replaced, and a kill at any moment leaves one."""

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from edge_fiqa.build.builder import build_bundle
from edge_fiqa.bundle import replace
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import MANIFEST
from edge_fiqa.bundle.replace import check_replaceable, folder_beside, put_in_place
from edge_fiqa.config import BuildRecipe
from edge_fiqa.errors import ConfigError


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle.folder, tmp_path / "copy")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["photos", "empty", "foreign manifest", "file"])
def test_force_replaces_nothing_else(checkpoint, tmp_path, content):
    """`build --force -o ~` deleted the home folder."""
    target = tmp_path / "home"
    if content == "file":
        target.write_bytes(b"precious")
    else:
        target.mkdir()
    if content == "photos":
        (target / "wedding.jpg").write_bytes(b"precious")
    if content == "foreign manifest":
        (target / MANIFEST).write_text('{"schema": "web/3"}', encoding="utf-8")
    before = target.read_bytes() if content == "file" else names_in(target)
    with pytest.raises(ConfigError, match="--force replaces bundles alone"):
        build_bundle(checkpoint, target, BuildRecipe(backend="ort"), force=True)
    assert before == (target.read_bytes() if content == "file" else names_in(target))
    assert names_in(tmp_path) == ["home"]


def test_a_bundle_with_something_else_in_it_stays(copy):
    (copy / "notes.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds notes\.txt, which is no part of the bundle"):
        check_replaceable(copy)
    (copy / "notes.txt").unlink()
    (copy / "faces").mkdir()
    with pytest.raises(ConfigError, match="holds faces, which is no part"):
        check_replaceable(copy)
    (copy / "faces").rmdir()
    (copy / ".manifest.json.0a1b2c3d.part").write_bytes(b"")
    check_replaceable(copy)


def test_a_damaged_bundle_is_replaced(checkpoint, copy):
    (copy / "body-01-01.onnx").write_bytes(b"damaged")
    (copy / "weights.bin").unlink()
    build_bundle(checkpoint, copy, BuildRecipe(backend="ort"), force=True, name="new")
    assert Bundle.open(copy).manifest.name == "new"


def test_a_link_stays_a_link(checkpoint, copy, tmp_path):
    (tmp_path / "link").symlink_to(copy)
    build_bundle(checkpoint, tmp_path / "link", BuildRecipe(backend="ort"), force=True, name="new")
    assert (tmp_path / "link").is_symlink()
    assert Bundle.open(copy).manifest.name == "new"
    assert names_in(tmp_path) == ["copy", "link"]


def replaced(target, edited="new"):
    with folder_beside(target) as folder:
        shutil.copytree(target, folder, dirs_exist_ok=True)
        manifest = folder / MANIFEST
        text = manifest.read_text(encoding="utf-8").replace('"name": "', f'"name": "{edited} ', 1)
        manifest.write_text(text, encoding="utf-8")
        put_in_place(folder, target)


@pytest.mark.parametrize("exchanges", [True, False])
def test_with_and_without_an_exchange_in_one_step(copy, tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(replace, "_exchanged", lambda *names: False)
    replaced(copy)
    replaced(copy, "newer")
    assert Bundle.open(copy).manifest.name.startswith("newer new ")
    assert names_in(tmp_path) == ["copy"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EACCES])
def test_file_systems_that_cannot_exchange(copy, tmp_path, monkeypatch, code):
    class Library:
        renameat2 = staticmethod(lambda *arguments: -1)

    monkeypatch.setattr(replace.ctypes, "CDLL", lambda *_, **__: Library)
    monkeypatch.setattr(replace.ctypes, "get_errno", lambda: code)
    if code == errno.EACCES:
        with pytest.raises(ConfigError, match="cannot be replaced: Permission denied"):
            replaced(copy)
    else:
        replaced(copy)
    assert names_in(tmp_path) == ["copy"]
    assert Bundle.open(copy).manifest.name.startswith("new ") == (code != errno.EACCES)


KILLED = """
import os, signal, sys
from pathlib import Path
from edge_fiqa.bundle import replace
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
rename, calls = Path.rename, []
def counted(*names):
    calls.append(names)
    if len(calls) == int(sys.argv[2]):
        kill()
    return rename(*names)
Path.rename = counted
if sys.argv[3] == "False":
    replace._exchanged = lambda *names: False
else:
    exchanged = replace._exchanged
    replace._exchanged = lambda *names: exchanged(*names) and kill()
from tests.bundle.test_replace import replaced
replaced(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("exchanges", "at"), [(True, 0), (False, 1), (False, 2)])
def test_killed_between_two_renames(copy, tmp_path, exchanges, at):
    command = [sys.executable, "-c", KILLED, str(copy), str(at), str(exchanges)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    if at == 2:
        refused = pytest.raises(
            Exception, match="is missing: a build was stopped while it replaced"
        )
        with refused:
            Bundle.open(copy)
        os.rename(tmp_path / ".copy.old", copy)  # noqa: PTH104, as the message says
    Bundle.open(copy)
    replaced(copy, "next")
    assert Bundle.open(copy).manifest.name.startswith("next ")
    assert names_in(tmp_path) == ["copy"]  # what the killed process left is gone


def test_folders_of_builds_that_run_are_not_removed(tmp_path):
    with folder_beside(tmp_path / "b") as first:
        with folder_beside(tmp_path / "b") as second:
            assert first.is_dir()
            assert second.is_dir()
        assert first.is_dir()
    assert names_in(tmp_path) == []


def test_folders_of_others_are_not_removed(tmp_path):
    (tmp_path / ".b.backup").mkdir()
    (tmp_path / ".c.x.building").mkdir()
    with folder_beside(tmp_path / "b"):
        pass
    assert names_in(tmp_path) == [".b.backup", ".c.x.building"]
