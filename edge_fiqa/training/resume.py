"""From which of its checkpoints a run goes on, and whether its recipe still allows that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from edge_fiqa.errors import CheckpointError
from edge_fiqa.training.checkpoint import read_checkpoint
from edge_fiqa.training.recipe import Schedule

LATEST, STABLE = "latest.pt", "stable.pt"  # the second one from before the rate falls


def state_to_resume(
    folder: Path, schedule: Schedule, device: torch.device
) -> dict[str, Any] | None:
    """What a checkpoint of the run holds; None where the run has none yet.

    A run that is made longer goes on from before its rate fell. Raises CheckpointError for one of
    another schedule.
    """
    path = folder / LATEST
    if not path.exists():
        return None
    state = read_checkpoint(path, device)
    before_the_fall = folder / STABLE
    if only_longer(schedule, state) and is_falling(state) and before_the_fall.exists():
        path = before_the_fall
        state = read_checkpoint(path, device)
    if not _is_of(schedule, state):
        raise CheckpointError(
            f"{path} is of another schedule; choose another output folder, "
            "or start a new run from it with `start:`"
        )
    return state


def only_longer(schedule: Schedule, state: dict[str, Any]) -> bool:
    """Whether a checkpoint's schedule differs only in when its level rate begins to fall."""
    own, other = msgspec.to_builtins(schedule), _schedule_of(state)
    ends = [(s.pop("steps"), s.pop("decay_steps", 0)) for s in (own, other)]
    return own == other and ends[0] != ends[1] and all(decay for _, decay in ends)


def is_falling(state: dict[str, Any]) -> bool:
    """Whether the rate of a checkpoint with a level rate has begun to fall."""
    schedule = state["schedule"]
    return bool(state["step"] > schedule["steps"] - schedule["decay_steps"])


def _is_of(schedule: Schedule, state: dict[str, Any]) -> bool:
    """Whether it went up to its step as this schedule says."""
    if _schedule_of(state) == msgspec.to_builtins(schedule):
        return True
    in_time = state["step"] <= schedule.decay_step
    return in_time and only_longer(schedule, state) and not is_falling(state)


def _schedule_of(state: dict[str, Any]) -> dict[str, Any]:
    """With the usual values of settings that an earlier version did not have."""
    return {**msgspec.to_builtins(Schedule()), **state["schedule"]}
