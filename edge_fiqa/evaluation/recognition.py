"""Frozen networks as ONNX files: aligned faces in, embeddings (or one quality each) out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cv2
import msgspec
import numpy as np

from edge_fiqa.config import read_yaml
from edge_fiqa.errors import BackendMissing, ConfigError
from edge_fiqa.types import IMAGE, Array, Bytes

if TYPE_CHECKING:
    import onnxruntime


Colour = Literal["RGB", "BGR"]


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """What must be known to feed a recognition model: (pixel - mean) / std, of some columns.

    size: pixels a side that the crop is resized to (bilinear) before its columns are taken.
    mean, std: in the order of `colour`.
    """

    path: Path
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    columns: tuple[int, int] | None = None
    size: int = IMAGE
    colour: Colour = "RGB"
    threads: int = 2

    @property
    def feeding(self) -> tuple[object, ...]:
        """Everything besides the file that an embedding depends on."""
        always = (self.mean, self.std, self.columns or (0, self.size))
        usual = (self.size, self.colour) == (IMAGE, "RGB")
        return always if usual else (*always, self.size, self.colour)

    def embed(self, faces: Bytes, batch: int = 64) -> Array:
        """(N, 112, 112, 3) uint8 RGB -> (N, F) float32 of unit length."""
        return unit(
            np.concatenate([embedding for embedding, _ in self.run_batches(faces, batch=batch)])
        )

    def run_batches(
        self, faces: Bytes, inner: str | None = None, batch: int = 64
    ) -> Iterator[tuple[Array, Array | None]]:
        """Batch by batch: embeddings (n, F), not normalised, and the inner tensor (n, C, h, w), if any.

        inner: the tensor's name. Raises ConfigError if the model has no tensor of that name.
        """
        session = self._session(inner)
        name = session.get_inputs()[0].name
        wanted = [session.get_outputs()[0].name] + ([inner] if inner else [])
        first, end = self.columns or (0, self.size)
        self._check(session.get_inputs()[0].shape, end - first)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        for start in range(0, len(faces), batch):
            x: Array = (self._sized(faces[start : start + batch])[:, :, first:end] - mean) / std
            outputs = session.run(wanted, {name: np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
            yield outputs[0].reshape(len(x), -1), outputs[1] if inner else None

    def _sized(self, faces: Bytes) -> Bytes:
        if self.size != IMAGE:
            faces = np.stack([cv2.resize(face, (self.size, self.size)) for face in faces])
        return faces if self.colour == "RGB" else faces[..., ::-1]

    def _check(self, shape: list[int | str | None], width: int) -> None:
        """Raises ConfigError if the network's own input shape says that it is fed otherwise."""
        fed = (3, self.size, width)
        fits = len(shape) == 4 and all(
            not isinstance(expected, int) or expected == actual
            for expected, actual in zip(shape[1:], fed, strict=True)
        )
        if not fits:
            wanted = "x".join(str(side) for side in shape[1:])
            raise ConfigError(
                f"{self.path}: it takes {wanted}, and is fed 3x{self.size}x{width}; "
                "say size: and columns: as the network needs them"
            )

    def _session(self, inner: str | None) -> onnxruntime.InferenceSession:
        try:
            import onnxruntime
        except ImportError as exc:
            raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[ort]'") from exc
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        model: str | bytes = str(self.path)
        if inner is not None:
            model = self._with_output(inner)
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # its exceptions have no common base but this
            reason = " ".join(str(exc).split())
            raise ConfigError(f"{self.path}: not a readable ONNX model ({reason})") from exc

    def _with_output(self, inner: str) -> bytes:
        """The model with one of its inner tensors as a second output."""
        try:
            import onnx
        except ImportError as exc:
            raise BackendMissing(f"{exc}; run pip install 'edge-fiqa[train]'") from exc
        model = onnx.load(str(self.path))
        if not any(inner in node.output for node in model.graph.node):
            raise ConfigError(f"{self.path}: the model has no inner tensor {inner!r}")
        model.graph.output.append(onnx.ValueInfoProto(name=inner))
        return bytes(model.SerializeToString())


class Feeding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network in a YAML file: where it lies, and how it is fed."""

    path: str
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    columns: tuple[int, int] | None = None
    size: Annotated[int, msgspec.Meta(ge=8, le=1024)] = IMAGE
    colour: Colour = "RGB"

    def recogniser(self, root: Path, threads: int | None = None) -> Recogniser:
        """The model, its path read from `root`. Raises ConfigError if there is no such file."""
        if not (root / self.path).is_file():
            raise ConfigError(
                f"{root / self.path}: no such recogniser; its path is read from {root}"
            )
        return self.network(root, threads)

    def network(self, root: Path, threads: int | None = None) -> Recogniser:
        """The same, whether its file is there or not."""
        return Recogniser(
            path=root / self.path,
            mean=self.mean,
            std=self.std,
            columns=self.columns,
            size=self.size,
            colour=self.colour,
            threads=threads or 2,
        )


def read_recogniser(path: Path) -> Recogniser:
    """An .onnx fed with RGB pixels as they are, or a .yaml with path, mean, std, columns.

    Raises ConfigError naming the file and the key.
    """
    if path.suffix == ".onnx":
        return Feeding(path=path.name).recogniser(path.parent)
    try:
        return msgspec.convert(read_yaml(path), Feeding).recogniser(path.parent)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def unit(embeddings: Array) -> Array:
    """(N, F) float32 rows of length 1; NaN where a row has no length."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(length > 0, length, np.nan)).astype(np.float32)
