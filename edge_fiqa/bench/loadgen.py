"""The four scenarios of MLPerf LoadGen over any bundle and policy.

LoadGen draws the samples, times the answers and judges the run; its own summary is kept. Equal-issue
mode: every face of the library is asked for equally often, because our cost depends on the face.

    singlestream  one face after another               latency at the 90th percentile
    multistream   eight faces at once, after another   latency at the 99th percentile
    server        faces arrive at random (Poisson)     arrivals/s that are answered in time
    offline       all faces at once                    faces/s
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Struct

from edge_fiqa.bench.environment import environment
from edge_fiqa.errors import BackendMissing, ConfigError, EngineFailed
from edge_fiqa.policies.policy import Policy
from edge_fiqa.scoring.scorer import Scorer
from edge_fiqa.types import Bytes, FaceSet

SCHEMA: Final = "edge-fiqa-loadgen/1"
Scenario = Literal["singlestream", "multistream", "server", "offline"]
SCENARIOS: dict[Scenario, str] = {
    "singlestream": "SingleStream",
    "multistream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
}
TOGETHER = 8  # faces in a batch at most, and in a query of multistream


@dataclass(frozen=True)
class Load:
    """seconds, queries: at least so long and so many. qps: arrivals/s (server), expected (offline).

    latency_ms: limit of the server scenario, at the 99th percentile.
    """

    scenario: Scenario
    seconds: float = 5.0
    queries: int = 662
    qps: float | None = None
    latency_ms: float = 20.0


QUICK_QUERIES: dict[Scenario, int] = {
    "singlestream": 64,
    "multistream": 662,
    "server": 662,
    "offline": 1,
}
"""The fewest queries with which LoadGen resolves the scenario's percentile."""
QUICK_S, FULL_S = 5.0, 600.0
FULL_QUERIES: dict[Scenario, int] = {
    "singlestream": 1024,
    "multistream": 662,
    "server": 270_336,
    "offline": 24_576,
}
"""What the rules of MLPerf Inference ask for."""


