"""How long does a training step of nano take on one thread, with attention as its formula and fused?

    python benchmarks/training_step.py [-o RESULT.json]

Fused is torch's `scaled_dot_product_attention`. Both ways run in turn in one process: 64 faces,
forward and backward, BF16 autocast, with a third, a half and all of the patches.
"""

import statistics
import time
from collections.abc import Callable

import torch
from common import new_result, parser, write_result
from torch import Tensor
from torch.nn import functional as F

from edge_fiqa.exits.fusion import depth_weights
from edge_fiqa.model import vit
from edge_fiqa.training import losses
from edge_fiqa.training.batches import Batch
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.student import Student
from edge_fiqa.types import IMAGE, PATCHES, VitConfig

FACES, TURNS = 64, 7
WAYS = {"formula": vit._two_products, "fused": F.scaled_dot_product_attention}


def main() -> None:
    options = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    result = new_result(__doc__)
    student = Student(VitConfig(width=128, heads=4), [512], [128], causes=16)
    result["rows"] = [measured(student, patches) for patches in (48, 72, PATCHES)]
    write_result(result, options.output)
    for row in result["rows"]:
        print(row)


def measured(student: Student, patches: int) -> dict:
    step, times = step_of(student, patches), {way: [] for way in WAYS}
    for turn in range(TURNS + 1):
        for way, attention in WAYS.items():
            vit._two_products = attention
            begin = time.perf_counter()
            step()
            if turn:  # the first of each warms up
                times[way].append(1e3 * (time.perf_counter() - begin))
    medians = {f"{way}_ms": round(statistics.median(ms), 1) for way, ms in times.items()}
    ratio = round(medians["fused_ms"] / medians["formula_ms"], 2)
    return {"patches": patches, "faces": FACES, **medians, "fused_over_formula": ratio}


def step_of(student: Student, patches: int) -> Callable[[], object]:
    kept = torch.randperm(PATCHES)[:patches]
    batch = Batch(
        torch.randn(FACES, 3, IMAGE, IMAGE),
        torch.randn(FACES),
        [torch.randn(FACES, 512)],
        [torch.randn(FACES, patches, 128)],
        kept,
        torch.rand(FACES, 16),
    )
    weights, parameters = torch.from_numpy(depth_weights(12)), list(student.parameters())

    def step() -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            seen = student(batch.images, batch.kept)
        terms = losses.weighted_terms(Schedule(causes=1), seen, batch, weights)
        loss = sum(terms.values(), torch.zeros(()))
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    return step


if __name__ == "__main__":
    main()
