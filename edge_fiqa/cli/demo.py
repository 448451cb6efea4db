"""edge-fiqa demo: a real portrait, made worse step by step, scored exit by exit."""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_fiqa import __version__
from edge_fiqa.cli.effects import EFFECTS
from edge_fiqa.cli.options import add_engine_arguments, open_bundle
from edge_fiqa.cli.printing import say
from edge_fiqa.errors import BackendMissing, ConfigError, counted
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.faces.align import align
from edge_fiqa.faces.detector_file import find_detector
from edge_fiqa.faces.images import decode
from edge_fiqa.faces.photo_detector import PhotoDetector
from edge_fiqa.files import ONLY_OWNER, write_figure
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.scoring.scorer import Scorer
from edge_fiqa.types import Bytes

PORTRAIT = "grace_hopper.jpg"
"""Official U.S. Navy portrait of Grace Hopper, public domain; matplotlib ships it."""
LANDMARKS = ((224.3, 197.3), (306.8, 195.6), (265.4, 238.9), (229.8, 274.0), (304.4, 272.3))
SHOWN = {"defocus": (0.2, 0.4, 0.7), "downsample": (0.5, 0.75, 0.9), "occlusion": (0.3, 0.6, 0.9)}
REPEATS = 15
MOST_CAUSES = 2


@dataclass(frozen=True)
class Version:
    """The portrait at one strength of one degradation, its quality after each exit, and the first
    causes of low quality that are reported at full depth, in words."""

    name: str
    face: Bytes
    quality: list[int]
    causes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine_arguments(parser)
    parser.add_argument("--output", type=Path, default=Path("demo.png"), help="plot (demo.png)")


def run(options: argparse.Namespace) -> int:
    face, how = _detected_portrait()
    faces = _versions(face)
    with Scorer.open(
        open_bundle(options), backend=options.backend, threads=options.threads
    ) as scorer:
        scorer.prepare()
        started = time.perf_counter()
        quality = [_quality(scorer, face) for face in faces.values()]
        took = 1e3 * (time.perf_counter() - started)
        versions = [
            Version(name, face, at_exits, _causes(scorer, face))
            for (name, face), at_exits in zip(faces.items(), quality, strict=True)
        ]
        exits, engine = scorer.controller.exits, scorer.engine
        ms = [_ms_to(scorer, depth) for depth in exits]
        say(
            f"edge-fiqa {__version__}: {scorer.bundle.manifest.name} "
            f"{scorer.bundle.manifest.precision} on {engine.backend}, "
            f"{engine.device.strip()}, {counted(engine.threads, 'thread')}\n"
            f"{how}\n"
            "Grace Hopper's portrait, made worse step by step. Quality 0-100 if we stop at exit:\n"
        )
        _print_table(versions, ms, exits)
    say(f"\n{len(versions)} faces, every exit of each: {took:.0f} ms of computing")
    try:
        plot(versions, options.output)
    except OSError as exc:
        raise ConfigError(f"{options.output} cannot be written: {exc.strerror}") from exc
    say(f"plot: {options.output}   next: edge-fiqa score FOLDER")
    return 0


def portrait() -> Bytes:
    """The face (112, 112, 3) aligned by stored points. Raises BackendMissing without matplotlib."""
    return align(decode(_portrait_file()), LANDMARKS)


def _detected_portrait() -> tuple[Bytes, str]:
    """The face (112, 112, 3) as detected, and how; by stored points where there is no detector."""
    detector = find_detector()
    if detector is None:
        return portrait(), "no detector is installed: the face is aligned by stored points"
    picture = decode(_portrait_file())
    faces = PhotoDetector(detector.path).detect(picture)
    if not faces:
        return portrait(), f"no face found ({detector.source}): aligned by stored points"
    x, y, width, height = (round(side) for side in faces[0].box)
    return (
        align(picture, faces[0].landmarks),
        f"face detected ({detector.source}): {width}x{height} pixels at {x},{y}",
    )