class ScenarioResult(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """metrics: LoadGen's result_* entries. mean_depth: blocks run, over all faces answered."""

    schema: Literal["edge-fiqa-loadgen/1"] = SCHEMA
    scenario: str
    bundle: str
    fingerprint: str
    backend: str
    device: str
    precision: str
    engines: int
    threads: int
    policies: tuple[str, ...]
    faces: str
    library: int
    answered: int
    mean_depth: float
    qps: float | None
    valid: bool
    metrics: dict[str, Any]
    summary: str
    environment: dict[str, Any]


def run_scenario(
    scorers: Sequence[Scorer],
    policies: Sequence[Policy],
    faces: FaceSet,
    load: Load,
    logs: Path,
) -> ScenarioResult:
    """Run one scenario with warm scorers, one thread each; LoadGen's logs go to the folder `logs`.

    Raises BackendMissing without mlperf_loadgen, ConfigError for a load that cannot be.
    """
    lg = _import_loadgen()
    if not len(faces.crops):
        raise ConfigError("a scenario needs at least one face")
    if load.scenario == "server" and not (load.qps and load.qps > 0):
        raise ConfigError("the server scenario needs a positive rate of arrivals: --qps")
    machine = environment()
    logs.mkdir(parents=True, exist_ok=True)
    for scorer in scorers:
        scorer.prepare(policies, 1)
        scorer.prepare(policies, TOGETHER)
    system = _SystemUnderTest(lg, scorers, policies, faces.crops, load.scenario)
    _run_loadgen(lg, system, len(faces.crops), load, logs)
    metrics = _metrics(logs / "mlperf_log_detail.txt")
    first = scorers[0]
    manifest = first.bundle.manifest
    return ScenarioResult(
        scenario=load.scenario,
        bundle=manifest.name,
        fingerprint=manifest.fingerprint,
        backend=first.engine.backend,
        device=first.engine.device.strip(),
        precision=manifest.precision,
        engines=len(scorers),
        threads=first.engine.threads,
        policies=tuple(map(str, policies)),
        faces=faces.described,
        library=len(faces.crops),
        answered=system.answered,
        mean_depth=round(system.blocks / max(system.answered, 1), 3),
        qps=load.qps,
        valid=metrics.get("result_validity") == "VALID",
        metrics=metrics,
        summary=(logs / "mlperf_log_summary.txt").read_text(encoding="utf-8"),
        environment=machine,
    )


def _import_loadgen() -> Any:
    try:
        import mlperf_loadgen
    except ImportError as exc:
        raise BackendMissing(
            "scenarios need mlperf_loadgen; pip install 'edge-fiqa[bench]'"
        ) from exc
    return mlperf_loadgen


def _run_loadgen(lg: Any, system: _SystemUnderTest, faces: int, load: Load, logs: Path) -> None:
    """Returns when LoadGen has written its logs. faces: in the library."""
    sut = lg.ConstructSUT(system.issue, lambda: None)
    library = lg.ConstructQSL(faces, faces, lambda rows: None, lambda rows: None)
    log = lg.LogSettings()
    log.log_output.outdir = str(logs)
    log.log_output.copy_summary_to_stdout = False
    log.enable_trace = False
    try:
        lg.StartTestWithLogSettings(sut, library, _settings(lg, load), log)
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(sut)
        system.close()


class _SystemUnderTest:
    """Scores the faces that LoadGen asks for.

    In the scenarios server and offline by a worker a scorer, else on LoadGen's own thread.
    """

    def __init__(
        self,
        lg: Any,
        scorers: Sequence[Scorer],
        policies: Sequence[Policy],
        faces: Bytes,
        scenario: Scenario,
    ) -> None:
        self._lg, self._policies, self._faces = lg, policies, faces
        self._first = scorers[0]
        self._lock, self.answered, self.blocks = threading.Lock(), 0, 0
        self._failure: Exception | None = None
        self._waiting: SimpleQueue[Any] = SimpleQueue()
        self._workers = [
            threading.Thread(target=self._work, args=(scorer,), daemon=True)
            for scorer in scorers
            if scenario in ("server", "offline")
        ]
        for worker in self._workers:
            worker.start()

    def issue(self, samples: Sequence[Any]) -> None:
        """LoadGen's call, on its thread. samples: with .id and .index."""
        if not self._workers:
            self._answer(self._first, samples)
            return
        for sample in samples:
            self._waiting.put(sample)

    def close(self) -> None:
        self._waiting.put(None)
        for worker in self._workers:
            worker.join()
        if self._failure is not None:
            raise EngineFailed(f"scoring failed under load: {self._failure}") from self._failure

    def _work(self, scorer: Scorer) -> None:
        while samples := self._take():
            self._answer(scorer, samples)

    def _take(self) -> list[Any]:
        """Waiting samples, at most a batch; no face waits for later ones. Empty at the end."""
        samples = [self._waiting.get()]
        with suppress(Empty):
            while len(samples) < TOGETHER and samples[-1] is not None:
                samples.append(self._waiting.get_nowait())
        if samples[-1] is None:
            self._waiting.put(samples.pop())  # the end, for the other workers
        return samples

    def _answer(self, scorer: Scorer, samples: Sequence[Any]) -> None:
        """Every sample is reported, even after a failure: LoadGen waits for all of them."""
        blocks = 0
        try:
            if self._failure is None:
                crops = self._faces[[sample.index for sample in samples]]
                blocks = int(scorer.assess(crops, self._policies).depth.sum())
        except Exception as exc:  # passed on by close(), on the caller's thread
            self._failure = exc
        self._lg.QuerySamplesComplete(
            [self._lg.QuerySampleResponse(sample.id, 0, 0) for sample in samples]
        )
        with self._lock:
            self.answered += len(samples)
            self.blocks += blocks


def _settings(lg: Any, load: Load) -> Any:
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, SCENARIOS[load.scenario])
    settings.mode = lg.TestMode.PerformanceOnly
    settings.sample_concatenate_permutation = True  # equal issue
    settings.min_duration_ms = int(1e3 * load.seconds)
    settings.min_query_count = load.queries
    settings.multi_stream_samples_per_query = TOGETHER
    settings.server_target_latency_ns = int(1e6 * load.latency_ms)
    settings.server_target_latency_percentile = 0.99
    if load.qps is not None:
        settings.server_target_qps = load.qps
        settings.offline_expected_qps = load.qps
    return settings


def closed_loop_rate(scorer: Scorer, policies: Sequence[Policy], faces: Bytes) -> float:
    """Faces/s of one scorer alone on batches of eight: an estimate of the highest load."""
    batch = faces[np.arange(TOGETHER) % len(faces)]
    scorer.prepare(policies, TOGETHER)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < 0.5:
        scorer.assess(batch, policies)
        calls += 1
    return calls * TOGETHER / (time.perf_counter() - start)


def _metrics(detail: Path) -> dict[str, Any]:
    """The result_* entries of LoadGen's detailed log."""
    metrics = {}
    for line in detail.read_text(encoding="utf-8").splitlines():
        _, marked, text = line.partition(":::MLLOG ")
        if marked:
            entry = msgspec.json.decode(text)
            if entry["key"].startswith("result_"):
                metrics[entry["key"]] = entry["value"]
    return metrics
