"""edge-fiqa detector: which file detects faces, and where to get one."""

from __future__ import annotations

import argparse
import os

from edge_fiqa.cli.options import check_none_given
from edge_fiqa.cli.printing import say
from edge_fiqa.faces.detector import NO_DETECTOR
from edge_fiqa.faces.detector_file import URL, URL_VARIABLE, download_detector, find_detector
from edge_fiqa.faces.photo_detector import PhotoDetector
from edge_fiqa.files import sha256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--download", action="store_true", help="OpenCV Zoo's YuNet into the cache (233 kB)"
    )
    parser.add_argument("--url", help=f"of a mirror (default: {URL_VARIABLE}, else OpenCV Zoo)")


def run(options: argparse.Namespace) -> int:
    """Exit status 1 where there is no detector."""
    if not options.download:
        check_none_given(options, ("url",), "is about --download, which is not given")
    if options.download:
        path = download_detector(options.url or os.environ.get(URL_VARIABLE) or URL)
        say(f"downloaded, SHA-256 checked: {path}")
    detector = find_detector()
    if detector is None:
        say(f"no detector: aligned 112x112 crops can be scored, photographs not; {NO_DETECTOR}")
        return 1
    PhotoDetector(detector.path)  # a file that OpenCV cannot run is an error here
    say(
        f"detector: {detector.path}\nfrom:     {detector.source}\nSHA-256:  {sha256(detector.path)}"
    )
    return 0
