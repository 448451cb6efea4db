"""Learn the constants of the check for aligned crops (edge_fiqa/faces/crop_check.npz).

    python calibration/crop_check.py DATA [--more] [--faces 120000] [--epochs 5] -o crop_check.npz

Aligned crops of the train split (and of DATA/more) are one class, half of them degraded; the same
crops shifted, scaled, turned or pasted small over something else are the other. Moves too small to
matter lie between and are shown to neither. The limit is the 99.6 % quantile over the aligned crops
of the calibration split, each degraded four times. Needs torch.
"""

import argparse
import csv
import tarfile
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from edge_fiqa.faces.crop_check import SIDE, alignment_input, colour_input
from edge_fiqa.faces.images import decode, decode_bytes
from edge_fiqa.types import IMAGE

BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
CENTRE = (IMAGE - 1) / 2
ALIGNED_PASS = 0.996  # share of aligned and then degraded crops below the limit
COLOUR_PASS = 0.9995  # share of crops in the right order above the limit
COLOUR_SET = 4000  # faces that the colour sum is fitted to
MAPS = (12, 24)  # of the two convolutions
HIDDEN = 32
DENSE = (48, 16)  # of the network without convolutions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--more", action="store_true", help="with the faces of DATA/more")
    parser.add_argument("--faces", type=int, default=120_000, help="drawn for each class")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    crops = split(options.data, "train")
    if options.more:
        crops += more(options.data)
    inputs, labels = examples(crops, options.faces)
    networks = [learn(network, inputs, labels, options.epochs) for network in both_networks()]
    held_out = split(options.data, "calibration")
    constants = constants_of(*networks) | limits(networks, crops[:COLOUR_SET], held_out)
    np.savez_compressed(options.output, **constants)
    print(f"{options.output}: {options.output.stat().st_size} bytes")


def split(data: Path, name: str) -> list[np.ndarray]:
    with (data / f"splits/{name}.csv").open(newline="", encoding="utf-8") as file:
        return [decode(data / row["path"]) for row in csv.DictReader(file)]


def more(data: Path) -> list[np.ndarray]:
    """Every second face of the additional training faces."""
    faces = []
    for shard in sorted((data / "more").glob("*.tar")):
        with tarfile.open(shard) as archive:
            for number, member in enumerate(archive):
                opened = archive.extractfile(member)
                if opened is not None and number % 2 == 0:
                    faces.append(decode_bytes(opened.read(), member.name))
    return faces


def examples(crops: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """(2 count, 28, 28) inputs as float16, and 0 for aligned, 1 for misaligned."""
    rng = np.random.default_rng(1)
    inputs = np.empty((2 * count, SIDE, SIDE), np.float16)
    for row in range(count):
        for place, change in ((row, aligned), (row + count, misaligned)):
            face = crops[rng.integers(len(crops))]
            changed = change(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), crops, rng)
            inputs[place] = alignment_input(cv2.cvtColor(changed, cv2.COLOR_GRAY2RGB))
    return inputs, np.repeat([0.0, 1.0], count).astype(np.float32)


def aligned(face: np.ndarray, _: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """As another detector would align it: about a pixel off; half of them degraded."""
    if rng.random() < 0.5:
        face = face[:, ::-1]
    if rng.random() < 0.6:
        shift, zoom, angle = rng.normal(0, 0.7, 2), 1 + rng.normal(0, 0.012), rng.normal()
        face = move(face, shift, zoom, angle, cv2.BORDER_REPLICATE)
    for _number in range(rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15])):
        face = degrade(face, rng)
    return face


