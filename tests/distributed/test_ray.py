"""`edge-fiqa score --on ray` as people run it, in a process of its own: killed, and run again."""

import contextlib
import json
import math
import mmap
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import psutil
import pytest

import edge_fiqa
from edge_fiqa.cli import main
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.record import Record
from tests.distributed.sets import by_id, comparable, encoded, write_folder, write_tar
from tests.needs import missing
from tests.waiting import until

try:
    import ray  # noqa: F401
except ImportError:
    missing("Ray is not installed; pip install 'edge-fiqa[ray]'", whole_file=True)

pytestmark = pytest.mark.ray
PICTURES = 800
PATIENCE_S = 300.0
"""Nothing here takes so long, but on a machine that is busy with other things."""


@pytest.fixture(autouse=True)
def nothing_runs_on(monkeypatch):
    """Also where a test fails while it waits: what it started ends, and Ray's processes with it."""
    mark, started = uuid.uuid4().hex, len(STARTED)
    monkeypatch.setenv("EDGE_FIQA_TEST", mark)
    yield
    processes = marked(mark)
    for process in STARTED[started:]:
        process.kill()
        process.communicate()
    for each in [*processes, *marked(mark)]:
        with contextlib.suppress(psutil.Error):
            each.kill()
    until(lambda: ended([*processes, *marked(mark)]), PATIENCE_S)


STARTED = []


def marked(mark):
    """The processes that inherited it, and what they started (Ray's workers hide theirs)."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("EDGE_FIQA_TEST") == mark:
                processes += [process, *process.children(recursive=True)]
    return processes


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder and a tar with many pictures, one of them poison."""
    files = encoded(synthetic_faces(40, seed=9))
    many = [files[number % 40] for number in range(PICTURES)]
    many[77] = b"poison"
    folder = tmp_path_factory.mktemp("many")
    write_folder(folder / "faces", many)
    write_tar(folder / "faces.tar", many[:100])
    return folder


@pytest.fixture(scope="module")
def alone(faces, bundle, tmp_path_factory):
    """One machine's records of the folder: id -> record."""
    output = tmp_path_factory.mktemp("alone") / "scores.ndjson"
    main(
        ["score", str(faces / "faces"), *flags(bundle), "--jobs", "1", "-o", str(output), "--quiet"]
    )
    lines = output.read_bytes().splitlines()
    records = [comparable(msgspec.json.decode(line, type=Record)) for line in lines]
    return {record.id: record for record in records}


def flags(bundle):
    return ["--bundle", str(bundle.folder), "--backend", "ov"]


def start(bundle, *arguments, workers=1, per_file=5):
    """The command, in a folder and with a search path where edge_fiqa is not."""
    command = [sys.executable, "-c", RUN, str(Path(edge_fiqa.__file__).parents[1]), "score"]
    command += [*map(str, arguments), *flags(bundle), "--on", "ray", "--quiet"]
    command += ["--jobs", str(workers), "--per-file", str(per_file)]
    environment = {**os.environ, "PYTHONPATH": "/no/such/folder"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", env=environment
    )
    STARTED.append(process)
    return process


