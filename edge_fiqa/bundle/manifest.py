"""The manifest of a bundle: what was built, with the SHA-256 of every other file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from edge_fiqa.errors import BundleError
from edge_fiqa.files import write_whole
from edge_fiqa.types import Mode, Precision

SCHEMA: Final = "edge-fiqa-bundle/1"


GOLDEN_FACES = 2  # the first synthetic faces, whose scores every bundle keeps for self-tests


MANIFEST, WEIGHTS, FLOAT_WEIGHTS = "manifest.json", "weights.bin", "model.safetensors"


PLAN_OPTIONS = "tensorrt.json"


Positive = Annotated[int, Meta(ge=1)]


Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class NetworkInfo(Struct, frozen=True, forbid_unknown_fields=True):
    mode: Mode
    width: Positive
    depth: Positive
    heads: Positive
    mlp_ratio: Positive


class SegmentFile(Struct, frozen=True, forbid_unknown_fields=True):
    first: Positive
    last: Positive
    tail: bool
    file: FileName


class ExitParity(Struct, frozen=True, forbid_unknown_fields=True):
    """This bundle against the float32 reference, at one exit.

    agreement: the share of faces with the same decision, at the worst of the gates 10, 20 ... 90.
    within_a_point: the share whose 0-100 quality differs by one at most. None without calibration.
    """

    exit: int
    max_abs_difference: float
    spearman: float | None
    agreement: float | None
    within_a_point: float | None


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    reference: str
    faces: int
    images: str  # what the faces were
    exits: tuple[ExitParity, ...]


class SegmentCost(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """mj: gross, of what the meter of that device sees; None where there was no meter."""

    first: int
    last: int
    tail: bool
    ms: float
    mj: float | None = None


class Costs(Struct, frozen=True, forbid_unknown_fields=True):
    """Median ms of each segment for one face, and where that was measured."""

    device: str
    backend: str
    backend_version: str
    threads: int
    segments: tuple[SegmentCost, ...]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-fiqa-bundle/1"] = SCHEMA
    name: str
    edge_fiqa: str  # version that built it
    fingerprint: str
    network: NetworkInfo
    colour: Literal["RGB"] = "RGB"
    precision: Precision
    backend: str
    exits: tuple[int, ...]
    segments: tuple[SegmentFile, ...]
    files: dict[FileName, Sha256]
    parity: Parity
    costs: Costs
    golden: tuple[tuple[float, ...], ...]  # all exits of GOLDEN_FACES synthetic faces, when built


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Whole or not at all. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_whole(folder / MANIFEST, text + b"\n")


def read_manifest(path: Path, text: bytes) -> Manifest:
    try:
        schema = msgspec.json.decode(text, type=_SchemaOnly).schema
    except msgspec.MsgspecError as exc:
        raise BundleError(f"{path} is damaged: {exc}") from exc
    if schema != SCHEMA:
        kind, _, number = schema.rpartition("/")
        if kind == SCHEMA.rpartition("/")[0] and number.isdigit() and int(number) > 1:
            raise BundleError(
                f"{path} has schema {schema}, newer than this edge_fiqa reads ({SCHEMA}); upgrade it"
            )
        raise BundleError(
            f"{path} has schema {schema!r}; this is not an edge_fiqa bundle ({SCHEMA})"
        )
    try:
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as exc:
        raise BundleError(f"{path} is damaged: {exc}; rebuild the bundle") from exc


class _SchemaOnly(Struct):
    schema: str
