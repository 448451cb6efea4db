"""Plans inside a bundle: one for each segment, built on any machine for listed compute capabilities.

    <bundle>/body-01-01.plan     every batch size up to the largest
    <bundle>/rtx.json            what they were built for

The bundle's manifest has their hashes, as of all its files.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import save_manifest
from edge_fiqa.bundle.replace import check_replaceable, folder_beside, put_in_place
from edge_fiqa.config import PlanOptions
from edge_fiqa.engines import machine
from edge_fiqa.engines.build_series import building_series
from edge_fiqa.engines.trt.api import Api, Log
from edge_fiqa.engines.trt.build import PlanJob, build_plan
from edge_fiqa.engines.trt.graph_form import FUSED, attention_in, form_here
from edge_fiqa.engines.trt.plans import plan_options
from edge_fiqa.errors import BundleError
from edge_fiqa.files import sha256
from edge_fiqa.types import Precision, Segment

FILE: Final = "rtx.json"


class PortablePlans(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """library: the version that built them, which alone runs them.

    precision: of the segments. form: of the graphs that they were built from (see `graph_form`), and
    attention what that makes attention compute in; None where an older version did not write it.
    plans: the file of each segment by the segment's name.
    """

    schema: Literal["edge-fiqa-portable-plans/1"] = "edge-fiqa-portable-plans/1"
    library: str
    platform: str
    capabilities: tuple[str, ...]
    options: PlanOptions
    plans: dict[str, str]
    precision: Precision | None = None
    form: str | None = None
    attention: Precision | None = None

    def misfit(self, library: str, sm: str, precision: Precision) -> str | None:
        """Why they do not run on this library and compute capability, or None if they do.

        precision: of the bundle, which theirs must be.
        """
        if library != self.library:
            return f"the bundle's plans are for version {self.library}, this is {library}"
        if machine.platform() != self.platform:
            return f"the bundle's plans are for {self.platform}, this is {machine.platform()}"
        if sm not in self.capabilities:
            built_for = ", ".join(self.capabilities)
            return f"the bundle's plans are for compute capability {built_for}, this is {sm}"
        if self.precision not in (None, precision):
            return f"the bundle's plans are in {self.precision}, its segments in {precision}"
        return None

    def shortcoming(self) -> str | None:
        """What a form other than the present one means for plans that run here, or None."""
        if self.form == FUSED:
            return None
        if self.form is None:
            return "the bundle's plans do not state the form of their graphs"
        return (
            f"the bundle's plans are built {self.form}, with attention in {self.attention}: they have "
            "more kernels than they need"
        )


def portable_plans(bundle: Bundle) -> PortablePlans | None:
    """Those in the bundle, if any. Raises BundleError where their description is damaged."""
    if FILE not in bundle.manifest.files:
        return None
    path = bundle.folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=PortablePlans)
    except (OSError, msgspec.MsgspecError) as exc:
        raise BundleError(f"{path} is damaged: {exc}; build its plans again") from exc


def read_portable(bundle: Bundle, name: str) -> bytes:
    """The plan in the file `name` of the bundle. Raises BundleError unless it has its hash."""
    path = bundle.folder / name
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise BundleError(f"{path}: {exc.strerror}; build its plans again") from exc
    if hashlib.sha256(data).hexdigest() != bundle.manifest.files.get(name):
        raise BundleError(f"{path} is damaged or was changed; build its plans again")
    return data


def add_plans(
    bundle: Bundle,
    target: Path,
    api: Api,
    capabilities: tuple[str, ...],
    cancelled: threading.Event,
) -> Bundle:
    """Build one plan for each segment, and put `target` there: the bundle with its plans.

    target: the bundle's own folder, which is replaced, or one that does not exist. Needs no device.
    Nothing changes unless all of them can be built. Raises ConfigError for a capability that the
    library does not know, EngineFailed where it fails, BundleError where the place cannot be written.
    """
    for capability in capabilities:
        api.capability(capability)
    target = target.resolve()
    if target.exists():
        check_replaceable(target)
    try:
        with folder_beside(target) as folder:
            shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
            _write_plans(Bundle.open(folder), api, capabilities, cancelled)
            folder.chmod(0o755)
            put_in_place(folder, target)
    except OSError as exc:
        raise BundleError(f"{target}: {exc.strerror}; choose another place with -o") from exc
    return Bundle.open(target)


def _write_plans(
    bundle: Bundle, api: Api, capabilities: tuple[str, ...], cancelled: threading.Event
) -> None:
    options, files = _options(bundle), _without_plans(bundle)
    names = {segment: f"{segment.name}.plan" for segment in sorted(bundle.segments)}
    precision, form = bundle.manifest.precision, form_here()
    for segment, data in _built(bundle, api, capabilities, options, cancelled):
        (bundle.folder / names[segment]).write_bytes(data)
    description = PortablePlans(
        library=api.version,
        platform=machine.platform(),
        capabilities=capabilities,
        options=options,
        plans={segment.name: name for segment, name in names.items()},
        precision=precision,
        form=form,
        attention=attention_in(precision, form),
    )
    text = msgspec.json.format(msgspec.json.encode(description), indent=2)
    (bundle.folder / FILE).write_bytes(text)
    files |= {name: sha256(bundle.folder / name) for name in [FILE, *names.values()]}
    save_manifest(msgspec.structs.replace(bundle.manifest, files=files), bundle.folder)


def _options(bundle: Bundle) -> PlanOptions:
    """Those of the bundle, but one plan for every batch size."""
    changes = {"dynamic": True, "version_compatible": False, "lean_library": None}
    return msgspec.structs.replace(plan_options(bundle), **changes)


def _without_plans(bundle: Bundle) -> dict[str, str]:
    """The bundle's files and hashes, after plans of before are removed from its folder."""
    files, before = dict(bundle.manifest.files), portable_plans(bundle)
    for name in () if before is None else [FILE, *before.plans.values()]:
        files.pop(name, None)
        (bundle.folder / name).unlink(missing_ok=True)
    return files


def _built(
    bundle: Bundle,
    api: Api,
    capabilities: tuple[str, ...],
    options: PlanOptions,
    cancelled: threading.Event,
) -> Iterator[tuple[Segment, bytes]]:
    """Each segment with its plan; how far it is goes to the listener, else to stderr."""
    log, segments, batch = Log(api), sorted(bundle.segments), options.batches[-1]
    with building_series(len(segments)) as series:
        for segment in segments:
            onnx = str(bundle.file_of(segment).resolve())
            job = PlanJob(segment.name, onnx, batch, options, capabilities=capabilities)
            with series.build(segment.name, batch, "") as on_progress:
                data = build_plan(job, log, cancelled, on_progress)
            yield segment, data
