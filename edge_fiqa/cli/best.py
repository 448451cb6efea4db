"""edge-fiqa best: the best face of every person in a video: pictures, records, a contact sheet."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge_fiqa.cli.options import add_engine_arguments, open_bundle
from edge_fiqa.cli.printing import say
from edge_fiqa.cli.stopping import first_signal
from edge_fiqa.errors import BackendMissing, ConfigError, counted
from edge_fiqa.faces.detector import LONGEST_SIDE, NO_DETECTOR
from edge_fiqa.faces.detector_file import AUTO, find_detector
from edge_fiqa.reasons.words import causes_in_words
from edge_fiqa.scoring.scorer import Scorer

if TYPE_CHECKING:
    from edge_fiqa.footage.result import VideoResult
    from edge_fiqa.footage.search import SearchRequest

SEARCH_FPS, FASTEST_SEARCH = 10.0, 240.0
SMALLEST_EYES_PX = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "video", type=Path, metavar="VIDEO", help="a file; cameras: edge-fiqa gateway"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="new folder for best.json, two pictures of every person, and contact-sheet.jpg",
    )
    parser.add_argument(
        "--detector",
        default=AUTO,
        metavar="auto|FILE",
        help="YuNet's ONNX file (auto: the one that edge-fiqa detector shows)",
    )
    parser.add_argument(
        "--detector-size",
        type=int,
        default=LONGEST_SIDE,
        metavar="PX",
        help=f"longest side to which frames are reduced; larger for small faces ({LONGEST_SIDE})",
    )
    parser.add_argument(
        "--fps",
        type=float,
        default=SEARCH_FPS,
        metavar="N",
        help=f"frames in a second of the video that are searched ({SEARCH_FPS:g})",
    )
    parser.add_argument(
        "--min-eye-px",
        type=float,
        default=SMALLEST_EYES_PX,
        metavar="PX",
        help=f"smallest distance of the eyes ({SMALLEST_EYES_PX:g})",
    )
    parser.add_argument(
        "--gate", type=int, metavar="Q", help="mark best shots of quality >= Q as accepted"
    )
    add_engine_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Exit status 1 if the video was not searched as a whole: it is cut short."""
    # FFmpeg would write what it thinks of a damaged file to stderr, line upon line.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    try:
        from edge_fiqa.footage.contact_sheet import write_contact_sheets
        from edge_fiqa.footage.search import VideoSearch
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[gateway]'") from exc
    request = _request(options)
    with _scorer(options) as scorer, first_signal() as stop_signal:
        search = VideoSearch(request, scorer)
        start = time.perf_counter()
        with _progress(search.video.stated_s, options.quiet) as on_time:
            result = search.run(lambda: stop_signal() != 0, on_time)
        seconds = time.perf_counter() - start
        write_contact_sheets(request.folder, result)
        _say_people(result)
        _say_end(result, request.folder, seconds)
        if number := stop_signal():
            return 128 + number
    return 1 if search.video.cut_short() else 0


def _request(options: argparse.Namespace) -> SearchRequest:
    from edge_fiqa.footage.search import SearchRequest

    if not 0 < options.fps <= FASTEST_SEARCH:
        raise ConfigError(
            f"--fps must be above 0 and at most {FASTEST_SEARCH:g}, got {options.fps:g}"
        )
    if not 64 <= options.detector_size <= 4096:
        raise ConfigError(f"--detector-size must be 64 to 4096, got {options.detector_size}")
    if not 1 <= options.min_eye_px < 1000:
        raise ConfigError(f"--min-eye-px must be 1 to 1000, got {options.min_eye_px:g}")
    if "" in (str(options.video), str(options.output)):
        raise ConfigError("one of the paths is empty")
    detector = find_detector(options.detector)
    if detector is None:
        raise ConfigError(f"a video needs a detector: {NO_DETECTOR}")
    return SearchRequest(
        video=options.video,
        folder=options.output,
        detector=detector.path,
        fps=options.fps,
        longest_side=options.detector_size,
        min_eye_px=options.min_eye_px,
    )


def _scorer(options: argparse.Namespace) -> Scorer:
    bundle = open_bundle(options)
    scorer = Scorer.open(
        bundle, backend=options.backend, threads=options.threads, gate=options.gate
    )
    scorer.monitor = None  # frames of one person are no sample of a camera's faces
    return scorer


@contextmanager
def _progress(duration_s: float | None, quiet: bool) -> Iterator[Callable[[float], None]]:
    """A function that takes the time in the video."""
    if quiet or not sys.stderr.isatty():
        yield lambda time_s: None
        return
    from tqdm import tqdm

    form = "{percentage:3.0f}% {bar} {n:.0f} of {total:.0f} s of video [{elapsed}]"
    if duration_s is None:
        form = "{n:.0f} s of video [{elapsed}]"
    with tqdm(total=duration_s, bar_format=form, file=sys.stderr, dynamic_ncols=True) as bar:
        yield lambda time_s: bar.update(time_s - bar.n)


def _say_people(result: VideoResult) -> None:
    from edge_fiqa.footage.contact_sheet import clock_time, quality_text

    shots = [entry for entry in result.persons if entry.picture is not None]
    if shots:
        say(f"{'person':<8}{'quality':<14}{'at':<12}{'seen':<22}file")
    for entry in shots:
        assert entry.record is not None
        reasons = f" [{text}]" if (text := causes_in_words(entry.record.reasons)) else ""
        seen = f"{clock_time(entry.first_s)} to {clock_time(entry.last_s)}"
        at = clock_time(entry.time_s or 0.0)
        say(f"{entry.person:<8}{quality_text(entry):<14}{at:<12}{seen:<22}{entry.picture}{reasons}")


def _say_end(result: VideoResult, folder: Path, seconds: float) -> None:
    shots = sum(entry.picture is not None for entry in result.persons)
    rest = [entry for entry in result.persons if entry.picture is None]
    people = (
        f"{counted(shots, 'best shot')} in {folder}" if shots else f"no usable face; see {folder}"
    )
    pace = f"{result.duration_s:.1f} s of video in {seconds:.1f} s"
    if result.duration_s > 0:
        pace += f" ({result.duration_s / seconds:.1f} times as fast as it plays)"
    if not result.complete:
        people = f"stopped; {people}"
    _say(f"{people}; {pace}")
    if rest:
        reasons = sorted({reason for entry in rest for reason in entry.skipped})
        _say(
            f"{counted(len(rest), 'track has', 'tracks have')} no usable face "
            f"({', '.join(reasons)}); best.json lists them"
        )
    for warning in result.warnings:
        _say(f"warning: {result.video}: {warning}")


def _say(text: str) -> None:
    say(f"edge-fiqa best: {text}", error=True)
