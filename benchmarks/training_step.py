"""How long does a training step of small take on one thread, with attention as its formula and fused?

    python benchmarks/training_step.py [-o RESULT.json] [--turns N]

Fused is torch's `scaled_dot_product_attention`. Both ways run in turn in one process: 64 faces,
forward and backward, with a third, a half and all of the patches, in the number type that
`edge-fiqa train` takes on this processor; and the formula in the other type.
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
from edge_fiqa.training.number_type import number_type
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.training.student import Student
from edge_fiqa.types import IMAGE, PATCHES, VitConfig

FACES = 64
FORMULA, FUSED = vit._two_products, F.scaled_dot_product_attention
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--turns", type=int, default=7, help="of which the medians are taken (7)"
    )
    options = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    taken = number_type(torch.device("cpu"))
    result = new_result(__doc__) | {"number type": NAMES[taken]}
    student = Student(VitConfig(width=128, heads=4), [512], [128], causes=16)
    result["rows"] = [
        measured(student, patches, taken, options.turns) for patches in (48, 72, PATCHES)
    ]
    write_result(result, options.output)
    for row in result["rows"]:
        print(row)


def measured(student: Student, patches: int, taken: torch.dtype, turns: int) -> dict:
    (other,) = NAMES.keys() - {taken}
    ways = {
        "formula": (FORMULA, taken),
        "fused": (FUSED, taken),
        f"formula in {NAMES[other]}": (FORMULA, other),
    }
    step, times = step_of(student, patches), {way: [] for way in ways}
    for turn in range(turns + 1):
        for way, (attention, dtype) in ways.items():
            vit._two_products = attention
            begin = time.perf_counter()
            step(dtype)
            if turn:  # the first of each warms up
                times[way].append(1e3 * (time.perf_counter() - begin))
    medians = {way: statistics.median(ms) for way, ms in times.items()}
    row = {"patches": patches, "faces": FACES}
    row |= {f"{way}_ms": round(ms, 1) for way, ms in medians.items()}
    others = list(medians)[1:]
    return row | {
        f"{way}_over_formula": round(medians[way] / medians["formula"], 2) for way in others
    }


def step_of(student: Student, patches: int) -> Callable[[torch.dtype], object]:
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

    def step(dtype: torch.dtype) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", torch.bfloat16, dtype == torch.bfloat16, cache_enabled=False):
            seen = student(batch.images, batch.kept)
        terms = losses.weighted_terms(Schedule(causes=1), seen, batch, weights)
        loss = sum(terms.values(), torch.zeros(()))
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    return step


if __name__ == "__main__":
    main()
