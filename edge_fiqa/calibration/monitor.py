"""Does a stream of faces still look like those of the calibration?

Mistakes that ruin scores without an error: channels in the wrong order, crops of another aligner,
colourless video, a camera out of focus. Each shifts the mean of a cheap cue over some hundred faces
far beyond what another group of people does. Shifts are judged by their size, in deviations of
single faces, and not by a p-value: on hundreds of faces every harmless difference is significant.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge_fiqa.calibration.artefact import Calibration
from edge_fiqa.calibration.reference import CUES, SIDE, Moments, Reference
from edge_fiqa.exits.fusion import fuse, parse_fusion
from edge_fiqa.types import Array, Bytes, Floats

LEAST_FACES = 100  # with fewer faces there are no findings
WINDOW = 2000  # older faces are forgotten, so that a camera that drifts after a month is noticed
EVERY_FACE, THEN_EVERY = 500, 8  # a face costs 0.1 ms, too much for every face of a long run
FindingCode = Literal["colour_order", "grey", "tight", "loose", "unaligned", "drift"]

# Shifts in deviations of single faces; what they catch: benchmarks/results/*-input_warnings.json.
SWAPPED = -1.5  # chroma
COLOURLESS = 0.2  # saturation, as a share of the reference's
ZOOM = 0.8
FIT = -0.8
DRIFT = 1.2


def measure_reference(faces: Bytes, quality: Sequence[int]) -> Reference:
    """faces (N, 112, 112, 3) uint8 RGB and their qualities (N,) at full depth."""
    mean_face = np.rint(np.mean([_shrink(face).mean(axis=2) for face in faces], axis=0)).astype(int)
    templates = _templates(mean_face)
    cues = np.stack([_cues(face, templates) for face in faces])
    scores = np.asarray(quality, np.float64)
    return Reference(
        tuple(mean_face.ravel().tolist()),
        {name: Moments.of(values) for name, values in zip(CUES, cues.T, strict=True)},
        Moments.of(scores),
        tuple(np.histogram(scores, bins=20, range=(0, 100))[0].tolist()),
    )


def with_reference(calibration: Calibration, trail: Array, faces: Bytes) -> Calibration:
    """The calibration, with the statistics of the faces whose complete trails (N, E) made it."""
    whole = np.isfinite(trail).all(axis=1)
    name, rule = next(iter(calibration.rules.items()))
    exits = trail.shape[1]
    quality = rule.scale.quality(fuse(trail[whole], exits, parse_fusion(name, exits)))
    reference = measure_reference(faces[whole], quality.tolist())
    return msgspec.structs.replace(calibration, reference=reference)


@dataclass(frozen=True)
class Finding:
    """code: what is wrong. message: one line with the number seen and the remedy."""

    code: FindingCode
    message: str


class Monitor:
    """Compares a stream of faces with a reference. Threads may share it.

    faces: their effective number; the weight of older faces falls.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._templates = _templates(np.array(reference.mean_face).reshape(SIDE, SIDE))
        self._sum, self.faces = np.zeros(len(CUES)), 0.0
        self._quality_sum, self._scored, self._passed = 0.0, 0.0, 0
        self._lock = threading.Lock()

    def see(self, face: Bytes, quality: int | None) -> None:
        """One aligned crop (112, 112, 3) uint8 RGB, and its 0-100 quality if it has one."""
        with self._lock:
            self._passed += 1
            if self.faces >= EVERY_FACE and self._passed % THEN_EVERY:
                return
        cues = _cues(face, self._templates)
        with self._lock:
            if self.faces >= WINDOW:
                self._age()
            self._sum += cues
            self.faces += 1
            if quality is not None:
                self._quality_sum += quality
                self._scored += 1

    def _age(self) -> None:
        keep = 1 - 1 / WINDOW
        self._sum, self.faces = keep * self._sum, keep * self.faces
        self._quality_sum, self._scored = keep * self._quality_sum, keep * self._scored

    def merge(self, other: Monitor) -> None:
        """Adds the counts of another monitor of the same reference."""
        self.add(other.counts())  # taken before our own lock: two may merge each other

    def counts(self) -> tuple[float, ...]:
        """What `add` takes, also elsewhere: sums of cues (7), faces, qualities, scored faces."""
        cues, *rest = self._counts()
        return (*cues.tolist(), *rest)

    def add(self, counts: Sequence[float]) -> None:
        """Adds the `counts` of another monitor of the same reference."""
        with self._lock:
            self._sum += np.asarray(counts[: len(CUES)])
            self.faces += counts[len(CUES)]
            self._quality_sum += counts[len(CUES) + 1]
            self._scored += counts[len(CUES) + 2]

    def _counts(self) -> tuple[Floats, float, float, float]:
        """Sums of cues (7,) and faces, and of qualities and faces that had one; of one moment."""
        with self._lock:
            return self._sum.copy(), self.faces, self._quality_sum, self._scored

    def shifts(self) -> dict[str, float]:
        """Of each cue's mean and the mean quality, in deviations of single faces."""
        return self._shifts(*self._counts())

    def _shifts(
        self, cues: Floats, faces: float, quality: float, scored: float
    ) -> dict[str, float]:
        means = dict(zip(CUES, cues / max(faces, 1), strict=True))
        shifts = {name: self.reference.cues[name].shift(means[name]) for name in CUES}
        if scored:
            shifts["quality"] = self.reference.quality.shift(quality / scored)
        return shifts

    def findings(self) -> list[Finding]:
        """What is wrong, most specific first: one finding a cause. None below LEAST_FACES."""
        cues, faces, quality, scored = self._counts()
        if faces < LEAST_FACES:
            return []
        shift = self._shifts(cues, faces, quality, scored)
        chroma, saturation = (cues[:2] / faces).tolist()
        usual = self.reference.cues["saturation"].mean
        blue = chroma < 0 and shift["chroma"] < SWAPPED
        colour = _colour(blue, saturation / usual if usual > 0 else 1.0)
        alignment = _alignment(shift["zoom"], shift["fit"])
        specific = [finding for finding in (colour, alignment) if finding]
        return specific or _drift(shift)


