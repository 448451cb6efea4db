"""What the benchmark scripts share: their options, the faces of the data folder, the result file."""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np

from edge_fiqa.bench.environment import environment
from edge_fiqa.faces.images import decode
from edge_fiqa.model.weights import expected_shapes
from edge_fiqa.types import Array, Bytes, VitConfig

SHIPPED = Path(__file__).parents[1] / "edge_fiqa/models"
GREY = "orl"  # the data set without colour


def parser(description: str) -> argparse.ArgumentParser:
    """Options of a script, from the first line of its docstring; all have `--output`."""
    options = argparse.ArgumentParser(description=description.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, metavar="RESULT.json")
    return options


def add_data(options: argparse.ArgumentParser) -> None:
    options.add_argument("data", type=Path, help="folder with splits/, pairs/, models/ and faces")


def add_named(options: argparse.ArgumentParser, flag: str) -> None:
    """`--flag NAME=PATH`, as often as wanted; read it with `dict`."""
    options.add_argument(flag, action="append", type=named, metavar="NAME=PATH", required=True)


def named(text: str) -> tuple[str, str]:
    """`mine=runs/bundle` -> ("mine", "runs/bundle")."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, path


def read_split(data: Path, split: str, *, grey: bool = True) -> list[dict[str, str]]:
    """Rows (dataset, identity, path) of `splits/SPLIT.csv`; grey: with the faces without colour."""
    with (data / f"splits/{split}.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if grey or row["dataset"] != GREY]


def read_faces(data: Path, paths: list[str]) -> Bytes:
    """(N, 112, 112, 3) uint8 RGB of files below `data`."""
    return np.stack([decode(data / path) for path in paths])


def noise_weights(config: VitConfig) -> dict[str, Array]:
    """Weights of a network filled with seeded noise: speed does not depend on them."""
    rng, arrays = np.random.default_rng(0), {}
    for key, shape in expected_shapes(config).items():
        if "running_var" in key or len(shape) == 1:
            values = rng.random(shape) + 0.5
        else:
            values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        arrays[key] = values.astype(np.float32)
    return arrays


def new_result(what: str) -> dict:
    """The beginning of a result: its question, and the machine before it is measured."""
    return {"what": what.splitlines()[0], "environment": environment()}


def put_between(name: str, text: str, file: Path) -> None:
    """Replaces what stands between the marks `<!-- name -->` and `<!-- /name -->`, or exits."""
    whole, begin, end = file.read_text(encoding="utf-8"), f"<!-- {name} -->", f"<!-- /{name} -->"
    if not 0 <= whole.find(begin) < whole.find(end):
        sys.exit(f"{file}: no {begin} ... {end} to put the text between")
    before, after = whole[: whole.index(begin)], whole[whole.index(end) :]
    file.write_text(f"{before}{begin}\n{text}\n{after}", encoding="utf-8")


def write_result(result: dict, output: Path | None) -> None:
    """As JSON into the file, where one is wanted."""
    if output is not None:
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
