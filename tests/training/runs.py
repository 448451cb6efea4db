"""What a tiny run is made of, and what is in its checkpoint."""

import msgspec
import torch

from edge_fiqa.training.checkpoint import read_checkpoint
from edge_fiqa.training.recipe import Schedule
from edge_fiqa.types import VitConfig

CONFIG = VitConfig(width=16, depth=2, heads=2)
SCHEDULE = Schedule(steps=6, batch=8, held_out=0.2, validate_every=3)
LATE_FALL = msgspec.structs.replace(SCHEDULE, decay_steps=2, kept_patches=20)


def kept_in(folder, name="latest.pt"):
    """Name -> value of everything in a checkpoint of a run."""
    return dict(flat(read_checkpoint(folder / name, torch.device("cpu"))))


def flat(value, name=""):
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flat(item, f"{name}.{key}")
    else:
        yield name, value


def assert_same(found, expected):
    """Bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        same = torch.equal(found[name], value) if torch.is_tensor(value) else found[name] == value
        assert same, name