def _colour(blue: bool, saturation: float) -> Finding | None:
    if saturation < COLOURLESS:
        return Finding(
            "grey",
            f"faces have {saturation:.0%} of the usual colour: infrared or grey video? Scores are "
            "calibrated on colour; recalibrate on this camera",
        )
    if blue:
        return Finding("colour_order", "skin is blue: BGR fed as RGB? Swap the channels first")
    return None


def _alignment(zoom: float, fit: float) -> Finding | None:
    remedy = (
        "align crops to the ArcFace five-point template, as edge-fiqa score --detector does; where "
        "they are, its detector differs from the calibration's: recalibrate on its crops"
    )
    if abs(zoom) > ZOOM:
        code: FindingCode = "tight" if zoom > 0 else "loose"
        return Finding(code, f"faces are cut too {code} ({zoom:+.1f} deviations); {remedy}")
    if fit < FIT:
        return Finding(
            "unaligned", f"faces do not lie where they should ({fit:+.1f} deviations); {remedy}"
        )
    return None


def _drift(shift: dict[str, float]) -> list[Finding]:
    """The largest shift of picture or quality, if it is large. A better picture is no drift."""
    harmful = {
        "brightness": abs(shift["brightness"]),
        **{name: -shift.get(name, 0.0) for name in ("contrast", "sharpness", "quality")},
    }
    worst = max(harmful, key=lambda name: harmful[name])
    if harmful[worst] <= DRIFT:
        return []
    return [
        Finding(
            "drift",
            f"{worst} is {shift[worst]:+.1f} deviations from the calibration's: look at lens, light "
            "and exposure, or recalibrate on this camera",
        )
    ]


def _shrink(face: Bytes) -> Array:
    return cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _templates(mean_face: npt.NDArray[np.int_]) -> Array:
    """(3, K) features of the mean face, and as cut too tight and too loose."""
    face, centre = mean_face.astype(np.float32), (SIDE - 1) / 2
    templates = [face]
    for scale in (1.2, 1 / 1.2):
        matrix = cv2.getRotationMatrix2D((centre, centre), 0, scale)
        templates.append(
            cv2.warpAffine(face, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        )
    return np.stack([_features(template) for template in templates])


def _cues(face: Bytes, templates: Array) -> Floats:
    """(7,) in the order of CUES."""
    shrunk = _shrink(face)
    grey = shrunk.mean(axis=2)
    middle = shrunk[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4]
    total, top = middle.sum(axis=2) + 1, middle.max(axis=2)
    laplacian = cv2.Laplacian(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    fit, tight, loose = templates @ _features(grey)
    return np.array(
        [
            ((middle[..., 0] - middle[..., 2]) / total).mean(),
            ((top - middle.min(axis=2)) / (top + 1)).mean(),
            grey.mean(),
            grey.std(),
            np.log(laplacian.var() + 1),
            fit,
            tight - loose,
        ]
    )


def _features(grey: Array) -> Array:
    """Eyes, nose and mouth without the light on them: the inner part, high-passed, mean 0 and
    length 1, so that a product is a correlation; 0 for a flat picture."""
    high = grey - cv2.GaussianBlur(grey, (0, 0), SIDE / 9)
    inner = high[SIDE // 7 : -SIDE // 14, SIDE // 8 : -SIDE // 8].ravel()
    centred = inner - inner.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6))
