"""The bundle: one directory with a model's segments and everything known about them.

    manifest.json          what it is (see `manifest`), with the SHA-256 of every other file
    body-01-01.onnx ...    one graph per segment, without large constants
    weights.bin            the constants of all graphs, each stored once
    model.safetensors      the float weights, where the bundle carries them (torch needs them)
    calibration.json       what makes its scores comparable, if it was built on real faces
    tensorrt.json          how its TensorRT plans are built, if it was built for TensorRT
    rtx.json, *.plan       plans for TensorRT for RTX, if `edge-fiqa plans` put them there

Opening verifies the schema and every hash before anything is handed to a backend.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec

from edge_fiqa.bundle.manifest import (
    FLOAT_WEIGHTS,
    MANIFEST,
    Costs,
    Manifest,
    read_manifest,
    save_manifest,
)
from edge_fiqa.calibration.artefact import FILE as CALIBRATION
from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.errors import BundleError, ConfigError
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.files import sha256
from edge_fiqa.types import Segment, VitConfig

SHIPPED = {
    name: Path(__file__).parents[1] / "models" / f"{name}-int8" for name in ("nano", "small")
}
"""The models that come with the package, by the name under which they are opened."""


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
        manifest = read_manifest(path)
        for name, digest in manifest.files.items():
            _verify(folder / name, digest)
        segment_files = {segment.file for segment in manifest.segments}
        if missing := segment_files - manifest.files.keys():
            raise BundleError(f"{path}: {min(missing)} is a segment but has no hash; rebuild it")
        try:
            return cls(folder, manifest)
        except ConfigError as exc:
            raise BundleError(f"{path}: {exc}; rebuild the bundle") from exc

    def file_of(self, segment: Segment) -> Path:
        """The ONNX file of one of its segments."""
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
        """What each segment costs in ms, mJ and FLOPs, as the manifest says."""
        rows = {Segment(row.first, row.last, row.tail): row for row in self.manifest.costs.segments}
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


def _verify(path: Path, digest: str) -> None:
    try:
        actual = sha256(path)
    except OSError as exc:
        raise BundleError(
            f"{path} is missing or unreadable ({exc.strerror}); rebuild the bundle"
        ) from exc
    if actual != digest:
        raise BundleError(
            f"{path} is damaged or was changed: SHA-256 {actual[:12]}..., "
            f"manifest says {digest[:12]}..."
        )
