"""The network in training: a ViT and the layers that predict what the teachers see."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_fiqa.errors import ConfigError
from edge_fiqa.model.vit import ViT
from edge_fiqa.types import IMAGE, PATCH, VitConfig

GRID = IMAGE // PATCH  # patches a side
StateDict = dict[str, Tensor]


class Seen(NamedTuple):
    """scores: (N, E); causes: logits (N, E, D), D may be 0; embeddings, maps: what each teacher should
    give, (N, F) and (N, kept, C)."""

    scores: Tensor
    causes: Tensor
    embeddings: list[Tensor]
    maps: list[Tensor]


class Student(nn.Module):
    """embeddings, maps: how many numbers each teacher's embedding and map position has. causes: how
    many causes of low quality each exit reads from its quality token."""

    def __init__(
        self, config: VitConfig, embeddings: list[int], maps: list[int], causes: int = 0
    ) -> None:
        super().__init__()
        self.vit = ViT(config)
        self.embeddings, self.maps = embeddings, maps
        self.recognise = nn.Linear(config.width, sum(embeddings))
        if maps:
            self.see = nn.Linear(config.width, sum(maps))
        self.causes = nn.ModuleList(
            nn.Linear(config.width, causes) for _ in range(config.depth if causes else 0)
        )
        initialise(self.vit)
        self.train()

    def train(self, mode: bool = True) -> Student:
        """The head's normalisation stays an affine map: what it is given is normalised already."""
        super().train(mode)
        self.vit.head_qs.eval()
        return self

    def forward(self, images: Tensor, kept: Tensor | None) -> Seen:
        """kept: which patches are read, (P,) indices, or None for all."""
        vit = self.vit
        first = int(vit.config.has_quality_token)
        x = vit.stem(images)
        if kept is not None:
            x = torch.cat((x[:, :first], x[:, first:][:, kept]), dim=1)
        scores, tokens = [], []
        for block in vit.blocks:
            x = block(x)
            scores.append(vit.head(x))
            tokens.append(x[:, 0])
        patches = vit.norm(x[:, first:])
        embeddings = self.recognise(patches.mean(1)).split(self.embeddings, 1)
        maps = self.see(patches).split(self.maps, 2) if self.maps else ()
        return Seen(
            torch.stack(scores, 1),
            self.causes_of(torch.stack(tokens, 1)),
            list(embeddings),
            list(maps),
        )

    def causes_of(self, tokens: Tensor) -> Tensor:
        """Logits (N, E, D) of the causes, from the quality token behind every block (N, E, W)."""
        if not len(self.causes):
            return tokens.new_zeros(*tokens.shape[:2], 0)
        seen = self.vit.norm(tokens)
        return torch.stack([head(seen[:, k]) for k, head in enumerate(self.causes)], 1)


def on_patches(maps: Tensor, kept: Tensor | None) -> Tensor:
    """A teacher's map (N, C, h, w) over the whole face, seen at the centres of the patches:
    (N, kept, C)."""
    places = (torch.arange(GRID, device=maps.device) + 0.5) * (2 * PATCH / IMAGE) - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="ij")[::-1], dim=-1)
    seen = F.grid_sample(
        maps, grid.expand(len(maps), -1, -1, -1), padding_mode="border", align_corners=False
    )
    seen = seen.flatten(2).transpose(1, 2)
    return seen if kept is None else seen[:, kept]


def initialise(vit: ViT) -> None:
    """Truncated normal weights (0.02), zero biases; residual outputs scaled down by depth."""
    for name, parameter in vit.named_parameters():
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
            if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
                parameter.data /= math.sqrt(2 * vit.config.depth)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)


def widen(
    state: StateDict, wanted: StateDict, noise: float, generator: torch.Generator
) -> StateDict:
    """Weights of a student of half the width, as a student of the wanted shapes that gives the same
    scores (function-preserving growth, Net2Net, arXiv:1511.05641).

    Every channel is there twice and every weight that reads channels is halved; heads are
    doubled. `noise`, relative to each weight's deviation, tells the copies apart.
    """
    grown = {}
    for name, target in wanted.items():
        if name not in state:
            grown[name] = target
            continue
        found = state[name]
        if "feature" in name and found.shape != target.shape:
            raise ConfigError("only token models can start from narrower ones")
        for axis, (have, want) in enumerate(zip(found.shape, target.shape, strict=True)):
            if want == have:
                continue
            if want != 2 * have:
                raise ConfigError(
                    f"{name} of the starting weights is {tuple(found.shape)}, the model needs "
                    f"{tuple(target.shape)}: only the same width or half of it can be the start"
                )
            qkv = name.endswith("attn.qkv.weight") and axis == 0
            found = _twice(found, axis, parts=3 if qkv else 1)
            if axis == 1 and found.ndim == 2:
                found = found / 2
        if found.ndim > 1 and found.shape != state[name].shape:
            spread = noise * found.std()
            found = found + spread * torch.randn(found.shape, generator=generator)
        grown[name] = found
    return grown


def _twice(x: Tensor, axis: int, parts: int) -> Tensor:
    """The axis repeated as a whole (channels c, c + D are twins), each of `parts` for itself."""
    return torch.cat([torch.cat((p, p), axis) for p in x.chunk(parts, axis)], axis)
