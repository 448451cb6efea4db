"""Learn the constants of the check for aligned crops (edge_fiqa/faces/crop_check.npz).

    python calibration/crop_check.py DATA [--faces 260000] [--epochs 6] -o crop_check.npz

Aligned crops of the train split and of DATA/more, and the same crops moved, stretched or uncut
(crop_examples.py). One network says whether a crop is moved, whether it is stretched, and where its
face lies. The limits are quantiles over the aligned crops of persons that were held out: those of the
calibration split, and a tenth of the CelebA persons of DATA/more. Needs torch.
"""

import argparse
import csv
import tarfile
from collections.abc import Iterator
from pathlib import Path

import crop_examples
import cv2
import numpy as np
import torch
from torch import nn

from edge_fiqa.faces.crop_check import MIRRORED, SIDE, alignment_input, colour_input
from edge_fiqa.faces.images import decode, decode_bytes

MOVED_PASS, STRETCHED_PASS = 0.9975, 0.999
"""Shares of the aligned crops of each held-out set that must lie below the limit."""
TOLERATED = 1.15
"""Width over height, or the other way round, that is not blamed. Sets of pictures differ so much: of
ORL's faces 95 % are estimated at 0.91 to 1.23 times the usual width, of other sets' at 0.94 to 1.07."""
COLOUR_PASS = 0.9995  # share of crops in the right order above the limit
COLOUR_SET = 4000  # faces that the colour sum is fitted to
MAPS = (16, 32, 64)  # of the three convolutions
HIDDEN = 64
BATCH = 512
RATE = 4e-3  # the largest of a run
LAYERS = (("conv1", 0), ("conv2", 2), ("conv3", 4), ("full1", 7), ("full2", 9))
CELEBA = ("celeba10k", "celeba5", "celebasingle")
UPSIDE_DOWN = ("aflw",)  # some faces of these sets are no aligned crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--faces", type=int, default=260_000, help="examples")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--go-on", type=Path, metavar="FILE", help="from what was learnt before")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    crops, held_out = faces(options.data)
    inputs, labels = examples(list(crops), options.faces)
    network, rate = new_network(), RATE
    if options.go_on is not None:
        load(network, options.go_on)
        rate = RATE / 4
    network = learn(network, inputs, labels, options.epochs, rate)
    constants = constants_of(network) | {"limits": limits(network, held_out)}
    constants |= colours(options.data)
    np.savez_compressed(options.output, **constants)
    print(f"{options.output}: {options.output.stat().st_size} bytes")


def faces(data: Path) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
    """Grey crops to learn from, and those of held-out persons by their set."""
    train = list(rows_of(data / "splits/train.csv"))
    crops = [grey(data / row["path"]) for row in train if not is_held_out(row)]
    held_out: dict[str, list[np.ndarray]] = {}
    for row in rows_of(data / "splits/calibration.csv"):
        held_out.setdefault(row["dataset"], []).append(grey(data / row["path"]))
    known = {row["identity"] for row in train}
    for number, (row, crop) in enumerate(more(data)):
        if is_held_out(row):
            if row["identity"] not in known:
                held_out.setdefault(row["dataset"], []).append(crop)
        elif number % 2 == 0 and row["dataset"] not in UPSIDE_DOWN:
            crops.append(crop)
    return crops, held_out


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def grey(path: Path) -> np.ndarray:
    return crop_examples.grey(decode(path))


def is_held_out(row: dict[str, str]) -> bool:
    """Every tenth person of CelebA, whose numbers are the same in all of its sets."""
    number = row["identity"].removeprefix("id")
    return row["dataset"] in CELEBA and number.isdecimal() and int(number) % 10 == 0


