"""What looks at faces: a bundle, a network, a measure of pixels. One row of numbers a face."""

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
class Measure:
    """see: (n, 112, 112, 3) uint8 RGB -> (n, F) float32. key: names everything the numbers depend
    on besides the faces."""

    name: str
    key: str
    see: Callable[[Bytes], Array]


def bundle_measure(name: str, bundle: Bundle, engine: Engine) -> Measure:
    """Raw scores of every exit."""
    files = sorted(bundle.manifest.files.items())
    return Measure(
        name, _key("bundle", files, engine.backend), lambda faces: all_exits(engine, faces)
    )


def open_bundle_engine(bundle: Bundle, threads: int | None = None) -> Engine:
    return open_engine(bundle, available_backend(bundle), threads)


def network_measure(name: str, network: Recogniser) -> Measure:
    """Outputs of a network, not normalised."""

    def see(faces: Bytes) -> Array:
        return np.concatenate([found for found, _ in network.look(faces)])

    return Measure(name, _key("network", sha256(network.path), network.feeding), see)


def pixel_measure(name: str) -> Measure:
    """sharpness: variance of the Laplacian; brightness, contrast: mean and deviation of grey."""
    return Measure(
        name,
        _key("pixels", name),
        lambda faces: np.array([[MEASURES[name](_grey(face))] for face in faces], np.float32),
    )


def _grey(face: Bytes) -> Bytes:
    return np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.uint8)


MEASURES: dict[str, Callable[[Bytes], float]] = {
    "sharpness": lambda grey: float(cv2.Laplacian(grey, cv2.CV_64F).var()),
    "brightness": lambda grey: float(grey.mean()),
    "contrast": lambda grey: float(grey.std()),
}


def _key(*told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()
