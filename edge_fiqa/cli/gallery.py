"""edge-fiqa gallery: which pictures of each person to keep for a recogniser, and which to drop."""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge_fiqa.cli.options import add_engine_arguments, check_none_given, open_bundle
from edge_fiqa.cli.printing import say
from edge_fiqa.errors import ConfigError, counted, shown
from edge_fiqa.evaluation.recognition import read_recogniser
from edge_fiqa.faces.detector import NO_DETECTOR
from edge_fiqa.faces.detector_file import AUTO, NONE, find_detector
from edge_fiqa.faces.photo_detector import PhotoDetector
from edge_fiqa.faces.sources import FaceReader
from edge_fiqa.files import lies_in, new_private_folder, write_new
from edge_fiqa.gallery.choose import Choice, PersonFaces, choose
from edge_fiqa.gallery.layout import GalleryLayout, read_layout
from edge_fiqa.gallery.likeness import SAME_PERSON
from edge_fiqa.gallery.move import MOVED, move_pictures
from edge_fiqa.gallery.page import render_page, template
from edge_fiqa.gallery.pictures import PictureScorer, ScoredPicture
from edge_fiqa.gallery.result import JudgedPerson, judged, rows_to_ndjson
from edge_fiqa.scoring.scorer import Scorer

GATE, KEEP = 30, 10
SMALLEST_EYES_PX = 10.0
PAGE, LIST = "report.html", "gallery.ndjson"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="a folder for each person in it; also Frigate's clips/faces and Double Take's .storage",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help=f"new folder for {PAGE} and {LIST}, outside of FOLDER",
    )
    parser.add_argument(
        "--gate", type=int, default=GATE, metavar="Q", help=f"drop what is below this ({GATE})"
    )
    parser.add_argument(
        "--keep", type=int, default=KEEP, metavar="K", help=f"pictures of a person ({KEEP})"
    )
    parser.add_argument(
        "--recogniser",
        type=Path,
        metavar="FILE",
        help="an .onnx fed with RGB as it is, or a .yaml with path, mean, std: to see who is somebody "
        "else, and to keep pictures that differ",
    )
    parser.add_argument(
        "--match",
        type=float,
        metavar="T",
        help="cosine of two faces of one person (default: at FMR 1e-3 among the persons of the "
        f"gallery, or {SAME_PERSON} if they are few)",
    )
    parser.add_argument(
        "--move-dropped",
        type=Path,
        metavar="DIR",
        help="move what is dropped there; else nothing moves",
    )
    parser.add_argument(
        "--detector",
        default=AUTO,
        metavar="auto|none|FILE",
        help="YuNet's ONNX file; pictures of 112x112 are aligned crops and need none",
    )
    parser.add_argument(
        "--min-eye-px",
        type=float,
        metavar="PX",
        help=f"smallest distance of the eyes ({SMALLEST_EYES_PX:g})",
    )
    add_engine_arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Exit status 1 if a picture could not be scored, or not be moved."""
    _check(options)
    template()  # a library that is missing is an error now, not after an hour of scoring
    layout = read_layout(options.folder)
    recogniser = None if options.recogniser is None else read_recogniser(options.recogniser)
    reader = _reader(options)
    bundle = open_bundle(options)
    with Scorer.open(
        bundle, backend=options.backend, threads=options.threads, gate=options.gate
    ) as scorer:
        scorer.monitor = None  # a gallery is no sample of a camera's faces
        _make_output(options.output)
        pictures = _score(layout, PictureScorer(reader, scorer, recogniser), options.quiet)
    _check_judged(pictures, without_detector=reader.detector is None and options.detector == AUTO)
    choice = _choose(layout, pictures, options)
    persons = judged([person.name for person in layout.persons], pictures, choice)
    _write(options, layout, persons, choice)
    _say_summary(options.output, persons, [*layout.notes, *_doubts(choice)])
    refused = _move(options, persons) if options.move_dropped is not None else ()
    failed = any(p.verdict.reason == "not_scored" for each in persons for p in each.pictures)
    return 1 if failed or refused else 0


def _check(options: argparse.Namespace) -> None:
    if "" in (str(options.folder), str(options.output)):
        raise ConfigError("one of the paths is empty")
    if not options.folder.is_dir():
        reason = "it is no folder" if options.folder.exists() else "no such folder"
        raise ConfigError(f"{shown(str(options.folder))}: {reason}")
    for flag, folder in (("-o", options.output), ("--move-dropped", options.move_dropped)):
        if folder is not None and lies_in(folder, options.folder):
            raise ConfigError(
                f"{flag} {folder}: it lies in the gallery, and would be a person there"
            )
    if options.keep < 1:
        raise ConfigError(f"--keep must be at least 1, got {options.keep}")
    if options.recogniser is None:
        check_none_given(options, ("match",), "is about --recogniser FILE, which is not given")
    if options.match is not None and not -1 < options.match < 1:
        raise ConfigError(f"--match must be a cosine between -1 and 1, got {options.match:g}")
    if options.detector == NONE:
        check_none_given(
            options, ("min_eye_px",), "is about detected faces: --detector none detects none"
        )
    if options.min_eye_px is None:
        options.min_eye_px = SMALLEST_EYES_PX
    if not 0 <= options.min_eye_px < math.inf:
        raise ConfigError(f"--min-eye-px must be a number from 0, got {options.min_eye_px:g}")


def _reader(options: argparse.Namespace) -> FaceReader:
    file = find_detector(options.detector)
    detector = None if file is None else PhotoDetector(file.path)
    return FaceReader(detector, min_eye_px=options.min_eye_px, crops_pass=True)


def _make_output(folder: Path) -> None:
    try:
        new_private_folder(folder)
    except OSError as exc:
        raise ConfigError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc


def _score(layout: GalleryLayout, scorer: PictureScorer, quiet: bool) -> list[list[ScoredPicture]]:
    count = sum(len(person.paths) for person in layout.persons)
    scored: list[list[ScoredPicture]] = []
    with _progress(count, quiet) as done:
        for person in layout.persons:
            scored.append([])
            for picture in scorer.pictures(person.paths):
                scored[-1].append(picture)
                done()
    return scored


def _check_judged(pictures: Sequence[Sequence[ScoredPicture]], *, without_detector: bool) -> None:
    """Raises ConfigError where pictures would be called bad that nothing has looked at."""
    records = [picture.record for of_person in pictures for picture in of_person]
    failed = [record for record in records if record.quality.code != "ok"]
    unseen = sum(record.quality.code == "no_face" for record in failed)
    if without_detector and unseen:
        raise ConfigError(
            f"{counted(unseen, 'picture is no aligned crop', 'pictures are no aligned crops')}, and "
            f"there is no detector: {NO_DETECTOR}; "
            "--detector none drops them"
        )
    if len(failed) == len(records):
        reason = "; ".join(failed[0].warnings)
        raise ConfigError(f"none of {counted(len(records), 'picture')} can be scored: {reason}")


@contextmanager
def _progress(count: int, quiet: bool) -> Iterator[Callable[[], object]]:
    """A function to call after every picture."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=count, unit="picture", file=sys.stderr, dynamic_ncols=True) as bar:
        yield lambda: bar.update()


