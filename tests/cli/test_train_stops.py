"""edge-fiqa train keeps the steps done when it is stopped, and a second signal ends it at once.

Each run is a process of its own, which sends the signals to itself in a step that the test names.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_fiqa.cli import main
from tests.training.runs import assert_same, kept_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal hangs up here"),
]

RUN = """
import os, signal, sys
from edge_fiqa.cli import main
from edge_fiqa.training.loop import Trainer

for name in ("SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
one_step = Trainer._one_step

def send(*names):
    for name in names:
        os.kill(os.getpid(), getattr(signal, name))

def in_step(number, *names):
    def step(self):
        if self.step + 1 == number:
            send(*names)
        return one_step(self)
    Trainer._one_step = step
"""


WITHIN_S = 300


def words(root, output):
    paths = ["--config", root / "tiny.yaml", "--data", root, "-o", root / output]
    return ["train", *map(str, paths), "--cache", str(root / "cache"), "--threads", "1"]


def begin(root, script, **streams):
    code = f"{RUN}\n{script}\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words(root, "out")]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], text=True, **streams)


def run(root, script):
    """Exit status and what it wrote on standard error."""
    with begin(root, script, stderr=subprocess.PIPE) as process:
        error = process.communicate(timeout=WITHIN_S)[1]
    return process.returncode, error


@pytest.fixture
def whole(training_root):
    """What is in the last checkpoint of a run that nothing disturbed; its cache is for all."""
    assert main(words(training_root, "whole")) == 0
    return kept_in(training_root / "whole")


def test_steps_are_kept_by_the_first_signal_and_a_second_one_ends_at_once(training_root, whole):
    out = training_root / "out"
    for step, name, status in ((2, "SIGTERM", 143), (3, "SIGINT", 130)):
        code, error = run(training_root, f"in_step({step}, {name!r})")
        assert code == status, error
        says = f"edge-fiqa train: stopped at step {step}; the same command goes on"
        assert error.splitlines()[-1] == says
        assert kept_in(out)[".step"] == step
    before = (out / "latest.pt").read_bytes()
    while_it_is_written = 'os.fsync = lambda file: send("SIGTERM")'
    code, error = run(training_root, f'{while_it_is_written}; in_step(5, "SIGINT")')
    assert code == 143, error
    assert error.splitlines()[-1] == "edge-fiqa train: stopped"
    assert (out / "latest.pt").read_bytes() == before
    assert not (out / "model.safetensors").exists()
    assert not list(out.glob(".*.part"))
    assert main(words(training_root, "out")) == 0
    assert_same(kept_in(out), whole)


def test_a_terminal_that_closes_stops_a_run_unless_nohup_says_no(training_root, whole):
    out = training_root / "out"
    reader, terminal = os.openpty()
    twice = 'in_step(2, "SIGHUP", "SIGHUP")'  # by the shell and by the system
    with begin(training_root, twice, stderr=terminal) as process:
        os.close(terminal)
        os.close(reader)  # whatever it writes is an error now
        assert process.wait(WITHIN_S) == 129
    assert kept_in(out)[".step"] == 2
    ignored = 'signal.signal(signal.SIGHUP, signal.SIG_IGN); in_step(4, "SIGHUP")'
    code, error = run(training_root, ignored)
    assert code == 0, error
    assert_same(kept_in(out), whole)


TEE = """
from edge_fiqa.training import loop

loop.LOG_EVERY = 1  # so that the bar is written in every step
reader, writer = os.pipe()
os.dup2(writer, 2)

def step(self):
    if self.step + 1 == 3:
        os.close(reader)
        send("SIGINT")
    return one_step(self)

Trainer._one_step = step
"""


def test_steps_are_kept_where_whoever_reads_the_bar_is_gone(training_root, whole):
    """Ctrl-C ends all of `edge-fiqa train 2>&1 | tee log`, and then the bar is written."""
    out = training_root / "out"
    with begin(training_root, TEE) as process:
        assert process.wait(WITHIN_S) in (130, 141)
    assert kept_in(out)[".step"] == 3
    code, error = run(training_root, "")
    assert code == 0, error
    assert_same(kept_in(out), whole)
