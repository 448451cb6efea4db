"""Faces that are read one at a time, since a data set may be larger than memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.align import align
from edge_fiqa.faces.images import decode_bytes
from edge_fiqa.faces.sources import as_crop
from edge_fiqa.types import Bytes, Floats


class Faces(Protocol):
    """N faces. `crop` gives row i as (112, 112, 3) uint8 RGB and what was done to make it so, or
    raises ImageRefused. `digest` names their content: equal faces in equal order, equal digest."""

    def __len__(self) -> int: ...

    def crop(self, row: int) -> tuple[Bytes, tuple[str, ...]]: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class FileFaces:
    """One file per face below `root`. landmarks: (N, 5, 2) to align them by, else they are crops."""

    root: Path
    names: Sequence[str]
    landmarks: Floats | None = None

    def __len__(self) -> int:
        return len(self.names)

    def crop(self, row: int) -> tuple[Bytes, tuple[str, ...]]:
        image = decode_bytes(self._data(row), str(self.root / self.names[row]))
        if self.landmarks is not None:
            return align(image, self.landmarks[row]), ()
        face = as_crop(image, self.names[row])
        return face.crop, face.warnings

    @cached_property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for row in range(len(self)):
            try:
                digest.update(hashlib.sha256(self._data(row)).digest())
            except ImageRefused:
                digest.update(b"unreadable")
        if self.landmarks is not None:
            digest.update(self.landmarks.tobytes())
        return digest.hexdigest()

    def _data(self, row: int) -> bytes:
        try:
            return (self.root / self.names[row]).read_bytes()
        except OSError as exc:
            raise ImageRefused("unreadable", f"{self.names[row]}: {exc.strerror}") from exc


@dataclass(frozen=True)
class EncodedFaces:
    """Encoded images, all in memory as they came out of one file."""

    data: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def names(self) -> Sequence[str]:
        return [str(row) for row in range(len(self))]

    def crop(self, row: int) -> tuple[Bytes, tuple[str, ...]]:
        face = as_crop(decode_bytes(self.data[row], f"face {row}"), f"face {row}")
        return face.crop, face.warnings

    @cached_property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for data in self.data:
            digest.update(hashlib.sha256(data).digest())
        return digest.hexdigest()
