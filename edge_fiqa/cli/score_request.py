"""What `edge-fiqa score` was asked for: its flags, parsed once and checked against each other."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.calibration.artefact import load_calibration
from edge_fiqa.calibration.audit import SHARE
from edge_fiqa.cli.options import (
    USUAL_FUSION,
    check_none_given,
    cores,
    open_bundle,
    policies_of,
    usual,
)
from edge_fiqa.errors import ConfigError, shown
from edge_fiqa.exits.fusion import parse_fusion
from edge_fiqa.faces.detector import LONGEST_SIDE, MIN_SCORE
from edge_fiqa.faces.detector_file import AUTO, NONE, find_detector
from edge_fiqa.faces.sources import check_ways
from edge_fiqa.files import lies_in
from edge_fiqa.scoring.output import FileFormat, Format
from edge_fiqa.scoring.requests import FaceRequest, GatePolicyRequest, ScoringRequest
from edge_fiqa.scoring.selection import Selection

MOST_MEGAPIXELS = 1000  # OpenCV decodes no more
SMALLEST_EYES_PX = 10.0
OF_DETECTOR = ("detector_size", "min_score", "largest", "all_turns")


@dataclass(frozen=True, kw_only=True)
class OutputRequest:
    """path: None is standard output. all_exits: the table shows the score of every exit.

    crops: the folder that gets them. selection: which faces are shown, None for all as they come.
    """

    path: Path | None
    form: Format
    overwrite: bool
    all_exits: bool
    quiet: bool
    crops: Path | None = None
    selection: Selection | None = None

    @property
    def file_form(self) -> FileFormat:
        """Raises ConfigError for a table."""
        if self.form == "table":
            raise ConfigError("--format table is for the terminal; --output takes ndjson or csv")
        return self.form


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """jobs: files scored side by side."""

    inputs: tuple[str, ...]
    bundle: Bundle
    jobs: int
    scoring: ScoringRequest
    output: OutputRequest

    @property
    def single(self) -> bool:
        return _is_single(self.inputs)

    @property
    def timed(self) -> bool:
        return any(policy.needs_ms for policy in self.scoring.policies)


def request_of(options: argparse.Namespace) -> ScoreRequest:
    """Raises ConfigError for flags that contradict each other, and where no input exists."""
    _check_flags(options)
    if options.output is not None:
        options.output = Path(options.output)
    if options.on is None:
        _check_inputs(options.inputs)
    jobs = _jobs(options)
    threads = max(1, cores() // jobs) if options.threads is None else options.threads
    bundle = open_bundle(options, threads)
    calibration = None
    if options.calibration is not None:
        calibration = load_calibration(options.calibration, bundle.manifest.fingerprint)
    scoring = ScoringRequest(
        backend=options.backend,
        threads=threads,
        fusion=parse_fusion(usual(options.fusion, USUAL_FUSION), bundle.config.depth),
        calibration=calibration,
        gate=options.gate,
        policies=tuple(policies_of(options, bundle.config.depth)),
        gate_policy=_gate_policy(options),
        faces=_faces(options),
    )
    return ScoreRequest(
        inputs=tuple(options.inputs),
        bundle=bundle,
        jobs=jobs,
        scoring=scoring,
        output=_output(options),
    )


def _is_single(inputs: Sequence[str]) -> bool:
    """One file, whose answer should come soon."""
    return len(inputs) == 1 and Path(inputs[0]).is_file()


def _jobs(options: argparse.Namespace) -> int:
    """One thread per engine and an engine per core give the most faces/s.

    All cores on one face give the shortest answer, which is what a single file or a policy in ms asks
    for.
    """
    if _is_single(options.inputs):
        return 1
    timed = options.budget_ms is not None or options.deadline_ms is not None
    return options.jobs or (1 if timed else cores())


def _check_flags(options: argparse.Namespace) -> None:
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {options.jobs}")
    if options.policy != "gate":
        check_none_given(options, ("audit",), "is about --policy gate, which is not given")
    if options.output is None:
        check_none_given(options, ("overwrite",), "is about --output FILE, which is not given")


def _faces(options: argparse.Namespace) -> FaceRequest:
    """Landmarks and `--aligned` need no detector, and none is searched for then."""
    check_ways(
        aligned=options.aligned,
        detector=options.detector not in (AUTO, NONE),
        landmarks=options.landmarks is not None,
    )
    _check_detection(options)
    if not 64 <= options.detector_size <= 4096:
        raise ConfigError(f"--detector-size must be 64 to 4096, got {options.detector_size}")
    if not 0 < options.min_score < 1:
        raise ConfigError(f"--min-score must be above 0 and below 1, got {options.min_score:g}")
    if not 0 <= options.min_eye_px < math.inf:
        raise ConfigError(f"--min-eye-px must be a number from 0, got {options.min_eye_px:g}")
    if not 0 < options.max_megapixels <= MOST_MEGAPIXELS:
        raise ConfigError(
            f"--max-megapixels must be above 0 and at most {MOST_MEGAPIXELS}, "
            f"got {options.max_megapixels:g}"
        )
    auto = options.detector == AUTO
    needless = auto and (options.landmarks is not None or options.aligned)
    detector = find_detector(NONE if needless else options.detector)
    return FaceRequest(
        detector=detector.path if detector else None,
        landmarks=options.landmarks,
        min_eye_px=options.min_eye_px,
        aligned=options.aligned,
        crops_pass=auto,
        detector_size=options.detector_size,
        min_score=options.min_score,
        largest=options.largest,
        all_turns=options.all_turns,
        max_pixels=round(options.max_megapixels * 1e6),
    )


def _check_detection(options: argparse.Namespace) -> None:
    """Raise ConfigError for flags of detected faces where none is detected; fill in the others."""
    ways = {"--landmarks": options.landmarks, "--aligned": options.aligned}
    ways["--detector none"] = options.detector == NONE
    if way := next((flag for flag, given in ways.items() if given), None):
        measured = () if options.landmarks else ("min_eye_px",)
        reason = f"is about detected faces: {way} detects none"
        check_none_given(options, (*OF_DETECTOR, *measured), reason)
    usual = {"detector_size": LONGEST_SIDE, "min_score": MIN_SCORE, "min_eye_px": SMALLEST_EYES_PX}
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def _check_inputs(inputs: Sequence[str]) -> None:
    """One of several that does not exist becomes a record; where none exists, nothing can be done."""
    if "" in inputs:  # an unset shell variable; Path("") would be the current folder
        raise ConfigError("one of the paths is empty")
    reasons = [None if name == "-" else _why_absent(name) for name in inputs]
    if None not in reasons:
        raise ConfigError(f"{shown(inputs[0])}: {reasons[0]}")


def _why_absent(name: str) -> str | None:
    """Why a path cannot be reached, or None."""
    try:
        os.stat(name)  # noqa: PTH116, Path.stat raises for names with a NUL as well, but so does this
    except OSError as exc:
        return exc.strerror or type(exc).__name__
    except ValueError as exc:
        return str(exc)
    return None


def _gate_policy(options: argparse.Namespace) -> GatePolicyRequest | None:
    if options.policy != "gate":
        return None
    share = SHARE if options.audit is None else options.audit
    return GatePolicyRequest(risk=options.risk, ranked=options.ranked, audit_share=share)


def _output(options: argparse.Namespace) -> OutputRequest:
    """The format follows the file's name where none is given; a terminal gets a table."""
    form: Format = "table"
    if options.output is not None:
        form = "csv" if _is_csv(options.output) else "ndjson"
    _check_crops(options)
    by_quality = options.sort or options.top is not None or options.per_person is not None
    return OutputRequest(
        path=options.output,
        form=options.format or form,
        overwrite=options.overwrite,
        all_exits=options.all_exits,
        quiet=options.quiet,
        crops=options.crops,
        selection=Selection(options.top, options.per_person) if by_quality else None,
    )


def _check_crops(options: argparse.Namespace) -> None:
    """Raise ConfigError where crops would be scored by the next run, or cannot be resumed."""
    read_back = [name for name in ("crops", "sort", "top", "per_person") if getattr(options, name)]
    form = options.format or ("csv" if _is_csv(options.output) else "ndjson")
    if read_back and options.output is not None and form == "csv":
        flag = read_back[0].replace("_", "-")
        raise ConfigError(f"--{flag} reads --output back, which needs NDJSON: name it FILE.ndjson")
    if options.crops is None:
        return
    for name in options.inputs:
        folder = Path(name)
        if folder.is_dir() and lies_in(options.crops, folder):
            raise ConfigError(
                f"--crops {options.crops} lies in {folder}, whose pictures are scored: the next run "
                "would score the crops; choose a folder outside"
            )


def _is_csv(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() == ".csv"
