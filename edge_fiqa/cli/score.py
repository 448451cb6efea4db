"""edge-fiqa score: scores the faces in files and folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edge_fiqa.calibration.audit import SHARE, Audit
from edge_fiqa.calibration.estimate import rule_name
from edge_fiqa.calibration.monitor import Finding
from edge_fiqa.cli import Terminated
from edge_fiqa.cli.gate_report import meaning
from edge_fiqa.cli.options import add_engine_arguments, add_policy_arguments
from edge_fiqa.cli.printing import say
from edge_fiqa.cli.ray_options import add_ray_arguments, check_ray_flags
from edge_fiqa.cli.score_output import open_writer
from edge_fiqa.cli.score_request import SMALLEST_EYES_PX, ScoreRequest, request_of
from edge_fiqa.cli.score_results import ScoreResults
from edge_fiqa.cli.score_summary import ScoreSummary
from edge_fiqa.errors import ConfigError, counted, shown
from edge_fiqa.faces.detector import LONGEST_SIDE, MIN_SCORE
from edge_fiqa.faces.detector_file import AUTO
from edge_fiqa.faces.images import MAX_PIXELS, printable
from edge_fiqa.faces.landmarks import Landmarks, read_landmarks
from edge_fiqa.faces.paths import PassedOver, expand
from edge_fiqa.faces.sources import FaceReader
from edge_fiqa.scoring.gate_service import GateService
from edge_fiqa.scoring.output import Writer
from edge_fiqa.scoring.pipeline import TOGETHER, score_files
from edge_fiqa.scoring.resume import ResumableFile
from edge_fiqa.scoring.scorer import Scorer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="PATH", help="files, folders, or - for a list on stdin"
    )
    add_engine_arguments(parser)
    add_policy_arguments(parser)
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE", help="of edge-fiqa calibrate (the bundle's own)"
    )
    parser.add_argument(
        "--audit",
        type=float,
        metavar="S",
        help=f"--policy gate: share of faces run to full depth as a check ({SHARE})",
    )
    _add_face_arguments(parser)
    out = parser.add_argument_group("output")
    out.add_argument("-o", "--output", metavar="FILE", help="append here; a second run resumes")
    out.add_argument("--overwrite", action="store_true", help="start --output afresh")
    out.add_argument("--format", choices=("table", "ndjson", "csv"))
    out.add_argument(
        "--jobs", type=int, metavar="N", help="files scored side by side (default: cores)"
    )
    out.add_argument(
        "--crops", type=Path, metavar="DIR", help="write each face, aligned, with its record inside"
    )
    out.add_argument("--sort", choices=("quality",), help="best first, once all are scored")
    out.add_argument("--top", type=int, metavar="N", help="show, and crop, only the N best")
    out.add_argument(
        "--per-person", type=int, metavar="N", help="only the N best of each folder, a person's"
    )
    out.add_argument("--quiet", action="store_true", help="no progress bar")
    add_ray_arguments(parser)


def _add_face_arguments(parser: argparse.ArgumentParser) -> None:
    faces = parser.add_argument_group(
        "detecting faces (images of 112x112 are aligned crops, and need no detector)"
    )
    faces.add_argument(
        "--detector",
        default=AUTO,
        metavar="auto|none|FILE",
        help="YuNet's ONNX file, for all images; auto: the one that edge-fiqa detector shows, for "
        "images that are no crops",
    )
    faces.add_argument(
        "--detector-size",
        type=int,
        metavar="PX",
        help=f"longest side of a picture in the first pass ({LONGEST_SIDE})",
    )
    faces.add_argument("--min-score", type=float, help=f"of a detected face ({MIN_SCORE})")
    faces.add_argument("--largest", action="store_true", help="only each picture's largest face")
    faces.add_argument(
        "--all-turns",
        action="store_true",
        help="search at full size in eight turns, several times slower: beside upright faces, only "
        "lying ones of some size are detected otherwise, and upside-down ones by chance",
    )
    faces.add_argument(
        "--landmarks", type=Path, metavar="FILE", help="CSV or JSON with 5 points a face"
    )
    faces.add_argument(
        "--aligned", action="store_true", help="square images of any size are aligned crops"
    )
    faces.add_argument(
        "--min-eye-px", type=float, help=f"smallest eye distance ({SMALLEST_EYES_PX:g})"
    )
    faces.add_argument(
        "--max-megapixels",
        type=float,
        default=MAX_PIXELS / 1e6,
        metavar="MP",
        help=f"larger pictures are refused ({MAX_PIXELS / 1e6:g})",
    )


def run(options: argparse.Namespace) -> int:
    if options.on == "ray":
        from edge_fiqa.cli.score_on_ray import run_on_ray  # needs pyarrow

        return run_on_ray(options)
    check_ray_flags(options)
    request = request_of(options)
    reader = _face_reader(request)
    scorers, together = _scorers(request)
    workers, audit = _workers(request, scorers, together)
    writer = open_writer(request, workers[0])
    passed_over = PassedOver()
    summary = ScoreSummary(passed_over=passed_over.suffixes)
    results = ScoreResults(request, writer, scorers[0].gate is not None)
    images = results.noted(expand(request.inputs, sys.stdin, passed_over))
    paths = _with_progress(_to_score(images, reader.landmarks, writer, summary), request)
    keepers = results.keeping_crops(workers)
    try:
        for records in score_files(
            paths, reader.faces_of, keepers, request.scoring.policies, together
        ):
            results.add(records)
            summary.see(records)
        results.show_held()
    except KeyboardInterrupt as stop:
        _say(f"stopped; {results.stopped(summary.written)}{_how_to_go_on(writer)}")
        return 143 if isinstance(stop, Terminated) else 130
    finally:
        writer.close()
    results.finish(reader.faces_of)
    _say_gate(request, scorers[0])
    _say_findings(scorers, audit)
    if reader.landmarks is not None:
        say_unmatched(reader.landmarks)
    if not summary.written and not summary.there_already:
        rest = f"; {summary.passed_over_line()}" if summary.passed_over else ""
        raise ConfigError(f"no images in {' '.join(request.inputs)}{rest}")
    if request.output.path is not None and not request.output.quiet:
        say(summary.line(str(request.output.path)), error=True)
    elif summary.passed_over and not request.output.quiet:
        _say(summary.passed_over_line())
    for line in results.notes():
        _say(line)
    return 1 if summary.failed else 0


def _face_reader(request: ScoreRequest) -> FaceReader:
    faces = request.scoring.faces
    landmarks = read_landmarks(faces.landmarks) if faces.landmarks else None
    reader = faces.reader(landmarks, request.scoring.threads)
    if landmarks is not None and not request.output.quiet:
        _say(f"{landmarks.file}: {landmarks.understood}")
    return reader


def say_unmatched(landmarks: Landmarks) -> None:
    """Warn of names that match no image of this run. Raises ConfigError if no name matches."""
    unmatched = landmarks.unmatched()
    of_all = counted(len(landmarks.faces), "name")
    match = "matches" if len(unmatched) == 1 else "match"
    names = f"{len(unmatched)} of its {of_all} {match} no image of this run"
    example = f"for example {shown(unmatched[0])}" if unmatched else ""
    if len(unmatched) == len(landmarks.faces):
        raise ConfigError(
            f"{landmarks.file}: {names} ({example}); names are paths as given, absolute, or "
            "relative to the file's folder"
        )
    if unmatched:
        _say(f"warning: {landmarks.file}: {names} ({example})")


def _scorers(request: ScoreRequest) -> tuple[list[Scorer], int]:
    """Open the scorers, and say how many files each takes at once."""
    together = 1 if request.single or request.timed else TOGETHER
    return [request.scoring.scorer(request.bundle) for _ in range(request.jobs)], together


def _workers(
    request: ScoreRequest, scorers: Sequence[Scorer], together: int
) -> tuple[Sequence[Scorer | GateService], Audit | None]:
    """Return what scores, warmed, and the audit of the gate policy."""
    workers, audit = request.scoring.services(scorers)
    for worker in workers:  # an exit that does not exist is an error before the first file
        worker.prepare(request.scoring.policies, together)
    return workers, audit


def _to_score(
    images: Iterable[Path], landmarks: Landmarks | None, writer: Writer, summary: ScoreSummary
) -> Iterator[Path]:
    """Yield the images that are not done. Look each up in the landmarks, also those that are."""
    for path in images:
        faces = 0 if landmarks is None else len(landmarks.of(path))
        if isinstance(writer, ResumableFile):
            source = printable(path)
            has_more = faces > 0 and writer.rescore_unless(source, faces)
            if source in writer.done:
                summary.there_already += 1
                continue
            summary.changed += has_more or source in writer.changed
        yield path


def _with_progress(paths: Iterable[Path], request: ScoreRequest) -> Iterator[Path]:
    output = request.output
    hidden = output.quiet or request.single or not sys.stderr.isatty()
    if hidden or (output.path is None and sys.stdout.isatty()):
        return iter(paths)
    from tqdm import tqdm

    known = list(paths)
    return iter(tqdm(known, unit="file", file=sys.stderr, dynamic_ncols=True))


def _say_gate(request: ScoreRequest, scorer: Scorer) -> None:
    """Below a table: what its verdicts mean. Nothing where the calibration does not say it."""
    if scorer.gate is None or scorer.calibration is None or request.output.quiet:
        return
    table = scorer.calibration.gate_table
    shown_as_table = request.output.path is None and request.output.form == "table"
    if shown_as_table and table is not None and table.rule == rule_name(request.scoring.fusion):
        _say(f"{meaning(table, scorer.gate)} (measured at full depth)")


def _say_findings(scorers: Sequence[Scorer], audit: Audit | None) -> None:
    for finding in _findings(scorers):
        _say(f"warning: {finding.message}")
    if audit is not None and audit.suspended:
        _say(audit.suspended)


def _findings(scorers: Sequence[Scorer]) -> list[Finding]:
    """Return what is wrong with the faces of all workers together."""
    monitors = [scorer.monitor for scorer in scorers if scorer.monitor is not None]
    for other in monitors[1:]:
        monitors[0].merge(other)
    return monitors[0].findings() if monitors else []


def _how_to_go_on(writer: Writer) -> str:
    if not isinstance(writer, ResumableFile):
        return ""
    return f" to {writer.path}; the same command goes on from there"


def _say(text: str) -> None:
    say(f"edge-fiqa score: {text}", error=True)
