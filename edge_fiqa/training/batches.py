"""What one step sees: chosen by the step's number alone, so that a resumed run sees the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_fiqa.training.faces import TrainingFaces
from edge_fiqa.training.labels import Ints
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.store import Stack
from edge_fiqa.training.student import on_patches
from edge_fiqa.types import IMAGE, PATCHES, Array, Bytes

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Batch:
    images: Tensor  # (N, 3, 112, 112) in [-1, 1]
    quality: Tensor  # (N,), NaN where unknown
    embeddings: list[Tensor]
    maps: list[Tensor]  # (N, kept, C), standardised per channel
    kept: Tensor | None
    causes: Tensor | None = None  # (N, D), NaN where unknown

    def part(self, number: int, parts: int) -> Batch:
        """Every `parts`-th face, beginning with this one."""
        rows = slice(number, None, parts)
        return Batch(
            self.images[rows],
            self.quality[rows],
            [table[rows] for table in self.embeddings],
            [table[rows] for table in self.maps],
            self.kept,
            None if self.causes is None else self.causes[rows],
        )


class Batches:
    """Draws from the identities that are not held out; the held-out ones are for validation."""

    def __init__(self, faces: TrainingFaces, schedule: Schedule, device: torch.device) -> None:
        self.faces, self.schedule, self.device = faces, schedule, device
        persons = np.unique(faces.identity[faces.usable])
        rng = np.random.default_rng((schedule.seed, 0, 0))
        held = rng.permutation(persons)[: round(schedule.held_out * len(persons))]
        kept_out = np.isin(faces.identity, held)
        shown = faces.usable & ~kept_out
        self.clean = np.flatnonzero(faces.clean & shown)
        self.degraded = np.flatnonzero(~faces.clean & shown)
        self.held_out = np.flatnonzero(kept_out & ~np.isnan(faces.quality))
        self.norms = [_channel_norm(table) for table in faces.maps]

    def __getitem__(self, step: int) -> Batch:
        schedule, faces = self.schedule, self.faces
        rng = np.random.default_rng((schedule.seed, step))
        rows = self._rows(rng)
        images = faces.images[rows]
        flip = rng.random(len(rows)) < 0.5
        images[flip] = images[flip, :, ::-1]
        grey = rng.random(len(rows)) < schedule.grey
        images[grey] = (images[grey] @ LUMA).astype(np.uint8)[..., None]
        if schedule.shift:
            by = rng.integers(-schedule.shift, schedule.shift + 1, (len(rows), 2))
            images = shifted(images, by)
        kept = None
        if schedule.kept_patches < PATCHES and step < schedule.full_patches_step:
            kept = torch.from_numpy(rng.permutation(PATCHES)[: schedule.kept_patches])
            kept = kept.to(self.device)
        maps = []
        for table, (mean, deviation) in zip(faces.maps, self.norms, strict=True):
            seen = (table[rows].astype(np.float32) - mean) / deviation
            seen[flip] = seen[flip, :, :, ::-1]  # a teacher sees a mirrored face mirrored, nearly
            maps.append(on_patches(torch.from_numpy(seen).to(self.device), kept))
        return Batch(
            self.tensor(images),
            torch.from_numpy(faces.quality[rows]).to(self.device),
            [
                torch.from_numpy(table[rows].astype(np.float32)).to(self.device)
                for table in faces.embeddings
            ],
            maps,
            kept,
            None if faces.causes is None else torch.from_numpy(faces.causes[rows]).to(self.device),
        )

    def tensor(self, images: Bytes) -> Tensor:
        """(N, 112, 112, 3) uint8 -> (N, 3, 112, 112) float in [-1, 1] on the device."""
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        return x.float().div_(127.5).sub_(1)

    def _rows(self, rng: np.random.Generator) -> Ints:
        wanted = round(self.schedule.clean * self.schedule.batch)
        degraded = self.schedule.batch - wanted if len(self.degraded) else 0
        clean = self.schedule.batch - degraded
        rows = np.concatenate(
            [
                rng.choice(pool, min(many, len(pool)), replace=False)
                for pool, many in ((self.clean, clean), (self.degraded, degraded))
                if many
            ]
        )
        return np.sort(rows)


def shifted(images: Bytes, by: Ints) -> Bytes:
    """(N, 112, 112, 3), each moved down and right by (N, 2) pixels; its edge fills what is left."""
    most = int(np.abs(by).max(initial=0))
    wide = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    places = most - by
    return np.stack(
        [one[y : y + IMAGE, x : x + IMAGE] for one, (y, x) in zip(wide, places, strict=True)]
    )


def _channel_norm(table: Array | Stack) -> tuple[Array, Array]:
    """Mean and deviation (C, 1, 1) of a map's channels over an even sample of faces."""
    sample = table[:: max(1, len(table) // 1024)].astype(np.float32)
    mean, deviation = (f(sample, axis=(0, 2, 3)) for f in (np.mean, np.std))
    return mean[:, None, None], deviation[:, None, None] + 1e-6