RUN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from edge_fiqa.cli import main
sys.exit(main())
"""


def finished(process, status=1):
    """What it said, once it ended: with 1, as one picture is poison.

    On standard output Ray tells of workers that died.
    """
    error = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == status, error
    assert "Traceback" not in error
    return error


def parts(output):
    return list(output.glob("*.parquet"))


def wait_for_parts(process, output):
    """Until some are written. A machine that stops this process meanwhile may let all be written."""
    until(lambda: len(parts(output)) >= 3 or process.poll() is not None, PATIENCE_S)
    assert parts(output), process.communicate()[1]


def children(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []


def ended(processes):
    return not any(map(runs, processes))


def runs(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def workers_of(process):
    return [each for each in children(process) if "ray::MapWorker" in " ".join(_command(each))]


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_killed_run_is_finished_by_the_next(faces, alone, bundle, tmp_path):
    output = tmp_path / "out"
    process = start(bundle, faces / "faces", "-o", output)
    wait_for_parts(process, output)
    started = children(process)
    process.kill()
    process.communicate()
    assert process.returncode in (-signal.SIGKILL, 1)
    until(lambda: ended(started), PATIENCE_S)  # Ray's processes end with it
    error = finished(start(bundle, faces / "faces", "-o", output))
    drift = "edge-fiqa score: warning: "  # of synthetic faces it may be said
    assert all(line.startswith(drift) for line in error.splitlines()), error
    assert by_id(output) == alone
    assert len(parts(output)) == PICTURES // 5
    assert not list(output.glob("_plan/*"))


@pytest.mark.slow
def test_a_killed_worker_s_shards_go_to_another(faces, alone, bundle, tmp_path):
    output = tmp_path / "out"
    process = start(bundle, faces / "faces", "-o", output, workers=2)
    wait_for_parts(process, output)
    for worker in workers_of(process)[:1]:
        worker.kill()
    finished(process)
    assert by_id(output) == alone


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_it_and_nothing_runs_on(faces, alone, bundle, tmp_path, sent, status):
    output = tmp_path / "out"
    process = start(bundle, faces / "faces", "-o", output)
    wait_for_parts(process, output)
    started = children(process)
    process.send_signal(sent)
    error = process.communicate(timeout=PATIENCE_S)[1]
    if process.returncode != 1:  # it had not ended by then
        assert process.returncode == status
        assert "the same command goes on from there" in error
        assert len(error.splitlines()) == 1
    until(lambda: ended(started), PATIENCE_S)
    finished(start(bundle, faces / "faces", "-o", output))
    assert by_id(output) == alone


CLUSTER = """
import json, os, signal, subprocess, sys, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from pathlib import Path
from ray.cluster_utils import Cluster
output, command = Path(sys.argv[1]), sys.argv[2:]
small = {"object_store_memory": 100 << 20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **small})
nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
cluster.wait_for_nodes()
process = subprocess.Popen([*command, "--address", cluster.address], stderr=subprocess.PIPE, text=True)
end = time.monotonic() + 300
while len(list(output.glob("*.parquet"))) < 3 and process.poll() is None and time.monotonic() < end:
    time.sleep(0.01)
there = len(list(output.glob("*.parquet")))
cluster.remove_node(nodes[0], allow_graceful=False)
error = process.communicate(timeout=300)[1]
cluster.shutdown()
print(json.dumps({"status": process.returncode, "there": there, "error": error}))
"""


@pytest.mark.slow
def test_a_node_that_dies_loses_nothing(faces, alone, bundle, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "edge_fiqa", "score", str(faces / "faces"), "-o", str(output)]
    command += [*flags(bundle), "--on", "ray", "--quiet", "--jobs", "3", "--per-file", "5"]
    text = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(output), *command],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert text.returncode == 0, text.stderr
    said = json.loads(text.stdout.splitlines()[-1])
    assert said["status"] == 1, said["error"]
    assert said["there"] >= 3
    assert by_id(output) == alone


@pytest.mark.slow
def test_a_full_disk_ends_it_and_the_next_run_goes_on(faces, alone, bundle, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    # The plan has a page for each list, a part of five records 8 kB or more: there is room for half.
    lists, page = PICTURES // 5, mmap.PAGESIZE
    size = lists * page + lists // 2 * page * math.ceil(8192 / page + 0.01)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        command = [bundle, faces / "faces", "-o", disk / "out"]
        error = finished(start(*command), 2)
        assert f"{disk / 'out'} cannot be written: No space left on device" in error
        assert parts(disk / "out")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        finished(start(*command))
        assert by_id(disk / "out") == alone
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_other_settings_are_refused_and_overwriting_is_asked_for(faces, bundle, tmp_path):
    output, tar = tmp_path / "out", faces / "faces.tar"
    finished(start(bundle, tar, "-o", output, per_file=50))
    error = finished(start(bundle, tar, "-o", output, "--exit", "2"), 2)
    assert "was written with other settings: policy: full depth there, exit 2 now" in error
    next(output.glob("*-last.parquet")).unlink()  # with the poison in it
    finished(start(bundle, tar, "-o", output, per_file=7))  # the set keeps its 50
    assert (len(parts(output)), len(by_id(output))) == (2, 100)
    page = output / "page.html"
    again = start(bundle, tar, "-o", output, "--exit", "2", "--overwrite", "--summary", page)
    finished(again)
    assert "100 faces, 99 with a score" in page.read_text(encoding="utf-8")
    depths = {r.exit.depth for r in by_id(output).values() if r.quality.code == "ok"}
    assert depths == {2}
    assert len(by_id(output)) == 100
