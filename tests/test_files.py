import errno
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_fiqa.errors import ConfigError
from edge_fiqa.files import (
    cache_folder,
    lock_of,
    locked,
    not_writable,
    open_lines,
    private_folder,
    sha256,
    state_folder,
    write_all,
    write_figure,
    write_new,
    write_whole,
)
from edge_fiqa.gateway.config import outputs
from edge_fiqa.gateway.config.outputs import MqttConfig

MIB = 1 << 20


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def run_python(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def nameless_user(monkeypatch):
    """As `docker run --user 4711`: no HOME, no entry in the list of users, no XDG folder."""

    def no_entry(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "EDGE_FIQA_CACHE", "XDG_CACHE_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


def mode_of(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("links", [True, False], ids=["links", "memory card"])
def test_a_new_file_replaces_nothing(tmp_path, monkeypatch, links):
    if not links:
        refusal = OSError(errno.EPERM, "Operation not permitted")
        monkeypatch.setattr(Path, "hardlink_to", lambda self, target: raising(refusal))
    path = tmp_path / "face.png"
    write_new(path, b"first", 0o600)
    with pytest.raises(FileExistsError):
        write_new(path, b"second", 0o600)
    assert path.read_bytes() == b"first"
    assert mode_of(path) == 0o600
    assert names_in(tmp_path) == ["face.png"]


def test_a_new_file_does_not_follow_a_link(tmp_path):
    """Also not one that leads nowhere, which `exists` does not see."""
    (tmp_path / "face.png").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "face.png", b"data")
    assert names_in(tmp_path) == ["face.png"]


def raising(error):
    raise error


def test_folders_made_on_the_way_are_private_too(tmp_path):
    tmp_path.chmod(0o755)
    private_folder(tmp_path / "crops/alice")
    private_folder(tmp_path / "crops/alice")
    assert [mode_of(tmp_path / name) for name in ("crops", "crops/alice")] == [0o700, 0o700]
    assert mode_of(tmp_path) == 0o755


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "manifest.json"
    for data in (b"first", b"", b"second" * MIB):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert names_in(tmp_path) == ["manifest.json"]


def test_readers_with_the_old_file_open_keep_it(tmp_path):
    path = tmp_path / "manifest.json"
    write_whole(path, b"old")
    with path.open("rb") as file:
        write_whole(path, b"new")
        assert file.read() == b"old"


@pytest.mark.parametrize(("mask", "shared"), [(0o022, 0o644), (0o077, 0o600)])
def test_permission_bits(tmp_path, mask, shared):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "shared", b"report")
        write_whole(tmp_path / "private", b"face", 0o600)
        write_whole(tmp_path / "shared", b"face", 0o600)
        bits = [(tmp_path / name).stat().st_mode & 0o777 for name in ("shared", "private")]
        assert bits == [0o600, 0o600]
        write_whole(tmp_path / "shared", b"report")
        assert (tmp_path / "shared").stat().st_mode & 0o777 == shared
    finally:
        os.umask(before)


def test_a_link_is_replaced_and_what_it_names_stays(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    write_whole(tmp_path / "link", b"plan")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "link").read_bytes() == b"plan"


def test_a_device_is_written_and_not_replaced():
    write_whole(Path(os.devnull), b"data")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), b"data")


