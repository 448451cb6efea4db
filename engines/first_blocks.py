"""The first blocks of a network as a network of its own, where measurements say that more do not help.

    python engines/first_blocks.py MODEL.safetensors BLOCKS OUT.safetensors

Its exits give the scores that they gave before: norm and quality head are shared by all exits. Heads
that read causes of low quality come with their blocks, and so does how often each exit was right.
"""

import argparse
import json
import re
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save

from edge_fiqa.errors import CheckpointError
from edge_fiqa.files import write_whole
from edge_fiqa.model.cause_heads import RIGHT
from edge_fiqa.model.weights import load_weights

OF_A_BLOCK = re.compile(r"(?:blocks|causes)\.(\d+)\.")


def first_blocks(model: Path, blocks: int) -> bytes:
    """The file of the shorter network. Raises CheckpointError where `model` is none, ValueError where
    it does not have so many blocks or is another kind of file."""
    if model.suffix != ".safetensors":
        raise ValueError(f"{model}: only a .safetensors file is cut, as edge-fiqa train writes it")
    depth = load_weights(model).config.depth
    if not 1 <= blocks <= depth:
        raise ValueError(
            f"{model} has {depth} blocks: 1 to {depth} of them can be kept, not {blocks}"
        )
    with safe_open(model, framework="np") as file:
        stated = dict(file.metadata() or {})
        names = {name: name.removeprefix("module.") for name in file.keys()}  # noqa: SIM118
        kept = {
            named: file.get_tensor(name)
            for name, named in names.items()
            if (found := OF_A_BLOCK.match(named)) is None or int(found[1]) < blocks
        }
    if RIGHT in stated:
        stated[RIGHT] = json.dumps(json.loads(stated[RIGHT])[:blocks])
    return save(kept, metadata=stated)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("blocks", type=int)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    try:
        content = first_blocks(options.model, options.blocks)
    except (CheckpointError, ValueError) as exc:
        raise SystemExit(f"first_blocks.py: {exc}") from exc
    write_whole(options.out, content)
    print(f"{options.out}: {options.blocks} blocks")


if __name__ == "__main__":
    main()
