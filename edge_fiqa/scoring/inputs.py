"""What callers hand in: faces as arrays, pictures, tensors or files; one policy or several.

What has one meaning is taken. Anything else is refused in one sentence that says what was given and
what to do: a face that is read in another way than it was meant gets a plausible wrong score.
Colour order cannot be seen in an array. RGB is expected; `Scorer.monitor` notices BGR after some faces.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_fiqa.errors import ConfigError, ImageRefused
from edge_fiqa.faces.images import decode, printable
from edge_fiqa.faces.sources import FaceCrop, RefusedFace, as_crop
from edge_fiqa.policies.policy import Fixed, Policy
from edge_fiqa.types import IMAGE, Bytes

ScoredFace = FaceCrop | RefusedFace
Face = Any
"""A FaceCrop or RefusedFace; an aligned face as a (112, 112, 3) uint8 RGB array, a torch tensor like it
on the CPU, or a PIL image of 112x112 in RGB; the path of a file that holds an aligned face."""

Policies = Policy | Iterable[Policy]
FULL_DEPTH: Policies = (Fixed(),)

SHAPE = (IMAGE, IMAGE, 3)
ONE_FACE = "one aligned face is a (112, 112, 3) uint8 RGB array"
ORIENTATION = 274  # EXIF: how a camera was held


def as_faces(faces: Iterable[Face] | Bytes) -> list[ScoredFace]:
    """A list of faces, each in a form of `Face`, or an (N, 112, 112, 3) array. Iterators are read once.

    A file that cannot be read becomes a RefusedFace. Raises ConfigError or ImageRefused.
    """
    return [as_face(face, number) for number, face in enumerate(_each(faces))]


def as_face(face: Face, number: int = 0) -> ScoredFace:
    """One face. number: of a face that has no name of its own."""
    if isinstance(face, RefusedFace):
        return face
    if isinstance(face, FaceCrop):
        _check_array(face.crop)
        return face
    if isinstance(face, (str, os.PathLike)):
        return _of_file(Path(face))
    return FaceCrop(f"face#{number}", "face", _pixels(face))


def as_crops(faces: Iterable[Face] | Bytes) -> Bytes:
    """As `as_faces`, -> (N, 112, 112, 3) uint8 RGB. Raises ImageRefused where one cannot be read."""
    array = _numpy(faces)
    if array is not None and array.dtype == np.uint8 and array.shape[1:] == SHAPE:
        return array
    crops = []
    for face in as_faces(faces):
        if isinstance(face, RefusedFace):
            raise ImageRefused(face.code, face.reason)
        crops.append(face.crop)
    return np.stack(crops) if crops else np.empty((0, *SHAPE), np.uint8)


def as_policies(policies: Policies) -> tuple[Policy, ...]:
    """One policy, or several that compose; none at all is full depth. Raises ConfigError."""
    if _is_policy(policies):
        return (policies,)  # type: ignore[return-value]
    if isinstance(policies, (str, bytes, Mapping)) or not isinstance(policies, Iterable):
        raise ConfigError(_no_policy(policies))
    listed = tuple(policies)
    for policy in listed:
        if not _is_policy(policy):
            raise ConfigError(_no_policy(policy))
    return listed or (Fixed(),)


def _is_policy(value: object) -> bool:
    return not isinstance(value, type) and hasattr(value, "limit") and hasattr(value, "stop")


def _no_policy(value: object) -> str:
    name = value.__name__ if isinstance(value, type) else None
    remedy = f"give {name}(), not its class" if name else "give for example [Fixed(6)]"
    return f"policies are a list like [Fixed(6), Budget(ms=2)], got {_described(value)}; {remedy}"


def _each(faces: Iterable[Face] | Bytes) -> Iterable[Face]:
    """The faces one by one. Raises ConfigError for what is one face, or none."""
    array = _numpy(faces)
    if array is not None:
        if array.ndim == 4:
            return array
        raise ConfigError(
            f"faces are a list or an (N, 112, 112, 3) array, got {_described(faces)}; "
            "give [face] for one face"
        )
    if isinstance(faces, (str, os.PathLike, FaceCrop, RefusedFace)) or _is_picture(faces):
        raise ConfigError(f"faces are a list, got {_described(faces)}; give [face] for one face")
    if isinstance(faces, (bytes, bytearray, Mapping)) or not isinstance(faces, Iterable):
        raise ConfigError(f"faces are a list of arrays, pictures or paths, got {_described(faces)}")
    return faces


def _of_file(path: Path) -> ScoredFace:
    """The aligned face in a file, or why there is none."""
    name = printable(path)
    try:
        return as_crop(decode(path), name)
    except ImageRefused as refusal:
        return RefusedFace(f"{name}#0", name, refusal.code, str(refusal))


def _pixels(face: Face) -> Bytes:
    """(112, 112, 3) uint8 of an array, a tensor or a picture. Raises ConfigError or ImageRefused."""
    array = _of_picture(face) if _is_picture(face) else _numpy(face)
    if array is None:
        raise ConfigError(f"{ONE_FACE}, a PIL image or a path, got {_described(face)}")
    _check_array(array)
    return array


def _numpy(value: object) -> np.ndarray[Any, Any] | None:
    """The array in a numpy array or a torch tensor, without a copy; None for anything else.

    Raises ConfigError for a tensor that is not in the host's memory."""
    if isinstance(value, np.ndarray):
        return value
    if not _is_from("torch", value) or not hasattr(value, "numpy"):
        return None
    tensor: Any = value
    if tensor.device.type != "cpu":
        raise ConfigError(f"the tensor lies on {tensor.device}; give tensor.cpu()")
    try:
        return np.asarray(tensor.detach().numpy())
    except (RuntimeError, TypeError) as exc:  # bfloat16, sparse
        raise ConfigError(f"{ONE_FACE}, got {_described(value)}") from exc


