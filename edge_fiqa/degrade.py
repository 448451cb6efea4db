"""Degradations of an aligned face, each with one strength in [0, 1]; 0 leaves the face as it is.

Every function takes and returns (112, 112, 3) uint8 RGB. Random choices inside (an angle, a place)
come from the generator passed in, so a seed fixes the picture. Used to train, to test that scores
fall as faces get worse, and by the demonstration.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edge_fiqa.types import IMAGE, Bytes

Degradation = Callable[[Bytes, float, np.random.Generator], Bytes]


def _clip(x: np.ndarray) -> Bytes:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def defocus(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Gaussian blur, sigma up to 6 pixels."""
    return cv2.GaussianBlur(face, (0, 0), 6 * strength) if strength > 0.02 else face


def motion(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Linear motion blur up to 25 pixels long, at a random angle."""
    length = 1 + round(24 * strength)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    centre = ((length - 1) / 2, (length - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(face, -1, kernel / kernel.sum())


def noise(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Gaussian sensor noise, standard deviation up to 60 of 255."""
    return _clip(face + rng.normal(0, 60 * strength, face.shape)) if strength > 0 else face


def downsample(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Reduced to as little as 10 pixels a side and enlarged again."""
    size = round(IMAGE + (10 - IMAGE) * strength)
    small = cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (IMAGE, IMAGE), interpolation=cv2.INTER_LINEAR)


def jpeg(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """JPEG quality from 95 down to 3."""
    if strength <= 0:
        return face
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(95 - 92 * strength)]
    coded = cv2.imencode(".jpg", face, quality)[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def exposure(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Over- or under-exposure by up to 3.5 stops, clipped as a sensor clips."""
    return _clip(face * 2.0 ** (rng.choice((-1, 1)) * 3.5 * strength))


def contrast(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Haze: contrast reduced by up to 95 %, around a random level."""
    return _clip(face * (1 - 0.95 * strength) + rng.uniform(20, 235) * 0.95 * strength)


def colour_cast(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Each channel multiplied by its own gain, within a factor of 2.5 at full strength."""
    return _clip(face * 2.5 ** (strength * rng.uniform(-1, 1, 3)))


def occlusion(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """A flat block: over the lower face (mask), across the eyes (bar), or anywhere."""
    if strength <= 0:
        return face
    kind, out = rng.integers(3), face.copy()
    if kind == 0:  # mask: grows upward from the chin
        top, bottom, left, right = IMAGE - round(72 * strength), IMAGE, 0, IMAGE
    elif kind == 1:  # bar over the eyes, which the template puts at row 52
        half = max(1, round(20 * strength))
        top, bottom, left, right = 52 - half, 52 + half, 16, 96
    else:
        side = max(1, round(90 * strength))
        top, left = (int(v) for v in rng.integers(0, IMAGE - side + 1, 2))
        bottom, right = top + side, left + side
    out[top:bottom, left:right] = rng.integers(0, 256, 3, dtype=np.uint8)
    return out


def misalignment(face: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Rotation up to 45 degrees, shift up to 28 pixels, scale within a factor of 1.6."""
    angle, shift_x, shift_y, zoom = rng.uniform(-1, 1, 4) * strength
    move = cv2.getRotationMatrix2D((IMAGE / 2, IMAGE / 2), 45 * angle, 1.6**zoom)
    move[:, 2] += (28 * shift_x, 28 * shift_y)
    return cv2.warpAffine(face, move, (IMAGE, IMAGE), flags=cv2.INTER_LINEAR)


DEGRADATIONS: dict[str, Degradation] = {
    function.__name__: function
    for function in (
        misalignment,
        occlusion,
        exposure,
        contrast,
        colour_cast,
        defocus,
        motion,
        downsample,
        noise,
        jpeg,
    )
}
"""In the order in which a camera would apply them: pose, scene, light, optics, sensor, codec."""


def random_mixture(face: Bytes, rng: np.random.Generator, most: int = 3) -> Bytes:
    """One to `most` degradations of random kind and strength (weaker ones more often)."""
    names = list(DEGRADATIONS)
    chosen = sorted(rng.choice(len(names), int(rng.integers(1, most + 1)), replace=False))
    for index in chosen:
        face = DEGRADATIONS[names[index]](face, float(rng.beta(1.2, 1.8)), rng)
    return face