def _portrait_file() -> Path:
    try:
        import matplotlib
    except ImportError as exc:
        raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[demo]'") from exc
    return Path(matplotlib.get_data_path()) / "sample_data" / PORTRAIT


def _versions(face: Bytes) -> dict[str, Bytes]:
    found = {"as taken": face}
    for kind, strengths in SHOWN.items():
        for strength in strengths:
            found[f"{kind} {strength:.0%}"] = EFFECTS[kind](face, strength)
    return found


def _quality(scorer: Scorer, face: Bytes) -> list[int]:
    if scorer.estimator is None:
        raise ConfigError(f"{scorer.bundle.folder} is not calibrated; run edge-fiqa calibrate")
    trail = scorer.assess(face[None]).trail
    exits = scorer.controller.exits
    estimate, scale = scorer.estimator.estimate, scorer.estimator.scale
    return [int(scale.quality(estimate(fuse(trail, k), k))[0]) for k in exits]


def _causes(scorer: Scorer, face: Bytes) -> tuple[str, ...]:
    reasons = scorer.score_face(face).reasons
    reported = () if reasons is None else reasons.reported[:MOST_CAUSES]
    return tuple(each.cause.replace("_", " ") for each in reported)


def _ms_to(scorer: Scorer, depth: int) -> float:
    """Median ms of one face stopped at exit `depth`, as `--exit` would."""
    face = np.zeros((1, 112, 112, 3), np.uint8)
    return statistics.median(
        float(scorer.assess(face, [Fixed(depth)]).ms[0]) for _ in range(REPEATS)
    )


def _print_table(versions: list[Version], ms: list[float], exits: tuple[int, ...]) -> None:
    head = "  causes" if any(version.causes for version in versions) else ""
    say(f"{'exit':<16}" + "".join(f"{k:>5}" for k in exits) + head)
    for version in versions:
        line = f"{version.name:<16}" + "".join(f"{q:>5}" for q in version.quality)
        say(f"{line}  {', '.join(version.causes)}".rstrip())
    say(f"{'ms to stop there':<16}" + "".join(f"{t:>5.1f}" for t in ms))


def plot(versions: list[Version], target: Path) -> None:
    """Faces with their first cause above, quality against exit below; one column per degradation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    clean, others = versions[0], versions[1:]
    figure = pyplot.figure(figsize=(12, 5.4), layout="constrained")
    columns = figure.subfigures(1, len(SHOWN))
    colours = ("#1b7837", "#7fbf7b", "#e08214", "#b2182b")
    for column, kind in zip(columns, SHOWN, strict=True):
        shown = [clean, *(v for v in others if v.name.startswith(kind))]
        pictures, lines = column.subfigures(2, 1, height_ratios=(1, 2.1))
        for axis, version, colour in zip(pictures.subplots(1, 4), shown, colours, strict=True):
            axis.imshow(version.face)
            axis.set_title(str(version.quality[-1]), color=colour, fontweight="bold", fontsize=15)
            strength = version.name.removeprefix(f"{kind} ")
            first = "".join(version.causes[:1]).replace(" ", "\n")  # else it meets its neighbour
            axis.set_xlabel(f"{strength}\n{first}", fontsize=9)
            axis.set(xticks=[], yticks=[])
        axis = lines.subplots()
        for version, colour in zip(shown, colours, strict=True):
            depth = range(1, len(version.quality) + 1)
            axis.plot(depth, version.quality, "o-", color=colour, markersize=4)
        axis.set(
            ylim=(-2, 102), xticks=range(1, len(clean.quality) + 1), xlabel="exit (blocks run)"
        )
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        column.suptitle(kind, fontsize=13)
        if kind == next(iter(SHOWN)):
            axis.set_ylabel("quality, 0-100")
    write_figure(figure, target, mode=ONLY_OWNER, dpi=110)
    pyplot.close(figure)
