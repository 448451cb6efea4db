"""Where `edge-fiqa score` writes: a file that a second run resumes, a pipe, or standard output."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from edge_fiqa.cli.score_request import ScoreRequest
from edge_fiqa.errors import ConfigError
from edge_fiqa.scoring.gate_service import GateService
from edge_fiqa.scoring.output import STDOUT, StreamWriter, TableWriter, Writer
from edge_fiqa.scoring.resume import ResumableFile
from edge_fiqa.scoring.scorer import Scorer


def open_writer(request: ScoreRequest, worker: Scorer | GateService) -> Writer:
    """Open the output.

    Raises ConfigError if it cannot be written, or holds scores that were made with other settings.
    """
    scorer = worker.scorer if isinstance(worker, GateService) else worker
    output = request.output
    if output.path is None:
        return _to_standard_output(request, scorer.gate is not None)
    if not _is_resumable(output.path):
        return StreamWriter.at(output.path, output.file_form)
    run_settings = request.scoring.settings(worker)
    return ResumableFile(output.path, output.file_form, run_settings, overwrite=output.overwrite)


def _to_standard_output(request: ScoreRequest, gate: bool) -> Writer:
    if sys.stdout is None:
        raise ConfigError(f"{STDOUT} is closed; give --output FILE")
    if request.output.form == "table":
        return TableWriter(sys.stdout, request.output.all_exits, gate)
    return StreamWriter(sys.stdout.buffer, request.output.form, STDOUT)


def _is_resumable(path: Path) -> bool:
    """Say whether a second run can go on from this file's end.

    It cannot with a pipe or a device, which have no end, nor with a name for standard output.
    """
    if path.absolute().parts[:2] in (("/", "dev"), ("/", "proc")):
        return False
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
