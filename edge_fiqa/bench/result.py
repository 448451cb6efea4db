"""The result of a benchmark run: one JSON document, edge-fiqa-bench/1."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from edge_fiqa.errors import ConfigError

SCHEMA: Final = "edge-fiqa-bench/1"
Way = Literal["one", "steps"]


class Peak(Struct, frozen=True, forbid_unknown_fields=True):
    """The fastest matrix product of a library, timed in the same rounds. None and why: not known."""

    backend: str
    precision: str
    threads: int
    shape: tuple[int, int, int] | None
    gflops_per_s: float | None
    why: str | None


class BenchRow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One exit of one bundle on one engine, for batches of one size.

    way: in one segment, or in steps with a policy that is asked after each. p50..p99_ms: of a batch.
    gflops: of a face. peak_share: of the peak of this library and precision. peak_mb: resident
    memory of a process that does only this; device_mb: on a GPU. gross_mj, net_mj: of a face,
    without and with idle power subtracted. round_ms: the median of each round.
    """

    bundle: str
    fingerprint: str
    backend: str
    device: str
    threads: int
    precision: str
    exit: int
    batch: int
    way: Way
    p50_ms: float
    p90_ms: float
    p99_ms: float | None
    faces_per_s: float
    gflops: float
    gflops_per_s: float
    peak_share: float | None
    peak_mb: float | None
    device_mb: float | None
    gross_mj: float | None
    net_mj: float | None
    round_ms: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, str, int, int, int, str]:
        """Equal for the same row of another result."""
        return (
            self.bundle, self.backend, self.precision, self.threads, self.exit, self.batch, self.way,
        )  # fmt: skip


class Power(Struct, frozen=True, forbid_unknown_fields=True):
    """The energy meter, its idle power, or why there is none."""

    meter: str | None
    idle_w: float | None
    why: str | None


class BenchResult(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-fiqa-bench/1"] = SCHEMA
    faces: str
    environment: dict[str, Any]
    power: Power
    peaks: tuple[Peak, ...]
    rows: tuple[BenchRow, ...]


def load_result(path: Path) -> BenchResult:
    """Raises ConfigError, one line, for anything else than a result of this schema."""
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    try:
        schema = msgspec.json.decode(text, type=dict[str, Any]).get("schema")
        if schema != SCHEMA:
            raise ConfigError(
                f"{path} has schema {schema!r}; expected {SCHEMA}, of edge-fiqa bench --output"
            )
        return msgspec.json.decode(text, type=BenchResult)
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{path} is not a result of edge-fiqa bench: {exc}") from exc