def _is_picture(value: object) -> bool:
    return _is_from("PIL", value) and hasattr(value, "mode")


def _is_from(library: str, value: object) -> bool:
    """Known by the name of its class's module, so that nobody has to have the library."""
    return any(cls.__module__.partition(".")[0] == library for cls in type(value).__mro__)


def _of_picture(picture: Any) -> Bytes:
    if picture.mode != "RGB":
        raise ConfigError(f"the PIL image is {picture.mode}, not RGB; give image.convert('RGB')")
    try:
        turned = picture.getexif().get(ORIENTATION, 1) != 1
        pixels = np.asarray(picture)
    except OSError as exc:  # PIL reads a file's pixels only now
        raise ImageRefused("unreadable", f"the PIL image cannot be read: {exc}") from exc
    if turned:
        raise ConfigError(
            "the PIL image is turned by its EXIF; give ImageOps.exif_transpose(image)"
        )
    return pixels


def _check_array(array: Any) -> None:
    """Raises ConfigError unless it is one face, saying what would make it one."""
    if not isinstance(array, np.ndarray):
        raise ConfigError(f"{ONE_FACE}, got {_described(array)}")
    if array.shape == SHAPE and array.dtype == np.uint8:
        return
    remedy = _remedy_of_shape(array.shape) or _remedy_of_type(array)
    raise ConfigError(f"{ONE_FACE}, got {_described(array)}; {remedy}")


def _remedy_of_shape(shape: Sequence[int]) -> str | None:
    if tuple(shape) == SHAPE:
        return None
    if tuple(shape) == (3, IMAGE, IMAGE):
        return "channels come last: give face.transpose(1, 2, 0)"
    if tuple(shape) in ((IMAGE, IMAGE), (IMAGE, IMAGE, 1)):
        return "if the camera is grey, repeat its channel three times"
    if tuple(shape) == (IMAGE, IMAGE, 4):
        return "give face[..., :3] if the fourth channel is alpha"
    if len(shape) == 4:
        return "give a batch to score or assess, not as one face"
    return "align it first: FaceReader does, and edge_fiqa.faces.align.align with five landmarks"


def _remedy_of_type(array: np.ndarray[Any, Any]) -> str:
    if array.dtype.kind != "f":
        return "values must be 0 to 255 as uint8"
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if low >= 0 and high <= 1:
        return "values from 0 to 1: give (255 * face).round().astype(np.uint8)"
    return "give the pixels as they were decoded, 0 to 255, before any normalisation"


def _described(value: object) -> str:
    """What was given, in a few words."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    kind = type(value).__name__
    if shape is not None and dtype is not None:
        return f"{kind} {tuple(shape)} {dtype}"
    if _is_picture(value):
        picture: Any = value
        return f"a PIL image {picture.width}x{picture.height} {picture.mode}"
    text = repr(value) if isinstance(value, (str, int, float, type(None))) else ""
    return f"{kind} {text[:60]}".strip()
