"""The bundle: one directory with a model's segments and everything known about them.

    manifest.json          what it is (below), with the SHA-256 of every other file
    body-01-01.onnx ...    one graph per segment, without large constants
    weights.bin            the constants of all graphs, each stored once
    model.safetensors      the float weights, where the bundle carries them (torch needs them)
    calibration.json       what makes its scores comparable, if it was built on real faces
    tensorrt.json          how its TensorRT plans are built, if it was built for TensorRT

Opening verifies the schema and every hash before anything is handed to a backend.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from edge_fiqa.calibration.artefact import FILE as CALIBRATION
from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.cost import CostTable
from edge_fiqa.errors import BundleError, ConfigError
from edge_fiqa.types import Mode, Precision, Segment, VitConfig

SCHEMA: Final = "edge-fiqa-bundle/1"
GOLDEN_FACES = 2  # the first synthetic faces, whose scores every bundle keeps for self-tests
SHIPPED = {name: Path(__file__).parent / "models" / f"{name}-int8" for name in ("nano", "small")}
"""The models that come with the package, by the name under which they are opened."""
MANIFEST, WEIGHTS, FLOAT_WEIGHTS = "manifest.json", "weights.bin", "model.safetensors"
PLAN_OPTIONS = "tensorrt.json"

Positive = Annotated[int, Meta(ge=1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Network(Struct, frozen=True, forbid_unknown_fields=True):
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
    network: Network
    colour: Literal["RGB"] = "RGB"
    precision: Precision
    backend: str
    exits: tuple[int, ...]
    segments: tuple[SegmentFile, ...]
    files: dict[FileName, Sha256]
    parity: Parity
    costs: Costs
    golden: tuple[tuple[float, ...], ...]  # all exits of GOLDEN_FACES synthetic faces, when built


class Bundle:
    """An opened, verified bundle."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        network = manifest.network
        self.config = VitConfig(
            mode=network.mode,
            width=network.width,
            depth=network.depth,
            heads=network.heads,
            mlp_ratio=network.mlp_ratio,
        )
        self._files = {Segment(s.first, s.last, s.tail): s.file for s in manifest.segments}
        self.segments = tuple(self._files)

    @classmethod
    def open(cls, bundle: Path | str = "nano") -> Bundle:
        """Read and verify a directory, or the model of that name that comes with the package.

        Raises BundleError, one line that says what is wrong and what to do.
        """
        folder = Path(bundle)
        if not folder.is_dir():
            folder = SHIPPED.get(str(bundle), folder)
        path = folder / MANIFEST
        try:
            text = path.read_bytes()
        except OSError:
            raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}") from None
        manifest = _parse(path, text)
        for name, digest in manifest.files.items():
            _verify(folder / name, digest)
        needed = {segment.file for segment in manifest.segments}
        if missing := needed - manifest.files.keys():
            raise BundleError(f"{path}: {min(missing)} is a segment but has no hash; rebuild it")
        try:
            return cls(folder, manifest)
        except ConfigError as exc:
            raise BundleError(f"{path}: {exc}; rebuild the bundle") from exc

    def file_of(self, segment: Segment) -> Path:
        return self.folder / self._files[segment]

    def float_weights(self) -> Path:
        """The float weights. Raises BundleError if this bundle was built without them."""
        if FLOAT_WEIGHTS not in self.manifest.files:
            raise BundleError(
                f"{self.folder} carries no float weights, which the torch engine needs; "
                "build it with --backend pt"
            )
        return self.folder / FLOAT_WEIGHTS

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration that it carries, if any."""
        if CALIBRATION not in self.manifest.files:
            return None
        try:
            return load_calibration(self.folder / CALIBRATION, self.manifest.fingerprint)
        except ConfigError as exc:
            raise BundleError(f"{exc}; rebuild the bundle") from exc

    @cached_property
    def costs(self) -> CostTable:
        found = self.manifest.costs
        rows = {Segment(s.first, s.last, s.tail): s for s in found.segments}
        return CostTable.of(
            self.config,
            self.segments,
            {segment: row.ms for segment, row in rows.items()},
            {segment: row.mj for segment, row in rows.items() if row.mj is not None},
        )

    def with_costs(self, costs: Costs) -> Bundle:
        """The same bundle with another cost table in its manifest. Raises BundleError."""
        manifest = msgspec.structs.replace(self.manifest, costs=costs)
        try:
            save_manifest(manifest, self.folder)
        except OSError as exc:
            raise BundleError(f"{self.folder / MANIFEST}: {exc.strerror}") from exc
        return Bundle(self.folder, manifest)


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    new = folder / f".{MANIFEST}.new"
    new.write_bytes(text + b"\n")
    new.replace(folder / MANIFEST)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()  # hashlib.file_digest is Python 3.11's; JetPack 6 has 3.10
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _parse(path: Path, text: bytes) -> Manifest:
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


def _verify(path: Path, digest: str) -> None:
    try:
        found = sha256(path)
    except OSError as exc:
        raise BundleError(
            f"{path} is missing or unreadable ({exc.strerror}); rebuild the bundle"
        ) from exc
    if found != digest:
        raise BundleError(
            f"{path} is damaged or was changed: SHA-256 {found[:12]}..., manifest says {digest[:12]}..."
        )


class _SchemaOnly(Struct):
    schema: str
