"""Plan files: where they lie, what they belong to, and what makes one stale. Needs no TensorRT.

    <cache>/edge_fiqa/tensorrt/<bundle>/<power mode>/body-01-01-b4.plan        the plan
                                                    body-01-01-b4.plan.json   its manifest
    <cache>/edge_fiqa/tensorrt/timing-....bin       tactic timings, shared by all builds of a machine

A plan is code. It is read only from a folder that others cannot write, and used only if its SHA-256
and everything in its manifest fit what runs here. TensorRT may crash on a plan that does not fit.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec
from msgspec import Struct

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import PLAN_OPTIONS, WEIGHTS
from edge_fiqa.config import PlanOptions
from edge_fiqa.engines import machine
from edge_fiqa.engines.trt.graph_form import AS_WRITTEN, FUSED, form_here
from edge_fiqa.errors import BundleError, EngineFailed
from edge_fiqa.files import cache_folder, not_writable, write_whole
from edge_fiqa.kept import OTHERS_CANNOT_WRITE, distrusted
from edge_fiqa.types import Segment

log = logging.getLogger("edge_fiqa.plans")
SCHEMA: Final = "edge-fiqa-plan/1"
NEVER_BUILT = "it was never built"
ANY = "any"
LOCK_RETRY_S = 0.2  # between two tries to get the lock
RUN_ONLY = ("ahead", "graphs", "child", "on_mismatch", "batches")
"""Options that do not change what is in a plan."""


class Target(Struct, frozen=True):
    """What a plan is built for. sm: compute capability "8.7". cuda: the driver's version."""

    tensorrt: str
    device: str
    sm: str
    cuda: str
    power_mode: str | None
    platform: str

    @classmethod
    def portable(cls, library: str, sm: str) -> Target:
        """Of a plan that no device was timed for: any of this compute capability, in any mode."""
        return cls(library, ANY, sm, ANY, None, machine.platform())


class PlanManifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["edge-fiqa-plan/1"] = SCHEMA
    segment: str
    batch: int
    onnx: str  # SHA-256 of graph and weights
    form: str = AS_WRITTEN  # of the graph, see graph_form
    target: Target
    options: PlanOptions
    sha256: str  # of the plan


def plan_options(bundle: Bundle) -> PlanOptions:
    """The options a bundle was built with, or the defaults. BundleError if they cannot be."""
    if PLAN_OPTIONS not in bundle.manifest.files:
        return PlanOptions()
    path = bundle.folder / PLAN_OPTIONS
    try:
        return msgspec.json.decode(path.read_bytes(), type=PlanOptions)
    except msgspec.ValidationError as exc:
        raise BundleError(f"{path}: {exc}; rebuild the bundle") from exc
    except msgspec.MsgspecError as exc:
        raise BundleError(f"{path} is damaged: {exc}; rebuild the bundle") from exc


