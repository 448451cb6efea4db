"""The only code that knows Ray: it starts or joins a cluster and has Ray Data hand shards to workers.

Ray Data keeps a pool of actors and gives a dead one's shards to another. The rows that it moves are
names of shards and counts, a few hundred bytes each, never pictures.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_fiqa.distributed.cluster_checks import (
    check_address,
    check_room,
    why_ray_gave_up,
    workers_with_room,
)
from edge_fiqa.distributed.plan import shard_rows
from edge_fiqa.distributed.setup import WorkerSetup
from edge_fiqa.distributed.shard_pictures import ParquetColumns
from edge_fiqa.distributed.shard_scorer import ShardDone, ShardScorer
from edge_fiqa.distributed.shards import Shard
from edge_fiqa.errors import BackendMissing, ConfigError, EdgeFiqaError, one_line
from edge_fiqa.scoring.run_settings import RunSettings

STORE_BYTES = 128 << 20
"""Of Ray's object store on this machine: it holds rows about shards only."""
MOST_BLOCKS = 2000
"""Into which the shards are divided; what a worker is given at a time."""


@dataclass(frozen=True, kw_only=True)
class RayRun:
    """address: of a cluster; None starts Ray on this machine and ends it. workers: at most.

    cpus, gpus: of each worker.
    """

    address: str | None
    workers: int
    cpus: float = 1
    gpus: float = 0


class _RayWorker:
    """Around a ShardScorer: what it raises on the way is a value, so that Ray does not try it again."""

    def __init__(
        self, setup: WorkerSetup, output: str, per_file: int, columns: ParquetColumns
    ) -> None:
        self.scorer: ShardScorer | str
        try:
            self.scorer = ShardScorer(setup.open(), output, per_file, columns)
        except EdgeFiqaError as exc:
            self.scorer = str(exc)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"done": [self._done(bytes(data)) for data in batch["shard"]]}

    def _done(self, data: bytes) -> bytes:
        shard = msgspec.json.decode(data, type=Shard)
        if isinstance(self.scorer, str):
            return msgspec.json.encode(ShardDone(name=shard.name, error=self.scorer))
        return msgspec.json.encode(self.scorer.score(shard))


@contextmanager
def connected(run: RayRun) -> Iterator[None]:
    """Start or join Ray, and leave it. Raises BackendMissing and ConfigError."""
    ray = _ray()
    if run.address is not None:
        check_address(run.address)
    try:
        with _own_sigterm(), _environment(), _no_stderr():
            ray.init(**_how(run))
    except (ConnectionError, ValueError, RuntimeError, OSError, TimeoutError) as exc:
        raise ConfigError(f"Ray does not start: {one_line(exc)[:300]}") from exc
    except (SystemExit, KeyboardInterrupt):  # also of what has started by then nothing runs on
        ray.shutdown()
        raise
    try:
        check_room(ray.nodes(), run.cpus, run.gpus, this_machine=run.address is None)
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own there, which exits with the signal's number: then call ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stop:
        signal.signal(signal.SIGTERM, before)
        if stop.code == signal.SIGTERM and callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def cluster_workers(run: RayRun) -> int:
    """How many workers have room at once, at least 1."""
    return workers_with_room(_ray().nodes(), run.cpus, run.gpus)


def settings_on(run: RayRun, setup: WorkerSetup) -> RunSettings:
    """The settings as a worker sees them. Raises what it raises."""
    ray = _ray()
    task = ray.remote(_settings).options(num_cpus=run.cpus, num_gpus=run.gpus, max_retries=2)
    try:
        settings: RunSettings | EdgeFiqaError = ray.get(task.remote(setup))
    except ray.exceptions.RayError as exc:
        raise why_ray_gave_up(exc) from exc
    if isinstance(settings, EdgeFiqaError):
        raise settings
    return settings


def _settings(setup: WorkerSetup) -> RunSettings | EdgeFiqaError:
    try:
        return setup.settings()
    except EdgeFiqaError as exc:
        return ConfigError(str(exc))


def score_shards(
    run: RayRun,
    setup: WorkerSetup,
    shards: Sequence[Shard],
    output: str,
    per_file: int,
    columns: ParquetColumns,
) -> Iterator[ShardDone]:
    """What workers say of each shard, as they end. Raises ConfigError where the run cannot go on."""
    ray = _ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # of shards; ours counts faces
    blocks = min(len(shards), MOST_BLOCKS)
    rows = ray.data.from_items(shard_rows(shards), override_num_blocks=blocks)
    pool = ray.data.ActorPoolStrategy(
        min_size=1, max_size=run.workers, initial_size=min(run.workers, blocks)
    )
    done = rows.map_batches(
        _RayWorker,
        fn_constructor_args=(setup, output, per_file, columns),
        batch_size=1,
        compute=pool,
        num_cpus=run.cpus,
        num_gpus=run.gpus,
    )
    try:
        for row in done.iter_rows():
            shard = msgspec.json.decode(bytes(row["done"]), type=ShardDone)
            if shard.error is not None:
                raise ConfigError(shard.error)
            yield shard
    except ray.exceptions.RayError as exc:
        raise why_ray_gave_up(exc) from exc


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as exc:
        raise BackendMissing(f"--on ray: {exc}; run pip install 'edge-fiqa[ray]'") from exc
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def _how(run: RayRun) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if run.address is not None:
        return {"address": run.address, **quiet}
    return {
        "address": "local",
        "num_cpus": math.ceil(run.workers * run.cpus),
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        **quiet,
    }


@contextmanager
def _environment() -> Iterator[None]:
    """What Ray's processes on this machine inherit: the edge_fiqa of this process goes first."""
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"  # of its core; what matters is raised
    root, before = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")
    paths = [path for path in (before or "").split(os.pathsep) if path and path != root]
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *paths])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Ray's core says there that its log level was set; what goes wrong is raised."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123, no path
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
