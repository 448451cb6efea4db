"""Feature extractors: each turns faces into one row of numbers a face.

A bundle gives the raw score of every exit. A network gives an embedding, or one quality. A pixel
measure gives one number, such as sharpness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines import open_engine
from edge_fiqa.engines.base import Engine
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.files import sha256
from edge_fiqa.measurement.all_exits import all_exits
from edge_fiqa.scoring.scorer import available_backend
from edge_fiqa.types import Array, Bytes


@dataclass(frozen=True)
class FeatureExtractor:
    """extract: (n, 112, 112, 3) uint8 RGB -> (n, F) float32.

    key: a digest of everything that the features depend on besides the faces.
    """

    name: str
    key: str
    extract: Callable[[Bytes], Array]


def bundle_extractor(name: str, bundle: Bundle, engine: Engine) -> FeatureExtractor:
    """Raw scores of every exit (n, E)."""
    files = sorted(bundle.manifest.files.items())
    return FeatureExtractor(
        name, _key("bundle", files, engine.backend), lambda faces: all_exits(engine, faces)
    )


def open_bundle_engine(bundle: Bundle, threads: int | None = None) -> Engine:
    return open_engine(bundle, available_backend(bundle), threads)


def network_extractor(name: str, network: Recogniser) -> FeatureExtractor:
    """Outputs of a network (n, F), not normalised."""

    def extract(faces: Bytes) -> Array:
        return np.concatenate([outputs for outputs, _ in network.run_batches(faces)])

    return FeatureExtractor(name, _key("network", sha256(network.path), network.feeding), extract)


def pixel_extractor(name: str, measure: str) -> FeatureExtractor:
    """One of PIXEL_MEASURES (n, 1).

    sharpness: variance of the Laplacian. brightness, contrast: mean and deviation of grey.
    """
    of_grey = PIXEL_MEASURES[measure]
    return FeatureExtractor(
        name,
        _key("pixels", measure),
        lambda faces: np.array([[of_grey(_grey(face))] for face in faces], np.float32),
    )


def _grey(face: Bytes) -> Bytes:
    return np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.uint8)


PIXEL_MEASURES: dict[str, Callable[[Bytes], float]] = {
    "sharpness": lambda grey: float(cv2.Laplacian(grey, cv2.CV_64F).var()),
    "brightness": lambda grey: float(grey.mean()),
    "contrast": lambda grey: float(grey.std()),
}


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
