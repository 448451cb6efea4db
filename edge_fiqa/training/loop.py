"""Train a ViT-FIQA so that *every* exit is a quality score, not only the last one.

Loss of one batch: regression to the label and pair-wise ranking at every exit, deeper exits weighted
more (the FW weights of EX-FIQA, arXiv:2604.22842); every exit following the fused score; and what
the patch tokens predict of the teachers' embeddings and inner maps. The last is the far richer
signal: one scalar a face teaches little about faces.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from tqdm import tqdm

from edge_fiqa.errors import CheckpointError, ConfigError
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.files import lock_of, locked, open_lines, write_all, write_whole
from edge_fiqa.model.weights import load_weights
from edge_fiqa.training import losses
from edge_fiqa.training.batches import Batch, Batches
from edge_fiqa.training.checkpoint import (
    is_falling,
    only_longer,
    read_checkpoint,
    write_checkpoint,
    written,
)
from edge_fiqa.training.faces import TrainingFaces
from edge_fiqa.training.pace import pace
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.student import Student, widen
from edge_fiqa.types import Array, Bytes, VitConfig

LOG_EVERY = 20  # steps
LATEST, STABLE = "latest.pt", "stable.pt"  # the second one from before the rate falls
LOG = "log.ndjson"
MODEL = "model.safetensors"


class Trainer:
    """Runs the schedule; a kill costs at most `checkpoint_every` steps.

    start: another run's checkpoint, whose averaged weights this run begins with.
    """

    def __init__(
        self,
        config: VitConfig,
        schedule: Schedule,
        faces: TrainingFaces,
        folder: Path,
        checkpoint_every: int = 100,
        start: Path | None = None,
    ) -> None:
        torch.manual_seed(schedule.seed)
        self.schedule, self.folder = schedule, folder
        self.checkpoint_every = checkpoint_every
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.batches = Batches(faces, schedule, self.device)
        self.student = Student(
            config,
            [table.shape[1] for table in faces.embeddings],
            [table.shape[1] for table in faces.maps],
            0 if faces.causes is None or not schedule.causes else faces.causes.shape[1],
        ).to(self.device)
        self.weights = losses.supervision(schedule.supervision, config.depth).to(self.device)
        if start is not None:
            self._begin_with(start)
        self.average = {k: v.detach().clone() for k, v in self.student.state_dict().items()}
        self.parameters = list(self.student.parameters())
        self.threads = ThreadPoolExecutor(schedule.parts)
        self.optimiser = self._optimiser()
        self.step, self.best, self.unimproved = 0, -1.0, 0
        self.folder.mkdir(parents=True, exist_ok=True)
        if (latest := self.folder / LATEST).exists():
            self._resume(latest)
        elif (self.folder / MODEL).exists():
            raise ConfigError(
                f"{self.folder} holds a {MODEL} and no {LATEST}: it would be replaced; name another "
                "folder"
            )

    def run(self) -> Path:
        """Train to the end; returns the averaged weights, in float16, as a safetensors file."""
        busy = f"{self.folder}: another run trains there; wait for its end or name another folder"
        with locked(lock_of(self.folder / LOG), busy):
            self._train()
            return self._export()

    def _train(self) -> None:
        start, first = time.monotonic(), self.step
        bar = tqdm(total=self.schedule.steps, initial=self.step, unit="step", mininterval=5)
        with open_lines(self.folder / LOG) as log:
            while self.step < self.schedule.steps and not self._given_up:
                row: dict[str, Any] = self._one_step()
                bar.update()
                ends = self.step == self.schedule.steps
                if self.step % LOG_EVERY == 0:
                    done = (self.step - first) * self.schedule.batch
                    row["faces_per_s"] = done / (time.monotonic() - start)
                    bar.set_postfix({k: f"{v:.3f}" for k, v in row.items() if k != "step"})
                if self.step % self.schedule.validate_every == 0 or ends:
                    row["validation"] = self._validate()
                if self.step % LOG_EVERY == 0 or "validation" in row:
                    with written(self.folder / LOG):
                        write_all(log, json.dumps(row).encode() + b"\n")
                if self.step % self.checkpoint_every == 0 or ends or self._given_up:
                    self._checkpoint(LATEST)
                if self.schedule.decay_steps and self.step == self.schedule.decay_step:
                    self._checkpoint(STABLE)

    @property
    def _given_up(self) -> bool:
        return 0 < self.schedule.patience <= self.unimproved

    def _one_step(self) -> dict[str, float]:
        schedule = self.schedule
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.learning_rate * pace(schedule, self.step)
        terms = self._gradients(self.batches[self.step])
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        rate = min(schedule.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.student.state_dict().items():
                if value.is_floating_point():
                    self.average[key].lerp_(value, 1 - rate)
        return {"step": self.step, **terms}

    def _gradients(self, batch: Batch) -> dict[str, float]:
        """Sets every parameter's gradient, the mean over the batch's parts; -> the loss's terms."""
        parts = [batch.part(number, self.schedule.parts) for number in range(self.schedule.parts)]
        each = list(self.threads.map(self._gradients_of, parts))
        for parameter, *grads in zip(self.parameters, *(grads for _, grads in each), strict=True):
            known = [grad for grad in grads if grad is not None]
            parameter.grad = torch.stack(known).sum(0) / len(parts) if known else None
        return {
            name: float(np.mean([float(terms[name].detach()) for terms, _ in each]))
            for name in each[0][0]
        }

    def _gradients_of(self, part: Batch) -> tuple[dict[str, Tensor], tuple[Tensor | None, ...]]:
        terms = self._terms(part)
        loss = sum(terms.values(), torch.zeros((), device=self.device))
        return terms, torch.autograd.grad(loss, self.parameters, allow_unused=True)

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss that are switched on."""
        schedule, weights = self.schedule, self.weights
        # No cache: parts that run side by side would share each other's graphs.
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            seen = self.student(batch.images, batch.kept)
        scores = seen.scores.float()
        terms = {"quality": losses.regression(scores, batch.quality, weights)}
        if schedule.ranking:
            terms["ranking"] = schedule.ranking * losses.ranking(scores, batch.quality, weights)
        if schedule.agreement and schedule.supervision != "last":
            terms["agreement"] = schedule.agreement * losses.agreement(scores, weights)
        if schedule.causes and batch.causes is not None:
            terms["causes"] = schedule.causes * losses.causes(seen.causes.float(), batch.causes)
        for name, weight, found, wanted in (
            ("distil", schedule.distil, seen.embeddings, batch.embeddings),
            ("maps", schedule.maps, seen.maps, batch.maps),
        ):
            if weight and found:
                each = [losses.direction(f.float(), w) for f, w in zip(found, wanted, strict=True)]
                terms[name] = weight * torch.stack(each).mean()
        return terms

    def _validate(self) -> dict[str, float]:
        """Rank correlation with the label on held-out identities: first, middle, last exit, FW; and of
        the causes with their strengths in degraded faces, the mean over causes."""
        rows = self.batches.held_out
        if len(rows) < 3:
            return {}
        rows = rows[:: max(1, len(rows) // 1024)]
        faces = self.batches.faces
        trail, causes = self.judged(faces.images[rows])
        quality, depth = faces.quality[rows], trail.shape[1]
        some = sorted({1, max(1, depth // 3), max(1, depth // 2), depth})
        found = {f"exit {k}": _agree(trail[:, k - 1], quality) for k in some}
        found["FW"] = _agree(fuse(trail, depth), quality)
        clean = faces.clean[rows]
        if clean.sum() > 2:
            found["FW clean"] = _agree(fuse(trail[clean], depth), quality[clean])
        if faces.causes is not None and causes.shape[2]:
            strengths = faces.causes[rows]
            found |= {f"causes {k}": _causes_agree(causes[:, k - 1], strengths) for k in some}
        self.unimproved = 0 if found["FW"] > self.best else self.unimproved + 1
        self.best = max(self.best, found["FW"])
        return found

    def judged(self, images: Bytes) -> tuple[Array, Array]:
        """Scores (N, E) and logits of the causes (N, E, D) of faces (N, 112, 112, 3), by the averaged
        weights."""
        current = {k: v.clone() for k, v in self.student.state_dict().items()}
        self.student.load_state_dict(self.average)
        self.student.eval()
        parts = []
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16):
            for start in range(0, len(images), 128):
                seen = self.student(self.batches.tensor(images[start : start + 128]), None)
                parts.append([x.float().cpu().numpy() for x in (seen.scores, seen.causes)])
        self.student.load_state_dict(current)
        self.student.train()
        scores, causes = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(causes)

    def _optimiser(self) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.student.parameters() if p.ndim > 1]},
            {"params": [p for p in self.student.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        schedule = self.schedule
        return torch.optim.AdamW(
            groups,
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            betas=(0.9, 0.98),
        )

    def _begin_with(self, start: Path) -> None:
        state = (
            self._model(start)
            if start.suffix == ".safetensors"
            else read_checkpoint(start, self.device)["average"]
        )
        generator = torch.Generator().manual_seed(self.schedule.seed)
        wanted = self.student.state_dict()
        self.student.load_state_dict(widen(state, wanted, 0.02, generator))

    def _model(self, path: Path) -> dict[str, Tensor]:
        """The ViT alone: what predicts the teachers begins anew."""
        arrays = load_weights(path).arrays
        return {f"vit.{name}": torch.from_numpy(value.copy()) for name, value in arrays.items()}

    def _checkpoint(self, name: str) -> None:
        state = {
            "student": self.student.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best": self.best,
            "unimproved": self.unimproved,
            "schedule": msgspec.to_builtins(self.schedule),
        }
        write_checkpoint(self.folder / name, state)

    def _resume(self, path: Path) -> None:
        state = read_checkpoint(path, self.device)
        own = msgspec.to_builtins(self.schedule)
        usual = msgspec.to_builtins(Schedule())  # of settings that an earlier version did not have
        if (
            only_longer(self.schedule, state)
            and is_falling(state)
            and (self.folder / STABLE).exists()
        ):
            path = self.folder / STABLE
            state = read_checkpoint(path, self.device)
        continues = only_longer(self.schedule, state) and not is_falling(state)
        in_time = state["step"] <= self.schedule.decay_step
        if {**usual, **state["schedule"]} != own and not (continues and in_time):
            raise CheckpointError(
                f"{path} is of another schedule; choose another output folder, "
                "or start a new run from it with `start:`"
            )
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]
        self.best, self.unimproved = state["best"], state["unimproved"]

    def _export(self) -> Path:
        from safetensors.torch import save

        weights = {
            key.removeprefix("vit."): value.half().contiguous().cpu()
            for key, value in self.average.items()
            if key.startswith("vit.") and value.is_floating_point()
        }
        target = self.folder / MODEL
        heads = str(self.student.vit.config.heads)
        with written(target):
            write_whole(target, save(weights, metadata={"heads": heads}))
        return target


def _agree(scores: Array, quality: Array) -> float:
    """Spearman's rank correlation; 0 where one side is constant and it is undefined."""
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(quality) == 0:
        return 0.0
    return float(spearmanr(scores, quality).statistic)


def _causes_agree(logits: Array, strengths: Array) -> float:
    """Mean over the causes of the rank correlation, where a strength is known: (N, D) each."""
    known = ~np.isnan(strengths)
    each = [_agree(x[k], y[k]) for x, y, k in zip(logits.T, strengths.T, known.T, strict=True)]
    return float(np.mean(each))
