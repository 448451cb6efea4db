"""edge-fiqa gateway: cameras in, the best shot of every person out, until told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from pathlib import Path

from edge_fiqa.cli.printing import log_to_stderr, say
from edge_fiqa.errors import BackendMissing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="gateway.yaml")
    parser.add_argument(
        "--check", action="store_true", help="read the file, open model and detector, and stop"
    )
    parser.add_argument("--quiet", action="store_true", help="log warnings only")


def run(options: argparse.Namespace) -> int:
    # FFmpeg would write addresses with passwords to stderr.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    try:
        from edge_fiqa.gateway.service.daemon import check, serve_until_stopped
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[gateway]'") from exc

    log_to_stderr(
        logging.WARNING if options.quiet else logging.INFO, "%(levelname)s %(message)s", again=True
    )
    logging.getLogger("edge_fiqa.plans").setLevel(logging.NOTSET)
    if options.check:
        say(check(options.config))
        return 0
    return serve_until_stopped(options.config, {signal.SIGTERM, signal.SIGINT})
