"""The manifest of a bundle: what was built, from what, and what was measured on it then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from edge_fiqa.errors import BundleError
from edge_fiqa.files import write_whole
from edge_fiqa.types import Mode, Precision

SCHEMA: Final = "edge-fiqa-bundle/1"
MANIFEST, WEIGHTS, FLOAT_WEIGHTS = "manifest.json", "weights.bin", "model.safetensors"
PLAN_OPTIONS = "tensorrt.json"
GOLDEN_FACES = 2  # the first synthetic faces, whose scores every bundle keeps for self-tests

Positive = Annotated[int, Meta(ge=1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
CauseName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*\Z")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class NetworkInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of the network, as `VitConfig` has it."""

    mode: Mode
    width: Positive
    depth: Positive
    heads: Positive
    mlp_ratio: Positive


class SegmentFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One segment and the name of its ONNX file."""

    first: Positive
    last: Positive
    tail: bool
    file: FileName


class ExitParity(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """This bundle against the float32 reference, at one exit.

    agreement: the share of faces with the same decision, at the worst of the gates 10, 20 ... 90.
    within_a_point: the share whose 0-100 quality differs by one at most. None without calibration.
    rms_to_graph, max_to_graph: INT8 only, raw scores of the engine that measured against those of the
    bundle's own graph computed as it is written. Values that lie between two steps round either way.
    """

    exit: int
    max_abs_difference: float
    spearman: float | None
    agreement: float | None
    within_a_point: float | None
    rms_to_graph: float | None = None
    max_to_graph: float | None = None


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """How well the scores agree with those of the float32 reference."""

    reference: str
    faces: int
    images: str  # what the faces were
    exits: tuple[ExitParity, ...]


class SegmentCost(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """For one face: median ms, and gross mJ, which are None where there was no meter."""

    first: int
    last: int
    tail: bool
    ms: float
    mj: float | None = None


class Costs(Struct, frozen=True, forbid_unknown_fields=True):
    """What each segment costs, and where that was measured."""

    device: str
    backend: str
    backend_version: str
    threads: int
    segments: tuple[SegmentCost, ...]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `manifest.json` says. files: the SHA-256 of every other file of the bundle.

    causes: of low quality, whose logits every segment gives. cause_heads: SHA-256 of the heads that
    read them. cause_right: how often each of `exits` was right in training, see CauseHeads; empty
    where nobody measured it. The file has no keys for what there is not.
    """

    schema: Literal["edge-fiqa-bundle/1"] = SCHEMA
    name: str
    edge_fiqa: str  # version that built it
    fingerprint: str
    network: NetworkInfo
    colour: Literal["RGB"] = "RGB"
    precision: Precision
    backend: str
    exits: tuple[int, ...]
    causes: tuple[CauseName, ...] = ()
    cause_heads: Sha256 | None = None
    cause_right: tuple[Annotated[float, Meta(ge=0, le=1)] | None, ...] = ()
    segments: tuple[SegmentFile, ...]
    files: dict[FileName, Sha256]
    parity: Parity
    costs: Costs
    golden: tuple[tuple[float, ...], ...]  # all exits of GOLDEN_FACES synthetic faces, when built

    def __post_init__(self) -> None:
        if self.cause_right and (not self.causes or len(self.cause_right) != len(self.exits)):
            raise ValueError("cause_right needs causes, and a share or null for every exit")


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Whole or not at all. Raises OSError."""
    tree = msgspec.to_builtins(manifest)
    if not manifest.causes:
        del tree["causes"], tree["cause_heads"]
    if not manifest.cause_right:
        del tree["cause_right"]
    text = msgspec.json.format(msgspec.json.encode(tree), indent=2)
    write_whole(folder / MANIFEST, text + b"\n")


def read_manifest(path: Path) -> Manifest:
    """Raises BundleError for one that is missing, damaged, foreign or of a newer edge_fiqa."""
    try:
        text = path.read_bytes()
    except OSError:
        raise BundleError(f"{path.parent} is not a bundle: it has no {path.name}") from None
    _check_schema(path, text)
    try:
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as exc:
        raise BundleError(f"{path} is damaged: {exc}; rebuild the bundle") from exc


def old_place(folder: Path) -> Path:
    """Where the bundle of that folder lies while another takes its place."""
    return folder.with_name(f".{folder.name}.old")


def _check_schema(path: Path, text: bytes) -> None:
    try:
        schema = msgspec.json.decode(text, type=_SchemaOnly).schema
    except msgspec.MsgspecError as exc:
        raise BundleError(f"{path} is damaged: {exc}") from exc
    if schema == SCHEMA:
        return
    name, _, version = schema.rpartition("/")
    if name == SCHEMA.rpartition("/")[0] and version.isdigit() and int(version) > 1:
        raise BundleError(
            f"{path} has schema {schema}, newer than this edge_fiqa reads ({SCHEMA}); upgrade it"
        )
    raise BundleError(f"{path} has schema {schema!r}; this is not an edge_fiqa bundle ({SCHEMA})")


class _SchemaOnly(Struct):
    schema: str