class PlanStore:
    """The plans of one bundle on this machine.

    Where nothing can be written, plans that exist are used and new ones are not kept. Then `keeps`
    is False, and timings lie in a temporary folder that goes with this object.
    """

    def __init__(
        self, bundle: Bundle, target: Target, options: PlanOptions, library: str = "tensorrt"
    ) -> None:
        self.target, self.options = target, options
        self._files = bundle.manifest.files
        self._names = bundle.file_names
        caches = cache_folder(library)
        network = _digest(bundle.manifest.fingerprint, bundle.manifest.precision)[:12]
        name = f"{_plain(bundle.manifest.name)}-{network}"
        self.folder = caches / name / _plain(target.power_mode or "default")
        key = (target.tensorrt, target.device, target.sm, target.cuda, target.power_mode)
        self.timing = caches / f"timing-{'-'.join(_plain(str(part)) for part in key)}.bin"
        self._temporary: weakref.finalize[..., PlanStore] | None = None
        reason = not_writable(self.folder)
        self.keeps = reason is None
        if reason is not None:
            self._keep_nothing(reason)

    def _keep_nothing(self, reason: str) -> None:
        log.warning(
            "plans cannot be kept in %s (%s): they will be built again at every start; "
            "set EDGE_FIQA_CACHE to a folder that can be written",
            self.folder,
            reason,
        )
        temporary = tempfile.mkdtemp(prefix="edge_fiqa.")
        self._temporary = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        self.timing = Path(temporary) / self.timing.name

    def close(self) -> None:
        """Remove the temporary folder, if there is one."""
        if self._temporary is not None:
            self._temporary()

    def path(self, segment: Segment, batch: int) -> Path:
        letter = "d" if self.options.dynamic else "b"
        return self.folder / f"{segment.name}-{letter}{batch}.plan"

    def load(self, segment: Segment, batch: int) -> tuple[bytes | None, str]:
        """The plan, or None and why there is none that fits.

        Raises EngineFailed where one is there, does not fit, and the options say to refuse it.
        """
        path = self.path(segment, batch)
        reason, manifest = self._fits(path, segment, batch)
        if reason == NEVER_BUILT:
            return None, reason
        data = None
        if manifest is not None:
            reason, data = _read(path, manifest)
        if data is None and self.options.on_mismatch == "refuse":
            raise EngineFailed(f"{path}: {reason}; delete it, or set on_mismatch: rebuild")
        return data, reason

    def lacks(self, segment: Segment, batch: int) -> bool:
        """Whether this plan must be built, as far as its manifest says: the plan is not read."""
        return self._fits(self.path(segment, batch), segment, batch)[1] is None

    def save(self, segment: Segment, batch: int, data: bytes) -> None:
        """Write plan and manifest, each whole or not at all, the manifest last.

        Where that fails, as on a full disk, a warning says so and the plan is used unsaved.
        """
        if not self.keeps:
            return
        path = self.path(segment, batch)
        manifest = PlanManifest(
            segment=segment.name,
            batch=batch,
            onnx=self.onnx(segment),
            form=form_here(),
            target=self.target,
            options=self._built_with(),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        try:
            write_whole(path, data, OTHERS_CANNOT_WRITE)
            write_whole(_manifest_of(path), text, OTHERS_CANNOT_WRITE)
        except OSError as exc:
            log.warning("%s: %s; the plan is used and not kept", path, exc.strerror)

    @contextmanager
    def building(self, cancelled: threading.Event, waits: Callable[[], None]) -> Iterator[None]:
        """Only one build at a time on this machine: two would spoil each other's timings.

        waits: called once if another process is building. Raises EngineFailed if cancelled meanwhile.
        """
        with _lock_file(self.timing.parent) as file:
            waited = False
            while not _locked(file.fileno()):
                if not waited:
                    waits()
                waited = True
                if cancelled.wait(LOCK_RETRY_S):
                    raise EngineFailed("building was stopped while another process was at it")
            if self.keeps:
                _sweep(self.folder)
            yield

    def onnx(self, segment: Segment) -> str:
        """What the plan was made from, as the bundle's verified hashes say."""
        return _digest(self._files[self._names[segment]], self._files.get(WEIGHTS, ""))

    def _fits(self, path: Path, segment: Segment, batch: int) -> tuple[str, PlanManifest | None]:
        """(why it does not fit what runs here, None) or ("", its manifest)."""
        try:
            distrust = distrusted(path)
        except OSError:  # no such file, or a folder that this user may not read
            return NEVER_BUILT, None
        if distrust is not None:
            return f"{distrust}, and a plan is code", None
        try:
            manifest = msgspec.json.decode(_manifest_of(path).read_bytes(), type=PlanManifest)
        except OSError as exc:
            return f"its manifest cannot be read ({exc.strerror})", None
        except msgspec.MsgspecError as exc:
            return f"its manifest is damaged ({exc})", None
        if (manifest.segment, manifest.batch) != (segment.name, batch):
            return f"it is the plan of {manifest.segment} for batch {manifest.batch}", None
        if manifest.onnx != self.onnx(segment):
            return "it was built from another model", None
        if manifest.form != FUSED and self._can_do_better():
            return "it was built from a graph of more kernels", None
        if manifest.options != self._built_with():
            return "it was built with other options", None
        for name in Target.__struct_fields__:
            built_for, here = getattr(manifest.target, name), getattr(self.target, name)
            if built_for != here and not (name == "tensorrt" and self._runs_older(built_for)):
                return f"it was built for {name} {built_for}, this is {here}", None
        return "", manifest

    def _can_do_better(self) -> bool:
        """Whether a plan of the graph as written is built again. It is right, so never refused."""
        options = self.options
        rebuilds = options.on_mismatch == "rebuild" and not options.version_compatible
        return rebuilds and form_here() == FUSED

    def _built_with(self) -> PlanOptions:
        defaults = PlanOptions()
        changes = {name: getattr(defaults, name) for name in RUN_ONLY}
        if self.options.dynamic:
            del changes["batches"]
        return msgspec.structs.replace(self.options, **changes)

    def _runs_older(self, version: str) -> bool:
        """A version-compatible plan runs on the version that built it and on later ones."""
        here = _numbers(self.target.tensorrt)
        return self.options.version_compatible and _numbers(version) <= here


def _manifest_of(plan: Path) -> Path:
    return plan.with_name(f"{plan.name}.json")


def _read(path: Path, manifest: PlanManifest) -> tuple[str, bytes | None]:
    try:
        data = path.read_bytes()
    except OSError as exc:
        return f"it cannot be read ({exc.strerror})", None
    if hashlib.sha256(data).hexdigest() != manifest.sha256:
        return "it is damaged or was changed", None
    return "", data


def _lock_file(folder: Path) -> IO[Any]:
    try:
        return (folder / "build.lock").open("w")
    except OSError:  # it belongs to another user: builds do not wait for each other then
        return tempfile.TemporaryFile()


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: then without
    return True


def _sweep(folder: Path) -> None:
    """Remove what a killed build wrote in part. Nobody else is writing: the lock is held."""
    for partial in folder.glob(".*.plan*.*"):
        partial.unlink(missing_ok=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_.") or "_"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
