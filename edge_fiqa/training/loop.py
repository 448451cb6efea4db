"""Train a ViT-FIQA so that *every* exit is a quality score, not only the last one.

Loss of one batch: regression to the label and pair-wise ranking at every exit, deeper exits weighted
more (the FW weights of EX-FIQA, arXiv:2604.22842); every exit following the fused score; and what
the patch tokens predict of the teachers' embeddings and inner maps. The last is the far richer
signal: one scalar a face teaches little about faces.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from edge_fiqa.errors import CheckpointError, ConfigError
from edge_fiqa.files import PARTIAL, lock_of, locked, open_lines, write_all
from edge_fiqa.training import losses
from edge_fiqa.training.batches import Batch, Batches
from edge_fiqa.training.checkpoint import write_checkpoint, written
from edge_fiqa.training.export import MODEL, write_model
from edge_fiqa.training.faces import TrainingFaces
from edge_fiqa.training.number_type import mixed_precision
from edge_fiqa.training.pace import pace
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.resume import LATEST, STABLE, state_to_resume
from edge_fiqa.training.start import NO_START, begin_with, still_the_start
from edge_fiqa.training.student import Student
from edge_fiqa.training.validation import Shares, causes_right, validate
from edge_fiqa.types import VitConfig

LOG_EVERY = 20  # steps
LOG = "log.ndjson"


class Trainer:
    """Runs the schedule; a kill costs at most `checkpoint_every` steps, a stop none.

    start: another run's checkpoint, or a model, whose weights this run begins with.
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
        learns_causes = faces.causes is not None and schedule.causes != 0
        self.causes = faces.cause_names if learns_causes else ()
        self.student = Student(
            config,
            [table.shape[1] for table in faces.embeddings],
            [table.shape[1] for table in faces.maps],
            len(self.causes),
        ).to(self.device)
        self.weights = losses.supervision(schedule.supervision, config.depth).to(self.device)
        self.parameters = list(self.student.parameters())
        self.threads = ThreadPoolExecutor(schedule.parts)
        self.optimiser = _optimiser(self.student, schedule)
        self.start: str | None = NO_START  # SHA-256 of what it began with
        self.step, self.best, self.unimproved = 0, -1.0, 0
        self.folder.mkdir(parents=True, exist_ok=True)
        state = state_to_resume(folder, schedule, self.device)
        if state is None:
            self._begin(start)
        else:
            self._resume(state, start)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Path | None:
        """Train to the end; returns the averaged weights, in float16, as a safetensors file.

        stop: asked after every step. If it says so, a checkpoint is written, and None is returned.
        """
        busy = f"{self.folder}: another run trains there; wait for its end or name another folder"
        with locked(lock_of(self.folder / LOG), busy) as held:
            if held:
                self._remove_unfinished()
            self._train(stop)
            if not self._ended:
                return None
            config = self.student.vit.config
            right: Shares = ()
            if self.causes:
                right = causes_right(self.student, self.average, self.batches, self.causes)
            return write_model(self.folder, self.average, config, self.causes, right)

    def _remove_unfinished(self) -> None:
        """Files that a process was killed over; nobody else writes here while the lock is held."""
        for name in (LATEST, STABLE, MODEL):
            for partial in self.folder.glob(f".{name}.*{PARTIAL}"):
                partial.unlink()

    def _train(self, stop: Callable[[], bool]) -> None:
        try:
            self._train_with_bar(stop)
        except BrokenPipeError:  # whoever read the bar is gone, as `| tee` is after Ctrl-C
            self._checkpoint(LATEST)
            raise

    def _train_with_bar(self, stop: Callable[[], bool]) -> None:
        start, first, kept = time.monotonic(), self.step, self.step
        steps = tqdm(total=self.schedule.steps, initial=first, unit="step", mininterval=5)
        with steps as bar, open_lines(self.folder / LOG) as log:
            while not self._ended and not stop():
                if self.schedule.decay_steps and self.step == self.schedule.decay_step:
                    self._checkpoint(STABLE)
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
                if self.step % self.checkpoint_every == 0:
                    self._checkpoint(LATEST)
                    kept = self.step
            if kept != self.step:
                self._checkpoint(LATEST)

    @property
    def _ended(self) -> bool:
        given_up = 0 < self.schedule.patience <= self.unimproved
        return given_up or self.step >= self.schedule.steps

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
        # No cache: parts that run side by side would share each other's graphs.
        with mixed_precision(self.device, cache_enabled=False):
            seen = self.student(batch.images, batch.kept)
        return losses.weighted_terms(self.schedule, seen, batch, self.weights)

    def _validate(self) -> dict[str, float]:
        """Rank correlations, see validate; counts how often that of FW was no better than before."""
        agreement = validate(self.student, self.average, self.batches)
        if agreement:
            self.unimproved = 0 if agreement["FW"] > self.best else self.unimproved + 1
            self.best = max(self.best, agreement["FW"])
        return agreement

    def _begin(self, start: Path | None) -> None:
        if (self.folder / MODEL).exists():
            raise ConfigError(
                f"{self.folder} holds a {MODEL} and no {LATEST}: it would be replaced; name another "
                "folder"
            )
        if start is not None:
            self.start = begin_with(self.student, start, self.causes, self.schedule.seed)
        self.average = {k: v.detach().clone() for k, v in self.student.state_dict().items()}

    def _resume(self, state: dict[str, Any], start: Path | None) -> None:
        self.start = still_the_start(self.folder, state.get("start"), start)
        try:
            self.student.load_state_dict(state["student"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as exc:
            raise CheckpointError(
                f"{self.folder}: its run has another model, other teachers or other causes than the "
                "recipe says now; choose another output folder"
            ) from exc
        self.average, self.step = state["average"], state["step"]
        self.best, self.unimproved = state["best"], state["unimproved"]

    def _checkpoint(self, name: str) -> None:
        state = {
            "student": self.student.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best": self.best,
            "unimproved": self.unimproved,
            "schedule": msgspec.to_builtins(self.schedule),
            "start": self.start,
        }
        write_checkpoint(self.folder / name, state)


def _optimiser(student: Student, schedule: Schedule) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [p for p in student.parameters() if p.ndim > 1]},
        {"params": [p for p in student.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        betas=(0.9, 0.98),
    )
