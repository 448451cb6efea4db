"""Train a ViT-FIQA so that *every* exit is a quality score, not only the last one.

Loss of one batch: smooth-L1 between the label and the score of each exit, deeper exits weighted more
(the FW weights of EX-FIQA, arXiv:2604.22842), plus the distance between the teachers' embeddings
and what the mean patch token predicts of them. The second term is the far richer signal: one scalar
a face teaches little about faces.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from edge_fiqa.fusion import depth_weights
from edge_fiqa.model.vit import ViT
from edge_fiqa.training.faces import TrainingFaces
from edge_fiqa.types import PATCHES, VitConfig

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """Everything that shapes the weights besides the faces. Equal recipes give equal weights."""

    steps: int = 1500
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of the steps
    kept_patches: int = 72  # PatchDropout (arXiv:2208.07220): 144 keeps all
    full_patches_from: float = 0.75  # share of the steps after which all patches are kept
    distil: float = 1.0  # weight of the embedding term
    grey: float = 0.0  # share of the faces shown without colour, as night cameras give them
    ema: float = 0.998
    seed: int = 0


class Student(nn.Module):
    """A ViT, and the training-only layer that predicts the teachers' embeddings."""

    def __init__(self, config: VitConfig, embedding_sizes: list[int]) -> None:
        super().__init__()
        self.vit = ViT(config)
        self.sizes = embedding_sizes
        self.recognise = nn.Linear(config.width, sum(embedding_sizes))
        initialise(self.vit)

    def forward(self, images: Tensor, kept: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """-> scores (N, E) and one predicted embedding (N, F) per teacher."""
        vit = self.vit
        x = vit.stem(images)
        if kept is not None:
            x = torch.cat((x[:, :1], x[:, 1:][:, kept]), dim=1)
        scores = []
        for block in vit.blocks:
            x = block(x)
            scores.append(vit.head(x))
        embedding = self.recognise(vit.norm(x[:, 1:]).mean(1))
        return torch.stack(scores, 1), list(embedding.split(self.sizes, 1))


def initialise(vit: ViT) -> None:
    """Truncated normal weights (0.02), zero biases; residual outputs scaled down by depth."""
    for name, parameter in vit.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
            if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
                parameter.data /= math.sqrt(2 * vit.config.depth)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)


def exit_loss(scores: Tensor, quality: Tensor) -> Tensor:
    """Depth-weighted smooth-L1 over exits; faces without a label (NaN) do not count."""
    known = ~torch.isnan(quality)
    scores, target = scores[known], quality[known, None].expand(-1, scores.shape[1])
    each = F.smooth_l1_loss(scores, target, reduction="none").mean(0)
    return each @ torch.from_numpy(depth_weights(scores.shape[1])).to(each)


class Trainer:
    """Runs the recipe; a kill costs at most `checkpoint_every` steps.

    start: another run's checkpoint, whose averaged weights this run begins with.
    """

    def __init__(
        self,
        config: VitConfig,
        recipe: TrainingRecipe,
        faces: TrainingFaces,
        folder: Path,
        checkpoint_every: int = 100,
        start: Path | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.faces, self.folder = recipe, faces, folder
        self.checkpoint_every = checkpoint_every
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sizes = [table.shape[1] for table in faces.embeddings]
        self.student = Student(config, sizes).to(self.device)
        if start is not None:
            state = torch.load(start, map_location=self.device, weights_only=True)
            self.student.load_state_dict(state["average"])
        self.student.vit.head_qs.eval()  # LayerNorm has normalised already: keep BN an affine map
        self.average = {k: v.detach().clone() for k, v in self.student.state_dict().items()}
        decayed = [p for p in self.student.parameters() if p.ndim > 1]
        others = [p for p in self.student.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            betas=(0.9, 0.98),
        )
        self.step = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        if (latest := self.folder / "latest.pt").exists():
            self._resume(latest)

    def run(self) -> Path:
        """Train to the end; returns the averaged weights, in float16, as a safetensors file."""
        log = (self.folder / "log.ndjson").open("a", encoding="utf-8")
        start, first = time.monotonic(), self.step
        bar = tqdm(total=self.recipe.steps, initial=self.step, unit="step", mininterval=5)
        while self.step < self.recipe.steps:
            row = self._one_step()
            bar.update()
            if self.step % 20 == 0:
                done = (self.step - first) * self.recipe.batch
                row["faces_per_s"] = done / (time.monotonic() - start)
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.set_postfix({k: f"{v:.3f}" for k, v in row.items() if k != "step"})
            if self.step % self.checkpoint_every == 0 or self.step == self.recipe.steps:
                self._checkpoint()
        log.close()
        return self._export()

    def _one_step(self) -> dict[str, float]:
        recipe = self.recipe
        rng = np.random.default_rng((recipe.seed, self.step))
        rows = np.sort(rng.choice(len(self.faces.images), recipe.batch, replace=False))
        images = self._images(rows, rng)
        quality = torch.from_numpy(self.faces.quality[rows]).to(self.device)
        teachers = [
            torch.from_numpy(np.array(table[rows], np.float32)).to(self.device)
            for table in self.faces.embeddings
        ]
        progress = self.step / recipe.steps
        kept = None
        if recipe.kept_patches < PATCHES and progress < recipe.full_patches_from:
            kept = torch.from_numpy(rng.permutation(PATCHES)[: recipe.kept_patches])
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * schedule(progress, recipe.warmup)
        with torch.autocast(self.device.type, torch.bfloat16):
            scores, embeddings = self.student(images, kept)
        quality_loss = exit_loss(scores.float(), quality)
        distil_loss = sum(
            (1 - F.cosine_similarity(found.float(), wanted)).mean()
            for found, wanted in zip(embeddings, teachers, strict=True)
        ) / max(len(teachers), 1)
        loss = quality_loss + recipe.distil * distil_loss
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        rate = min(recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.student.state_dict().items():
                if value.is_floating_point():
                    self.average[key].lerp_(value, 1 - rate)
        return {
            "step": self.step,
            "quality": float(quality_loss.detach()),
            "distil": float(torch.as_tensor(distil_loss).detach()),
        }

    def _images(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        batch = self.faces.images[rows]
        flip = rng.random(len(rows)) < 0.5
        batch[flip] = batch[flip, :, ::-1]
        grey = rng.random(len(rows)) < self.recipe.grey
        batch[grey] = (batch[grey] @ LUMA).astype(np.uint8)[..., None]
        x = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2)
        return x.float().div_(127.5).sub_(1)

    def _checkpoint(self) -> None:
        partial = self.folder / "partial.pt"
        state = {
            "student": self.student.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "recipe": asdict(self.recipe),
        }
        torch.save(state, partial)
        partial.rename(self.folder / "latest.pt")

    def _resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]

    def _export(self) -> Path:
        from safetensors.torch import save_file

        weights = {
            key.removeprefix("vit."): value.half().contiguous().cpu()
            for key, value in self.average.items()
            if key.startswith("vit.") and value.is_floating_point()
        }
        target = self.folder / "model.safetensors"
        heads = str(self.student.vit.config.heads)
        save_file(weights, target, metadata={"heads": heads})
        return target


def schedule(progress: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