def misaligned(face: np.ndarray, others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Shifted, scaled, turned, small over another picture, or several of these."""
    if rng.random() < 0.5:
        face = face[:, ::-1]
    kind, border, fill = rng.random(), BORDERS[rng.integers(3)], int(rng.choice([0, 0, 127, 255]))
    zoom, angle = 1 + rng.normal(0, 0.03), rng.normal(0, 2)
    if kind < 0.3:
        distance = rng.uniform(6.5, 12) if rng.random() < 0.7 else rng.uniform(12, 45)
        direction = rng.uniform(0, 2 * np.pi)
        if rng.random() < 0.5:
            direction = rng.integers(8) * np.pi / 4
        shift = distance * np.array([np.cos(direction), np.sin(direction)])
        face = move(face, shift, zoom, angle, border, fill)
    elif kind < 0.55:
        zoom = rng.uniform(1.18, 1.35) if rng.random() < 0.75 else rng.uniform(1.35, 2)
        zoom = 1 / zoom if rng.random() < 0.55 else zoom
        face = move(face, rng.normal(0, 1.5, 2), zoom, angle, border, fill)
    elif kind < 0.7:
        angle = rng.uniform(16, 30) if rng.random() < 0.7 else rng.uniform(30, 180)
        angle *= rng.choice([-1, 1])
        face = move(face, rng.normal(0, 1.5, 2), zoom, angle, border, fill)
    elif kind < 0.9:
        face = uncut(face, others, rng)
    else:
        zoom = np.exp(rng.normal(0, 0.25)) * rng.choice([0.8, 1.22])
        face = move(face, rng.normal(0, 8, 2), zoom, rng.normal(0, 12), border, fill)
    return degrade(face, rng) if rng.random() < 0.25 else face


def move(face, shift, zoom, angle, border, fill=0):
    """(112, 112) enlarged and turned (degrees) around its centre, then shifted by (x, y) pixels."""
    matrix = cv2.getRotationMatrix2D((CENTRE, CENTRE), angle, zoom)
    matrix[:, 2] += shift
    if zoom < 0.7:  # no aliasing
        face = cv2.GaussianBlur(face, (0, 0), 0.5 / zoom)
    size = (IMAGE, IMAGE)
    return cv2.warpAffine(face, matrix, size, borderMode=border, borderValue=fill)


def uncut(face: np.ndarray, others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The face at 15 to 75 % of its size, over a blurred picture, a plain one, a slope or spots."""
    zoom, angle = rng.uniform(0.15, 0.75), rng.normal(0, 8)
    free = (1 - zoom) * IMAGE / 2
    shift = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, 0.5)]) * free
    mask = np.zeros((IMAGE, IMAGE), np.float32)
    cv2.ellipse(mask, (IMAGE // 2, IMAGE // 2), (46, 62), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 5)
    moved = move(face, shift, zoom, angle, cv2.BORDER_REPLICATE)
    weight = move(mask, shift, zoom, angle, cv2.BORDER_CONSTANT)
    return (moved * weight + backdrop(others, rng) * (1 - weight)).astype(np.uint8)


def backdrop(others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    kind = rng.integers(4)
    if kind == 0:
        other = cv2.cvtColor(others[rng.integers(len(others))], cv2.COLOR_RGB2GRAY)
        top, left = rng.integers(0, 188, 2)
        part = cv2.resize(other, (300, 300))[top : top + IMAGE, left : left + IMAGE]
        return cv2.GaussianBlur(part, (0, 0), rng.uniform(1, 12))
    if kind == 1:
        return np.full((IMAGE, IMAGE), rng.integers(256), np.uint8)
    if kind == 2:
        return np.clip(rng.uniform(0, 255) + 90 * slope(rng), 0, 255)
    spots = rng.integers(0, 256, (rng.integers(2, 12),) * 2).astype(np.uint8)
    return cv2.resize(spots, (IMAGE, IMAGE), interpolation=cv2.INTER_CUBIC)


def slope(rng: np.random.Generator) -> np.ndarray:
    """(112, 112) from about -1 to 1 in a random direction."""
    line = np.linspace(-1, 1, IMAGE)
    return line[None] * rng.uniform(-1, 1) + line[:, None] * rng.uniform(-1, 1)


def degrade(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of: blur, low resolution, exposure, haze, noise, a block, side light, motion, a border."""
    kind = rng.integers(9)
    if kind == 0:
        return cv2.GaussianBlur(face, (0, 0), rng.uniform(0.8, 5))
    if kind == 1:
        size = (int(rng.uniform(12, 60)),) * 2
        small = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (IMAGE, IMAGE))
    if kind == 2:
        return clipped(face * 2.0 ** rng.uniform(-3.5, 2.5))
    if kind == 3:
        contrast, level = rng.uniform(0.05, 0.8), rng.uniform(20, 235)
        return clipped(face * contrast + level * (1 - contrast))
    if kind == 4:
        return clipped(face + rng.normal(0, rng.uniform(5, 60), face.shape))
    if kind == 5:
        return blocked(face, rng)
    if kind == 6:
        return clipped(face * 2.0 ** (2 * slope(rng)))
    if kind == 7:
        return smeared(face, rng)
    return bordered(face, rng)


def clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def blocked(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A plain block: over chin, eyes, forehead, or anywhere."""
    face, kind, value = face.copy(), rng.integers(4), rng.integers(256)
    if kind == 0:
        face[IMAGE - int(rng.uniform(10, 64)) :] = value
    elif kind == 1:
        half = int(rng.uniform(3, 18))
        face[52 - half : 52 + half, 16:96] = value
    elif kind == 2:
        face[: int(rng.uniform(10, 40))] = value
    else:
        side = int(rng.uniform(20, 75))
        top, left = rng.integers(0, IMAGE - side, 2)
        face[top : top + side, left : left + side] = value
    return face


def smeared(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Motion blur of 3 to 25 pixels at a random angle."""
    length = int(rng.uniform(3, 25))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    centre = (length / 2 - 0.5,) * 2
    turned = cv2.getRotationMatrix2D(centre, rng.uniform(0, 180), 1)
    kernel = cv2.warpAffine(kernel, turned, (length, length))
    kernel /= max(float(kernel.sum()), 1e-3)
    return cv2.filter2D(face, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def bordered(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black on one side, as at the edge of a picture."""
    turns, width = int(rng.integers(4)), int(rng.uniform(1, 26))
    turned = np.rot90(face, turns).copy()
    turned[:width] = 0
    return np.ascontiguousarray(np.rot90(turned, -turns))


def both_networks() -> tuple[nn.Sequential, nn.Sequential]:
    """The networks that edge_fiqa/faces/crop_check.py runs."""
    convolutional = nn.Sequential(
        nn.Conv2d(1, MAPS[0], 5, stride=2), nn.ReLU(),
        nn.Conv2d(MAPS[0], MAPS[1], 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(MAPS[1] * 25, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1),
    )  # fmt: skip
    fully_connected = nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE * SIDE, DENSE[0]), nn.ReLU(),
        nn.Linear(DENSE[0], DENSE[1]), nn.ReLU(), nn.Linear(DENSE[1], 1),
    )  # fmt: skip
    return convolutional, fully_connected


def learn(
    network: nn.Sequential, inputs: np.ndarray, labels: np.ndarray, epochs: int, batch: int = 512
) -> nn.Sequential:
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    for step in range(steps):
        place = step % (len(x) // batch) * batch
        if place == 0:
            order = torch.randperm(len(x))
        rows = order[place : place + batch]
        values = x[rows].float()[:, None]
        values = values + 0.1 * torch.randn_like(values)
        logits = network(values).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def constants_of(
    convolutional: nn.Sequential, fully_connected: nn.Sequential
) -> dict[str, np.ndarray]:
    """Weights as numpy multiplies them: float16, inputs first, maps of a place side by side."""
    first, second, full1, full2 = (convolutional[place] for place in (0, 2, 5, 7))
    order = full1.weight.reshape(HIDDEN, MAPS[1], 5, 5).permute(2, 3, 1, 0)
    arrays = {
        "conv1": first.weight.reshape(MAPS[0], -1).T,
        "conv1_bias": first.bias,
        "conv2": second.weight.reshape(MAPS[1], -1).T,
        "conv2_bias": second.bias,
        "full1": order.reshape(-1, HIDDEN),
        "full1_bias": full1.bias,
        "full2": full2.weight[0],
        "full2_bias": full2.bias[0],
    }
    for name, place in (("dense1", 1), ("dense2", 3), ("dense3", 5)):
        layer = fully_connected[place]
        arrays[name] = layer.weight.T if place < 5 else layer.weight[0]
        arrays[f"{name}_bias"] = layer.bias if place < 5 else layer.bias[0]
    return {name: values.detach().numpy().astype(np.float16) for name, values in arrays.items()}


def limits(
    networks: list[nn.Sequential], crops: list[np.ndarray], held_out: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """The alignment's limit, and the weights and limit of the colour sum (Fisher's discriminant).

    Swapped channels change the sign of every colour input: the classes differ in their mean alone.
    """
    rng = np.random.default_rng(5)
    grey = [degrade(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), rng) for face in held_out * 4]
    values = np.stack([alignment_input(cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)) for face in grey])
    mirrored = np.ascontiguousarray(values[..., ::-1])
    with torch.no_grad():
        answers = [
            network(torch.from_numpy(inputs)[:, None]).squeeze(1).numpy()
            for network in networks
            for inputs in (values, mirrored)
        ]
    colours = np.stack([colour_input(face) for face in crops])
    scatter = np.cov(colours.T) + 1e-4 * np.eye(colours.shape[1])
    weights = np.linalg.solve(scatter, colours.mean(axis=0))
    sums = np.stack([colour_input(face) for face in held_out]) @ weights
    usual = min(np.quantile(sums, 1 - COLOUR_PASS), -0.1 * sums.mean())  # grey faces give 0
    return {
        "limit": np.float32(np.quantile(np.mean(answers, axis=0), ALIGNED_PASS)),
        "colour": weights.astype(np.float32),
        "colour_limit": np.float32(-usual),
    }


if __name__ == "__main__":
    main()