def test_a_pipe_gets_the_data():
    done = run_python(
        "from pathlib import Path; from edge_fiqa.files import write_whole\n"
        "write_whole(Path('/dev/stdout'), b'result')"
    )
    assert (done.stdout, done.stderr) == ("result", "")


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "report").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "report", b"data")
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "absent" / "report", b"data")
    assert names_in(tmp_path) == ["report"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "manifest.json"
    write_whole(path, b"old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[call], full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["manifest.json"]


def test_a_write_that_the_system_refuses_half_way_leaves_the_old_file(tmp_path):
    """A limit on the size of files: the kernel takes the first MiB and refuses what follows."""
    path = tmp_path / "manifest.json"
    write_whole(path, b"old")
    code = (
        "import sys; from pathlib import Path; from edge_fiqa.files import write_whole\n"
        f"write_whole(Path(sys.argv[1]), bytes({3 * MIB}))"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))  # noqa: E731
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = run_python(code, path, preexec_fn=limit, env=environment)
    assert "File too large" in done.stderr
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["manifest.json"]


@pytest.mark.skipif(shutil.which("mount") is None or os.getuid() != 0, reason="needs root")
def test_a_full_file_system_leaves_the_old_file(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        path = tmp_path / "manifest.json"
        write_whole(path, b"old")
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, bytes(2 * MIB))
        assert path.read_bytes() == b"old"
        assert names_in(tmp_path) == ["manifest.json"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_killed_between_writing_and_renaming(tmp_path):
    path = tmp_path / "manifest.json"
    write_whole(path, b"old")
    code = """
import os, signal, sys
from pathlib import Path
from edge_fiqa.files import write_whole
Path.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), b"new")
"""
    assert run_python(code, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    partial, name = names_in(tmp_path)
    assert name == "manifest.json"
    assert partial.startswith(".manifest.json.")
    assert partial.endswith(".part")
    write_whole(path, b"new")  # what the killed process wrote is in nobody's way
    assert path.read_bytes() == b"new"


def test_many_writers_at_once(tmp_path):
    """Processes that write the same file at once: one of them wins, whole."""
    path = tmp_path / "manifest.json"
    code = (
        "import sys; from pathlib import Path; from edge_fiqa.files import write_whole\n"
        "for _ in range(20): write_whole(Path(sys.argv[1]), sys.argv[2].encode() * 100_000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), x]) for x in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert path.read_bytes() in [x * 100_000 for x in (b"a", b"b", b"c")]
    assert names_in(tmp_path) == ["manifest.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="XDG's folders are Linux's")
def test_where_caches_and_state_lie(tmp_path, monkeypatch):
    for name in ("EDGE_FIQA_CACHE", "XDG_CACHE_HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("tensorrt") == tmp_path / ".cache/edge_fiqa/tensorrt"
    assert state_folder("edge-fiqa") == tmp_path / ".local/state/edge-fiqa"
    assert outputs.state_folder() == tmp_path / ".local/state/edge-fiqa"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))
    assert cache_folder("tensorrt") == tmp_path / "xdg/edge_fiqa/tensorrt"
    assert outputs.state_folder() == tmp_path / "xdg-state/edge-fiqa"
    monkeypatch.setenv("EDGE_FIQA_CACHE", "elsewhere")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/gateway:/var/lib/other")
    assert cache_folder("tensorrt") == Path("elsewhere/edge_fiqa/tensorrt")
    assert outputs.state_folder() == Path("/var/lib/gateway")
    assert list(tmp_path.iterdir()) == []  # nothing is made by asking


@pytest.mark.usefixtures("nameless_user")
def test_a_user_without_a_home():
    folder = cache_folder("tensorrt")
    assert folder.is_absolute()  # a path that begins with ~ would be made below the current folder
    assert not_writable(folder) == "Not a directory"
    assert state_folder("edge-fiqa") is None
    with pytest.raises(ConfigError, match="no home: set XDG_STATE_HOME or STATE_DIRECTORY"):
        MqttConfig(host="broker")
    assert MqttConfig(host="broker", spool=Path("/spool")).spool == Path("/spool")


def test_an_older_platformdirs_returns_the_path_with_its_tilde(monkeypatch):
    monkeypatch.delenv("EDGE_FIQA_CACHE", raising=False)
    for name in ("user_cache_dir", "user_state_dir"):
        monkeypatch.setattr(f"platformdirs.{name}", lambda app, appauthor: f"~/.folder/{app}")
    assert not_writable(cache_folder("tensorrt")) == "Not a directory"
    assert state_folder("edge-fiqa") is None


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


@pytest.mark.parametrize("tail", [b"", b"cut", b"cut" * 100_000])
def test_lines_are_appended_behind_the_last_whole_one(tmp_path, tail):
    path = tmp_path / "log"
    for whole in (b"", b"one\ntwo\n"):
        path.write_bytes(whole + tail)
        with open_lines(path) as file:
            write_all(file, b"three\n")
        assert path.read_bytes() == whole + b"three\n"
    path.unlink()
    open_lines(path).close()
    assert path.read_bytes() == b""


def test_a_lock_is_held_by_one_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from edge_fiqa.files import locked\n"
        "with locked(Path(sys.argv[1]), 'busy') as has_lock: print(has_lock)"
    )
    with locked(lock_of(tmp_path / "log"), "busy") as has_lock:
        assert has_lock
        assert "ConfigError: busy" in run_python(code, lock_of(tmp_path / "log")).stderr
    assert run_python(code, lock_of(tmp_path / "log")).stdout == "True\n"


def test_a_figure_is_written_whole(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib.figure")
    figure = matplotlib.Figure()
    for name in ("a.png", "a.svg", "a"):
        write_figure(figure, tmp_path / name)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert (tmp_path / "a").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="nothing"):
        write_figure(figure, tmp_path / "a.nothing")
    assert names_in(tmp_path) == ["a", "a.png", "a.svg"]
