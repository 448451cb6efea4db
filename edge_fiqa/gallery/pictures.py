"""The pictures of a gallery: scored, small enough to keep all of them in memory."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from PIL import Image

from edge_fiqa.errors import counted
from edge_fiqa.evaluation.recognition import Recogniser
from edge_fiqa.faces.sources import FaceCrop, FaceReader, RefusedFace
from edge_fiqa.gallery.choose import GalleryFace
from edge_fiqa.gallery.likeness import look_of
from edge_fiqa.gallery.tight import with_surroundings
from edge_fiqa.policies.policy import Fixed
from edge_fiqa.record import Record
from edge_fiqa.scoring.pipeline import TOGETHER, Scores
from edge_fiqa.types import Array, Bytes

THUMBNAIL = 96  # pixels a side


@dataclass(frozen=True)
class ScoredPicture:
    """A picture and its largest face. thumbnail: JPEG of the aligned face, None without a face."""

    path: Path
    record: Record
    face: GalleryFace
    thumbnail: bytes | None


class PictureScorer:
    """Not thread-safe. Raises EngineFailed, and ConfigError of the recogniser."""

    def __init__(self, reader: FaceReader, scorer: Scores, recogniser: Recogniser | None) -> None:
        self._reader, self._scorer, self._recogniser = reader, scorer, recogniser

    def pictures(self, paths: Sequence[Path]) -> Iterator[ScoredPicture]:
        """In their order, some at a time. One that cannot be read has a record that says why."""
        rest = iter(paths)
        while chunk := list(itertools.islice(rest, TOGETHER)):
            yield from self._scored(chunk)

    def _scored(self, paths: Sequence[Path]) -> Iterator[ScoredPicture]:
        faces = [self._largest(path) for path in paths]
        records = self._scorer.score([face for face, _ in faces], [Fixed()])
        embeddings = self._embedded([face for face, _ in faces])
        for path, (face, others), record, embedding in zip(
            paths, faces, records, embeddings, strict=True
        ):
            if others:
                more = counted(
                    others, "smaller face in the picture is", "smaller faces in the picture are"
                )
                record = replace(record, warnings=(*record.warnings, f"{more} not looked at"))
            crop = face.crop if isinstance(face, FaceCrop) else None
            yield ScoredPicture(
                path,
                record,
                GalleryFace(
                    record.source,
                    _quality(record),
                    None if crop is None else look_of(crop),
                    embedding,
                ),
                None if crop is None else _thumbnail(crop),
            )

    def _largest(self, path: Path) -> tuple[FaceCrop | RefusedFace, int]:
        """The largest face, and how many others there are."""
        faces = self._reader.faces_of(path)
        largest = with_surroundings(faces[0], path, self._reader.min_eye_px)
        return largest, len(faces) - 1

    def _embedded(self, faces: Sequence[FaceCrop | RefusedFace]) -> list[Array | None]:
        crops = [face.crop for face in faces if isinstance(face, FaceCrop)]
        if self._recogniser is None or not crops:
            return [None] * len(faces)
        rows = iter(self._recogniser.embed(np.stack(crops)))
        embeddings = [next(rows) if isinstance(face, FaceCrop) else None for face in faces]
        return [e if e is not None and np.isfinite(e).all() else None for e in embeddings]


def _quality(record: Record) -> float | None:
    scalar = record.quality.scalar
    return None if scalar is None else float(scalar)


def _thumbnail(crop: Bytes) -> bytes:
    out = io.BytesIO()
    small = Image.fromarray(crop).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    small.save(out, "JPEG", quality=80)
    return out.getvalue()
