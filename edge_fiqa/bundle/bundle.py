"""The bundle: one directory with a model's segments and everything known about them.

    manifest.json          what it is (see `manifest`), with the SHA-256 of every other file
    body-01-01.onnx ...    one graph per segment, without large constants
    weights.bin            the constants of all graphs, each stored once
    model.safetensors      the float weights, where the bundle carries them (torch needs them)
    calibration.json       what makes its scores comparable, if it was built on real faces
    tensorrt.json          how its TensorRT plans are built, if it was built for TensorRT
    rtx.json, *.plan       plans for TensorRT for RTX, if `edge-fiqa plans` put them there

Opening verifies the schema and every hash before anything is handed to a backend, and refuses a graph
whose constants lie in a file without a hash. A backend may read a file much later: one that is another
by then is refused too, since segments of two builds would mix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import msgspec

from edge_fiqa.bundle.manifest import (
    FLOAT_WEIGHTS,
    MANIFEST,
    WEIGHTS,
    Costs,
    Manifest,
    old_place,
    read_manifest,
    save_manifest,
)
from edge_fiqa.calibration.artefact import FILE as CALIBRATION
from edge_fiqa.calibration.artefact import Calibration, load_calibration
from edge_fiqa.errors import BundleError, ConfigError
from edge_fiqa.exits.cost import CostTable
from edge_fiqa.files import sha256
from edge_fiqa.types import Precision, Segment, VitConfig

SHIPPED_FORMS: dict[str, dict[Precision, Path]] = {
    name: {
        form: Path(__file__).parents[1] / "models" / f"{name}-{form}" for form in ("int8", "fp32")
    }
    for name in ("nano", "small")
}
"""The models that come with the package, by the name under which they are opened, in each precision."""
SHIPPED = {name: forms["int8"] for name, forms in SHIPPED_FORMS.items()}
"""The form of each that every part of the package can run."""
CONSTANTS_FILE = re.compile(rb"\x0a\x08location\x12(.)", re.DOTALL)
"""Where an ONNX graph names the file of its constants: the key, and the length of that name."""
Signature = tuple[int, ...]
"""Of a file, as the file system shows it: equal as long as nobody writes or replaces the file."""


class Bundle:
    """An opened, verified bundle. backend: that computes it where nobody names another."""

    def __init__(
        self, folder: Path, manifest: Manifest, signatures: Mapping[str, Signature] | None = None
    ) -> None:
        """signatures: of the files that are verified, by name."""
        self.folder, self.manifest = folder, manifest
        self.backend = manifest.backend
        self._signatures = dict(signatures or {})
        network = manifest.network
        self.config = VitConfig(
            mode=network.mode,
            width=network.width,
            depth=network.depth,
            heads=network.heads,
            mlp_ratio=network.mlp_ratio,
        )
        self.file_names = {Segment(s.first, s.last, s.tail): s.file for s in manifest.segments}
        self.segments = tuple(self.file_names)

    @classmethod
    def open(cls, bundle: Path | str = "nano") -> Bundle:
        """Read and verify a directory, or the model of that name that comes with the package.

        Raises BundleError, one line that says what is wrong and what to do.
        """
        folder = Path(bundle)
        if not folder.is_dir():
            folder = SHIPPED.get(str(bundle), folder)
        path = folder / MANIFEST
        if not folder.is_dir() and old_place(folder).is_dir():
            raise BundleError(
                f"{folder} is missing: a build was stopped while it replaced it; build it again, or "
                f"rename {old_place(folder)} to {folder.name}"
            )
        manifest = read_manifest(path)
        signatures = {
            name: _verify(folder / name, digest) for name, digest in manifest.files.items()
        }
        needed = {segment.file for segment in manifest.segments}
        for name in sorted(needed & manifest.files.keys()):
            needed |= _constants_files(folder / name)
        if missing := needed - manifest.files.keys():
            raise BundleError(
                f"{path}: {min(missing)} belongs to a segment but has no hash; rebuild the bundle"
            )
        try:
            return cls(folder, manifest, signatures)
        except ConfigError as exc:
            raise BundleError(f"{path}: {exc}; rebuild the bundle") from exc

    def computed_by(self, backend: str) -> Bundle:
        """The same bundle for another backend."""
        bundle = Bundle(self.folder, self.manifest, self._signatures)
        bundle.backend = backend
        return bundle

    def file_of(self, segment: Segment) -> Path:
        """The ONNX file of one of its segments. Raises BundleError if it changed after opening."""
        return self._unchanged(self.file_names[segment])

    def float_weights(self) -> Path:
        """The float weights. Raises BundleError if this bundle was built without them."""
        if FLOAT_WEIGHTS not in self.manifest.files:
            raise BundleError(
                f"{self.folder} carries no float weights, which the torch engine needs; "
                "build it with --backend pt"
            )
        return self._unchanged(FLOAT_WEIGHTS)

    def _unchanged(self, name: str) -> Path:
        """The file, after checking that it and the constants still are what the manifest says.

        They are read again only if the file system shows that they may be others.
        """
        for checked in sorted({name, WEIGHTS} & self.manifest.files.keys()):
            path = self.folder / checked
            try:
                if _signature(path) != self._signatures.get(checked):
                    self._signatures[checked] = _verify(path, self.manifest.files[checked])
            except (OSError, BundleError) as exc:
                raise BundleError(
                    f"{path} changed or vanished after the bundle was opened; open the bundle again "
                    "(a service: start it again)"
                ) from exc
        return self.folder / name

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
        return Bundle(self.folder, manifest, self._signatures).computed_by(self.backend)


def _verify(path: Path, digest: str) -> Signature:
    """Raises BundleError for a file that is not the one of which the manifest has the hash."""
    try:
        signature = _signature(path)
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
    return signature


def _signature(path: Path) -> Signature:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _constants_files(graph: Path) -> set[str]:
    """The files that an ONNX graph reads its large constants from."""
    data = graph.read_bytes()
    return {
        data[match.end() : match.end() + match[1][0]].decode("utf-8", "replace")
        for match in CONSTANTS_FILE.finditer(data)
    }
