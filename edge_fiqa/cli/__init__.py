"""The command line: `edge-fiqa COMMAND`. One module per command, imported when it is called.

Exit status: 0 everything was done; 1 not all of it (faces that could not be scored, a calibration that
promises nothing); 2 nothing could be done (usage, missing bundle, missing backend); 130 stopped by
Ctrl-C, 143 by SIGTERM, 129 by a terminal that closed; 141 the reader of the output went away.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import NoReturn

from edge_fiqa import __version__
from edge_fiqa.cli.printing import EscapingParser, log_to_stderr, say
from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.files import no_descriptors

COMMANDS = {
    "score": "quality of faces: files, folders, or a list on standard input",
    "demo": "score a real portrait and worse and worse versions of it, exit by exit",
    "calibrate": "make scores comparable and early exits safe, from a folder of your own faces",
    "gate": "what a quality means: which share of faces passes, which error remains above",
    "build": "make a bundle from a checkpoint",
    "plans": "build a bundle's plans for NVIDIA cards on any machine, without a GPU",
    "train": "a model from faces grouped by person, with every exit supervised",
    "gateway": "cameras in, the best shot of every person out, in time at any load",
    "best": "the best face of every person in a video, with time, crop and record",
    "gallery": "which pictures of each person to keep and which to drop, as a report and a list",
    "evaluate": "what each exit is worth on your data sets: one report from a plan",
    "explain": "where the network looks at each exit, as a picture",
    "edc": "error versus discard of anybody's scores: FNMR, pAUC, intervals",
    "bench": "what each exit costs on this machine: ms, faces/s, memory, mJ; MLPerf scenarios",
    "detector": "which file detects faces in photographs, and where to get one",
    "info": "what a bundle is: model, segments, parity, costs",
    "doctor": "what is installed, which engines run, and a self-test",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Expected errors become one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # What libraries have to say of a bad file is in its record.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    warnings.filterwarnings("ignore", module="PIL")
    parser = EscapingParser(
        prog="edge-fiqa", description="Face image quality with early exits.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"edge-fiqa {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name == chosen:
            import_module(f"edge_fiqa.cli.{name}").add_arguments(command)
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that has no é shows \\xe9
        sys.stdout.reconfigure(errors="backslashreplace")
    log_to_stderr(logging.WARNING, "%(message)s")
    logging.getLogger("edge_fiqa.plans").setLevel(logging.INFO)  # minutes, and no terminal: lines
    try:
        with _stoppable():
            status = int(import_module(f"edge_fiqa.cli.{options.command}").run(options))
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is an error here, not at the exit
            return status
    except EdgeFiqaError as exc:
        reason = no_descriptors()  # without them, what is said of a file is a wrong guess
        say(f"edge-fiqa {options.command}: {reason or exc}", error=True)
        _discard_output()
        return 2
    except KeyboardInterrupt as stop:
        say(f"edge-fiqa {options.command}: stopped", error=True)
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        _discard_output()
        return 141
    except OSError as exc:
        if exc.errno not in CANNOT_BE_WRITTEN:
            raise
        say(f"edge-fiqa {options.command}: {exc.strerror}", error=True)
        _discard_output()
        return 2


CANNOT_BE_WRITTEN = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EDQUOT}


def _discard_output() -> None:
    """What standard output did not take is not tried again when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except AttributeError:  # there is no standard output
        pass


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what is open is closed, children are stopped."""


@contextmanager
def _stoppable() -> Iterator[None]:
    default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or not default:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: object) -> NoReturn:
    raise Terminated