def _choose(
    layout: GalleryLayout, pictures: Sequence[Sequence[ScoredPicture]], options: argparse.Namespace
) -> Choice:
    persons = [
        PersonFaces(person.name, tuple(picture.face for picture in of_person))
        for person, of_person in zip(layout.persons, pictures, strict=True)
    ]
    return choose(persons, options.gate, options.keep, options.match)


def _doubts(choice: Choice) -> list[str]:
    return [
        f"{name}: no two faces are alike; look yourself who is meant" for name in choice.doubtful
    ]


def _write(
    options: argparse.Namespace,
    layout: GalleryLayout,
    persons: Sequence[JudgedPerson],
    choice: Choice,
) -> None:
    page = render_page(
        layout.folder.resolve(),
        persons,
        gate=options.gate,
        most=options.keep,
        threshold=choice.threshold,
        notes=layout.notes,
    )
    rows = rows_to_ndjson(picture.row for person in persons for picture in person.pictures)
    for name, data in ((LIST, rows), (PAGE, page)):
        try:
            write_new(options.output / name, data, 0o600)
        except OSError as exc:
            raise ConfigError(f"{options.output / name} cannot be written: {exc.strerror}") from exc


def _say_summary(output: Path, persons: Sequence[JudgedPerson], notes: Sequence[str]) -> None:
    say(f"{'keep':>6}{'spare':>7}{'drop':>6}  person")
    total: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for person in persons:
        own = Counter[str](picture.verdict.action for picture in person.pictures)
        say(f"{own['keep']:>6}{own['spare']:>7}{own['drop']:>6}  {shown(person.name)}")
        total += own
        reasons += Counter(
            picture.verdict.reason
            for picture in person.pictures
            if picture.verdict.action == "drop"
        )
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    dropped = f" ({listed})" if listed else ""
    counts = f"keep {total['keep']}, spare {total['spare']}, drop {total['drop']}{dropped}"
    _say(f"{counts}; see {output / PAGE}")
    for note in notes:
        _say(note)


def _move(options: argparse.Namespace, persons: Sequence[JudgedPerson]) -> tuple[str, ...]:
    dropped = [
        (person.name, picture.picture.path) for person in persons for picture in person.of("drop")
    ]
    moves = move_pictures(dropped, options.move_dropped, options.output / MOVED)
    _say(
        f"{counted(moves.moved, 'picture')} moved to {options.move_dropped}; "
        f"{options.output / MOVED} lists them"
    )
    for refused in moves.refused:
        _say(f"not moved: {refused}")
    return moves.refused


def _say(text: str) -> None:
    say(f"edge-fiqa gallery: {text}", error=True)