def more(data: Path) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    rows = {(row["shard"], row["member"]): row for row in rows_of(data / "more/faces.csv")}
    for shard in sorted((data / "more").glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                opened, row = archive.extractfile(member), rows.get((shard.name, member.name))
                if opened is not None and row is not None:
                    yield row, crop_examples.grey(decode_bytes(opened.read(), member.name))


def examples(crops: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 40, 40) inputs as float16, and (N, 7) labels."""
    rng = np.random.default_rng(1)
    inputs = np.empty((count, SIDE, SIDE), np.float16)
    labels = np.empty((count, len(MIRRORED)), np.float32)
    for row in range(count):
        example = crop_examples.draw(crops, rng)
        inputs[row] = input_of(example.crop)
        labels[row] = example.labels
    return inputs, labels


def input_of(crop: np.ndarray) -> np.ndarray:
    return alignment_input(cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB))


def new_network() -> nn.Sequential:
    """The network that edge_fiqa/faces/crop_check.py runs."""
    first, second, third = MAPS
    return nn.Sequential(
        nn.Conv2d(1, first, 5, stride=2), nn.ReLU(),
        nn.Conv2d(first, second, 3, stride=2), nn.ReLU(),
        nn.Conv2d(second, third, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(third * 9, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(MIRRORED)),
    ).to(memory_format=torch.channels_last)  # fmt: skip


def learn(
    network: nn.Sequential, inputs: np.ndarray, labels: np.ndarray, epochs: int, rate: float
) -> nn.Sequential:
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    steps = epochs * (len(x) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    for step in range(steps):
        place = step % (len(x) // BATCH) * BATCH
        if place == 0:
            order = torch.randperm(len(x))
        rows = order[place : place + BATCH]
        values = x[rows].float()[:, None]
        loss = error(network(values + 0.1 * torch.randn_like(values)), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def error(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of both decisions and of the estimates; labels that are not known (NaN) count nowhere."""
    known, labels = ~labels.isnan(), labels.nan_to_num()
    classes = nn.functional.binary_cross_entropy_with_logits(
        answers[:, :2], labels[:, :2], reduction="none"
    )
    estimates = nn.functional.smooth_l1_loss(answers[:, 2:], labels[:, 2:], reduction="none")
    moved, stretched = (mean_of_known(classes[:, i], known[:, i]) for i in range(2))
    return moved + 0.5 * stretched + mean_of_known(estimates, known[:, 2:])


def mean_of_known(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return (values * known).sum() / known.sum().clamp(min=1)


def constants_of(network: nn.Sequential) -> dict[str, np.ndarray]:
    """Weights as numpy multiplies them: float16, inputs first, maps of a place side by side."""
    arrays = {}
    for name, place in LAYERS:
        weights = network[place].weight
        if name == "full1":
            weights = weights.reshape(HIDDEN, MAPS[2], 3, 3).permute(0, 2, 3, 1)
        arrays[name] = weights.reshape(len(weights), -1).T
        arrays[f"{name}_bias"] = network[place].bias
    return {name: values.detach().numpy().astype(np.float16) for name, values in arrays.items()}


def load(network: nn.Sequential, file: Path) -> None:
    """Undoes `constants_of`."""
    with np.load(file, allow_pickle=False) as arrays, torch.no_grad():
        for name, place in LAYERS:
            weights = torch.from_numpy(arrays[name].astype(np.float32).T.copy())
            if name == "full1":
                weights = weights.reshape(HIDDEN, 3, 3, MAPS[2]).permute(0, 3, 1, 2)
            network[place].weight.copy_(weights.reshape(network[place].weight.shape))
            network[place].bias.copy_(torch.from_numpy(arrays[f"{name}_bias"].astype(np.float32)))


def limits(network: nn.Sequential, held_out: dict[str, list[np.ndarray]]) -> np.ndarray:
    """(2,): of "moved" and of "stretched", so that no held-out set is blamed more often.

    All of them with black bands, as at the borders of tight pictures, count as one more set. Crops
    stretched by TOLERATED must not be called stretched.
    """
    sets = [
        [*held_out["celeba10k"], *held_out["celebasingle"]],
        held_out["celeba5"],
        held_out["lfw"],
    ]
    rng, whole = np.random.default_rng(2), [crop for crops in sets for crop in crops]
    sets.append([crop_examples.banded(crop, rng) for crop in whole])
    largest = []
    for crops in sets:
        moved = np.quantile(answers_to(network, crops)[:, 0], MOVED_PASS)
        ways = [
            [slightly_stretched(crop, way) for crop in crops] for way in (TOLERATED, 1 / TOLERATED)
        ]
        stretched = [np.quantile(answers_to(network, way)[:, 1], STRETCHED_PASS) for way in ways]
        largest.append([moved, max(stretched)])
        print(f"{len(crops)} aligned crops: limits {np.round(largest[-1], 2)}", flush=True)
    return np.max(largest, axis=0).astype(np.float32)


def slightly_stretched(crop: np.ndarray, stretch: float) -> np.ndarray:
    return crop_examples.move(crop, crop_examples.Place(stretch=stretch), cv2.BORDER_REPLICATE)


def answers_to(network: nn.Sequential, crops: list[np.ndarray]) -> np.ndarray:
    """(N, 2): "moved" and "stretched", means over the crop and its mirror image."""
    values = torch.from_numpy(np.stack([input_of(crop) for crop in crops]))[:, None]
    with torch.no_grad():
        return (network(values) + network(values.flip(3)))[:, :2].numpy() / 2


def colours(data: Path) -> dict[str, np.ndarray]:
    """The weights and the limit of the colour sum (Fisher's discriminant).

    Swapped channels change the sign of every colour input: the classes differ in their mean alone.
    """
    fitted, held_out = (
        np.stack([colour_input(decode(data / row["path"])) for row in list(rows_of(path))[:most]])
        for path, most in (
            (data / "splits/train.csv", COLOUR_SET),
            (data / "splits/calibration.csv", None),
        )
    )
    scatter = np.cov(fitted.T) + 1e-4 * np.eye(fitted.shape[1])
    weights = np.linalg.solve(scatter, fitted.mean(axis=0))
    sums = held_out @ weights
    usual = min(np.quantile(sums, 1 - COLOUR_PASS), -0.1 * sums.mean())  # grey faces give 0
    return {"colour": weights.astype(np.float32), "colour_limit": np.float32(-usual)}


if __name__ == "__main__":
    main()
