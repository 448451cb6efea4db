"""edge-fiqa score: the main job."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.calibration.audit import SHARE, Audit
from edge_fiqa.calibration.monitor import Finding
from edge_fiqa.cli.options import (
    add_engine_arguments,
    add_policy_arguments,
    cores,
    open_bundle,
    policies_of,
)
from edge_fiqa.errors import ConfigError
from edge_fiqa.exits.fusion import parse_fusion
from edge_fiqa.faces.images import printable
from edge_fiqa.faces.landmarks import read_landmarks
from edge_fiqa.faces.sources import FaceReader, expand
from edge_fiqa.policies.policy import Policy
from edge_fiqa.scoring.gate_service import GateService
from edge_fiqa.scoring.output import CsvWriter, NdjsonWriter, TableWriter, Writer
from edge_fiqa.scoring.pipeline import TOGETHER, score_files
from edge_fiqa.scoring.resume import FileFormat, ResumableFile
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
    faces = parser.add_argument_group("finding faces (without these, images are aligned crops)")
    faces.add_argument("--detector", type=Path, metavar="YUNET.onnx", help="score every face found")
    faces.add_argument(
        "--landmarks", type=Path, metavar="FILE", help="CSV or JSON with 5 points a face"
    )
    faces.add_argument("--min-eye-px", type=float, default=10.0, help="smallest eye distance (10)")
    out = parser.add_argument_group("output")
    out.add_argument(
        "--output", type=Path, metavar="FILE", help="append here; a second run resumes"
    )
    out.add_argument("--overwrite", action="store_true", help="start --output afresh")
    out.add_argument("--format", choices=("table", "ndjson", "csv"))
    out.add_argument(
        "--jobs", type=int, metavar="N", help="files scored side by side (default: cores)"
    )
    out.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {options.jobs}")
    if "" in options.inputs:  # an unset shell variable; Path("") would be the current folder
        raise ConfigError("one of the paths is empty")
    if options.audit is not None and options.policy != "gate":
        raise ConfigError("--audit is about --policy gate, which is not given")
    if options.overwrite and options.output is None:
        raise ConfigError("--overwrite is about --output FILE, which is not given")
    landmarks = read_landmarks(options.landmarks) if options.landmarks else None
    reader = FaceReader(options.detector, landmarks, options.min_eye_px)
    single = len(options.inputs) == 1 and Path(options.inputs[0]).is_file()
    policies = policies_of(options)
    scorers, together = _scorers(options, policies, single)
    workers, audit = _workers(options, scorers, policies, together)
    writer, done = _writer(options, scorers[0])
    paths = (p for p in expand(options.inputs, sys.stdin) if printable(p) not in done)
    shown = _with_progress(paths, options, single)
    failed = total = 0
    try:
        for records in score_files(shown, reader.faces_of, workers, policies, together):
            writer.write(records)
            total += len(records)
            failed += sum(record.quality.code != "ok" for record in records)
    except KeyboardInterrupt:
        where = (
            f" to {options.output}; the same command goes on from there" if options.output else ""
        )
        print(f"edge-fiqa score: stopped; {total} faces written{where}", file=sys.stderr)
        return 130
    finally:
        if isinstance(writer, ResumableFile):
            writer.close()
    for finding in _findings(scorers):
        print(f"edge-fiqa score: warning: {finding.message}", file=sys.stderr)
    if audit is not None and audit.suspended:
        print(f"edge-fiqa score: {audit.suspended}", file=sys.stderr)
    if not total and not done:
        raise ConfigError(f"no images in {' '.join(options.inputs)}")
    if options.output is not None and not options.quiet:
        skipped = f", {len(done)} files were there already" if done else ""
        print(f"{total} faces written to {options.output} ({failed} NA{skipped})", file=sys.stderr)
    return 1 if failed else 0


def _scorers(
    options: argparse.Namespace, policies: Sequence[Policy], single: bool
) -> tuple[list[Scorer], int]:
    """Warm scorers, and how many files one takes at once.

    One thread per scorer and a scorer per core give the most faces/s. All cores on one face give the
    shortest answer, which is what a single file or a policy in ms asks for.
    """
    timed = any(policy.needs_ms for policy in policies)
    jobs = 1 if single else options.jobs or (1 if timed else cores())
    together = 1 if single or timed else TOGETHER
    threads = max(1, cores() // jobs) if options.threads is None else options.threads
    bundle = open_bundle(options)
    fusion = parse_fusion(options.fusion, bundle.config.depth)
    calibration = None
    if options.calibration is not None:
        calibration = load_calibration(options.calibration, bundle.manifest.fingerprint)
    scorers = [
        Scorer.open(
            bundle,
            backend=options.backend,
            threads=threads,
            fusion=fusion,
            gate=options.gate,
            calibration=calibration,
        )
        for _ in range(jobs)
    ]
    return scorers, together


def _workers(
    options: argparse.Namespace,
    scorers: Sequence[Scorer],
    policies: Sequence[Policy],
    together: int,
) -> tuple[Sequence[Scorer | GateService], Audit | None]:
    """What scores, warm; under the gate policy all share one audit."""
    workers: Sequence[Scorer | GateService] = scorers
    audit = None
    if options.policy == "gate":
        share = SHARE if options.audit is None else options.audit
        audit = Audit(scorers[0].gate_policy(options.risk).risk, share)
        workers = [
            GateService(scorer, options.risk, audit, ranked=options.ranked) for scorer in scorers
        ]
    for worker in workers:  # also finds out, before the first file, that an exit does not exist
        worker.prepare(policies, together)
    return workers, audit


def _findings(scorers: Sequence[Scorer]) -> list[Finding]:
    """What is wrong with the faces of all workers together."""
    monitors = [scorer.monitor for scorer in scorers if scorer.monitor is not None]
    for other in monitors[1:]:
        monitors[0].merge(other)
    return monitors[0].findings() if monitors else []


def _writer(options: argparse.Namespace, scorer: Scorer) -> tuple[Writer, set[str]]:
    if options.output is None:
        if options.format in (None, "table"):
            return TableWriter(sys.stdout, options.all_exits, scorer.gate is not None), set()
        return (
            CsvWriter(sys.stdout) if options.format == "csv" else NdjsonWriter(sys.stdout)
        ), set()
    if options.format == "table":
        raise ConfigError("--format table is for the terminal; --output takes ndjson or csv")
    kind: FileFormat = options.format or ("csv" if options.output.suffix == ".csv" else "ndjson")
    file = ResumableFile(
        options.output,
        kind,
        fingerprint=scorer.bundle.manifest.fingerprint,
        fusion=scorer.fusion,
        calibration=scorer.calibrated,
        overwrite=options.overwrite,
    )
    return file, file.done


def _with_progress(
    paths: Iterable[Path], options: argparse.Namespace, single: bool
) -> Iterator[Path]:
    shown = sys.stderr.isatty() and not options.quiet and not single
    if not shown or (options.output is None and sys.stdout.isatty()):
        return iter(paths)
    from tqdm import tqdm

    known = list(paths)
    return iter(tqdm(known, unit="file", file=sys.stderr, dynamic_ncols=True))
