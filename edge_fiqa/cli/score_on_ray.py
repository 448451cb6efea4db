"""edge-fiqa score --on ray: the same scoring by many workers, into a Parquet data set."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from edge_fiqa.bundle.bundle import SHIPPED_FORMS
from edge_fiqa.cli import Terminated
from edge_fiqa.cli.options import check_none_given
from edge_fiqa.cli.printing import say
from edge_fiqa.cli.ray_options import PER_FILE
from edge_fiqa.cli.score import say_unmatched
from edge_fiqa.cli.score_request import ScoreRequest, request_of
from edge_fiqa.cli.score_summary import ScoreSummary
from edge_fiqa.distributed.cluster import (
    RayRun,
    cluster_workers,
    connected,
    score_shards,
    settings_on,
)
from edge_fiqa.distributed.plan import Plan, clear_plan, plan_of
from edge_fiqa.distributed.setup import WorkerSetup
from edge_fiqa.distributed.shard_pictures import ParquetColumns
from edge_fiqa.distributed.shards import Sources, sources_of
from edge_fiqa.distributed.tally import RunTally
from edge_fiqa.engines import cores
from edge_fiqa.errors import ConfigError, counted, shown
from edge_fiqa.faces.landmarks import Landmarks, read_landmarks
from edge_fiqa.files import sha256, write_whole
from edge_fiqa.scoring.run_settings import RunSettings
from edge_fiqa.scoring.scorer import available_backend
from edge_fiqa.tables.page import summary_page
from edge_fiqa.tables.places import FilePlace, is_pattern, is_uri, place_of
from edge_fiqa.tables.score_set import ScoreSet, SetContent, SetSettings, difference_of, files_part

OF_ONE_MACHINE = ("crops", "sort", "top", "per_person", "format")
GPU_BACKENDS = ("trt", "rtx")


@dataclass(frozen=True, kw_only=True)
class RayRequest:
    """score: as on one machine; its backend is chosen.

    workers: None for as many as the cluster has room for. per_file: None for the set's own.
    """

    score: ScoreRequest
    output: str
    overwrite: bool
    address: str | None
    workers: int | None
    gpus: float
    per_file: int | None
    columns: ParquetColumns
    summary: Path | None


def ray_request_of(options: argparse.Namespace) -> RayRequest:
    """Raises ConfigError for flags that have no meaning with --on ray."""
    if options.output is None:
        raise ConfigError("--on ray needs --output FOLDER, of Parquet files")
    check_none_given(
        options, OF_ONE_MACHINE, "is not for --on ray: its output is a Parquet data set"
    )
    if options.per_file is not None and options.per_file < 1:
        raise ConfigError(f"--per-file must be at least 1, got {options.per_file}")
    output, options.output = options.output, None
    overwrite, options.overwrite = options.overwrite, False
    options.threads = 1 if options.threads is None else options.threads
    if options.threads < 1:
        raise ConfigError(f"threads must be at least 1, got {options.threads}")
    score = request_of(options)
    backend = score.scoring.backend or available_backend(score.bundle)
    gpus = options.gpus if options.gpus is not None else float(backend in GPU_BACKENDS)
    return RayRequest(
        score=replace(score, scoring=replace(score.scoring, backend=backend)),
        output=output,
        overwrite=overwrite,
        address=options.address,
        workers=options.jobs,
        gpus=gpus,
        per_file=options.per_file,
        columns=ParquetColumns(options.image_column, options.id_column),
        summary=options.summary,
    )


def run_on_ray(options: argparse.Namespace) -> int:
    request = ray_request_of(options)
    score_set, tally = ScoreSet(request.output), RunTally()
    _check_outside(request.score.inputs, score_set.place)
    with ExitStack() as held:
        try:
            score_set.hold(held)  # before anything is read or removed, until Ray has ended
            sources = sources_of(request.score.inputs, sys.stdin)
            landmarks = _landmarks(request)
            run, setup = _ray_run(request), _setup(request)
            held.enter_context(connected(run))
            plan = _begin(request, score_set, settings_on(run, setup), sources, landmarks)
            _score(request, run, setup, plan, tally)
        except KeyboardInterrupt as stop:
            _say(
                f"stopped; {counted(tally.faces.total(), 'face')} written to "
                f"{score_set.place.name}; the same "
                "command goes on from there"
            )
            return 143 if isinstance(stop, Terminated) else 130
        clear_plan(score_set)
    _check_faces(request, score_set, sources, plan, tally)
    if landmarks is not None:
        _check_landmarks(landmarks, sources, plan, tally)
    return _finish(request, score_set, sources, plan, tally)


def _check_outside(inputs: Sequence[str], output: FilePlace) -> None:
    """Raise ConfigError where the next run would read what this one writes."""
    for name in inputs:
        if name != "-" and not is_pattern(name) and output.lies_in(place_of(name)):
            raise ConfigError(
                f"--output {output.name} lies in {shown(name)}, whose pictures are scored: the next "
                "run would read the scores; choose a folder outside"
            )


def _landmarks(request: RayRequest) -> Landmarks | None:
    file = request.score.scoring.faces.landmarks
    return None if file is None else read_landmarks(file)


def _ray_run(request: RayRequest) -> RayRun:
    return RayRun(
        address=request.address,
        workers=request.workers or max(1, cores() // request.score.scoring.threads),
        cpus=request.score.scoring.threads,
        gpus=request.gpus,
    )


def _begin(
    request: RayRequest,
    score_set: ScoreSet,
    settings: RunSettings,
    sources: Sources,
    landmarks: Landmarks | None,
) -> Plan:
    """Check the settings against those of the set, and plan what is still to be done."""
    described = dict(settings.described)
    described["image column"] = request.columns.image or "auto"
    described["id column"] = request.columns.id or "row"
    content = score_set.content()
    kept = _kept_settings(request, score_set, content)
    per_file = PER_FILE if request.per_file is None else request.per_file
    if kept is not None:
        if difference := difference_of(kept.settings, described):
            raise ConfigError(
                f"{score_set.place.name} was written with other settings: {difference}; choose another "
                "--output or give --overwrite"
            )
        if request.per_file not in (None, kept.per_file):
            _say(f"{score_set.place.name} goes on with {counted(kept.per_file, 'picture')} a file")
        per_file, sources.endpoints = kept.per_file, dict(kept.endpoints)
    try:
        counts = SetContent() if kept is None else content
        plan = plan_of(sources, score_set, per_file, landmarks, counts)
        if kept is None:  # else they say that the set's are the same
            columns = request.columns
            sources.check_columns({"--image-column": columns.image, "--id-column": columns.id})
    except ConfigError:
        clear_plan(score_set)
        raise
    if kept is None:  # nothing is removed for a run that is refused
        _remove(score_set, content)
    else:
        _say_new_servers(kept, sources)
    score_set.keep(SetSettings(per_file=per_file, settings=described, endpoints=sources.endpoints))
    return plan


def _kept_settings(
    request: RayRequest, score_set: ScoreSet, content: SetContent
) -> SetSettings | None:
    """Of the parts that are there; None where there are none, or --overwrite will remove them."""
    if not content or request.overwrite:
        return None
    if (kept := score_set.settings()) is None:
        raise ConfigError(
            f"{score_set.place.name} holds parts without their settings: choose another --output"
        )
    return kept


def _say_new_servers(kept: SetSettings, sources: Sources) -> None:
    """Sets of earlier versions do not know where their buckets lie."""
    for bucket, server in sources.endpoints.items():
        if bucket and bucket not in kept.endpoints:
            _say(f"bucket {bucket} is the one at {server or 'AWS'} in this set from now on")


def _remove(score_set: ScoreSet, content: SetContent) -> None:
    for parts in content.parts.values():
        score_set.delete([part.file for part in parts])
    score_set.delete([files_part(key) for key in content.files])


def _setup(request: RayRequest) -> WorkerSetup:
    score, bundle = request.score, request.score.bundle
    shipped = [name for name, forms in SHIPPED_FORMS.items() if bundle.folder in forms.values()]
    detector = score.scoring.faces.detector
    local = (name for name in score.inputs if name != "-" and not is_uri(name))
    return WorkerSetup(
        folder=os.getcwd(),  # noqa: PTH109, as it is spelt
        must_exist=tuple(name for name in local if os.path.exists(name)),  # noqa: PTH110, long names
        bundle=shipped[0] if shipped else str(bundle.folder.absolute()),
        precision=bundle.manifest.precision,
        fingerprint=bundle.manifest.fingerprint,
        scoring=score.scoring,
        detector_sha256=None if detector is None else sha256(detector),
    )


def _score(
    request: RayRequest, run: RayRun, setup: WorkerSetup, plan: Plan, tally: RunTally
) -> None:
    if not plan.shards:
        return
    if request.workers is None and (request.address is not None or run.gpus):
        run = replace(run, workers=cluster_workers(run))
    quiet, began = request.score.output.quiet, time.monotonic()
    hidden = quiet or not sys.stderr.isatty()
    done_shards = score_shards(
        run, setup, plan.shards, request.output, plan.per_file, request.columns
    )
    with tqdm(total=len(plan.shards), unit="shard", disable=hidden, dynamic_ncols=True) as bar:
        for done in done_shards:
            tally.add(done)
            bar.set_postfix_str(_progress(tally, time.monotonic() - began), refresh=False)
            bar.update()


def _progress(tally: RunTally, seconds: float) -> str:
    faces = tally.faces.total()
    codes = [f"{code} {count / faces:.1%}" for code, count in tally.codes().items()]
    return ", ".join(
        [
            counted(tally.pictures, "picture"),
            counted(faces, "face"),
            f"{faces / max(seconds, 1e-9):.0f}/s",
            *codes,
        ]
    )


def _check_faces(
    request: RayRequest, score_set: ScoreSet, sources: Sources, plan: Plan, tally: RunTally
) -> None:
    """Raise ConfigError where there were no pictures, in no shard."""
    pictures_there = plan.there_already - len(plan.first_parts)
    if tally.faces or pictures_there or score_set.has_rows(plan.first_parts):
        return
    summary = ScoreSummary(passed_over=sources.passed_over.suffixes)
    rest = f"; {summary.passed_over_line()}" if summary.passed_over else ""
    raise ConfigError(f"no images in {' '.join(request.score.inputs)}{rest}")


def _check_landmarks(landmarks: Landmarks, sources: Sources, plan: Plan, tally: RunTally) -> None:
    """Warn of names that match no picture. Raises ConfigError if none does.

    Which of the names are in tars is not known here: only whether any is.
    """
    if sources.containers and (tally.landmarks or plan.first_parts):
        return
    say_unmatched(landmarks)


def _finish(
    request: RayRequest, score_set: ScoreSet, sources: Sources, plan: Plan, tally: RunTally
) -> int:
    bundle = request.score.bundle
    for finding in tally.findings(request.score.scoring.calibration or bundle.calibration):
        _say(f"warning: {finding.message}")
    for text in tally.suspended:
        _say(text)
    if request.summary is not None:
        try:
            write_whole(request.summary, summary_page(score_set).encode())
        except OSError as exc:
            raise ConfigError(f"{request.summary} cannot be written: {exc.strerror}") from exc
    if not request.score.output.quiet:
        passed_over = sources.passed_over.suffixes
        summary = ScoreSummary(tally.faces, plan.there_already, plan.changed, passed_over)
        say(summary.line(score_set.place.name), error=True)
    return 1 if tally.failed else 0


def _say(text: str) -> None:
    say(f"edge-fiqa score: {text}", error=True)
