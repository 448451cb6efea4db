"""The form of a shipped model that this processor computes fastest: its precision and its backend.

A table by instruction sets and threads decides, so that a machine always takes the same; what
`edge-fiqa doctor --tune` measured here goes first. All forms share one calibration, and their
qualities differ by a point at most from exit 2 on (docs/forms.md).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_fiqa.bundle.bundle import SHIPPED_FORMS, Bundle
from edge_fiqa.engines import cores
from edge_fiqa.engines.processor import this_processor
from edge_fiqa.errors import ConfigError
from edge_fiqa.files import state_folder, write_whole
from edge_fiqa.types import Precision

PORTABLE_BACKENDS = {"ov": "openvino", "ort": "onnxruntime"}


@dataclass(frozen=True)
class Form:
    """precision: of the bundle. backend: that computes it. why: in words, for `info` and `doctor`."""

    precision: Precision
    backend: str
    why: str


@dataclass(frozen=True)
class FormRule:
    """Holds where the processor has one of `any_of` (or there are none) and computes with few threads.

    measured: on which processor; None where it is only reasoned.
    """

    any_of: tuple[str, ...]
    most_threads: int | None
    precision: Precision
    backend: str
    because: str
    measured: str | None

    @property
    def described(self) -> str:
        known = f"measured on {self.measured}" if self.measured else "reasoned, not measured"
        return f"{self.because} ({known})"


RULES = (
    FormRule(("sme",), None, "fp32", "ov", "OpenVINO's INT8 is wrong with SME", "emulated SME"),
    FormRule(("avx512_vnni",), None, "int8", "ov", "VNNI multiplies bytes", "AMD EPYC, Zen 4"),
    FormRule(("avx_vnni",), None, "int8", "ov", "VNNI multiplies bytes", None),
    FormRule(("asimddp", "i8mm"), None, "int8", "ov", "dot products of bytes", None),
    FormRule(("avx2",), 1, "int8", "ort", "no VNNI: ONNX Runtime's bytes lead", "AMD EPYC, Zen 3"),
    FormRule((), None, "fp32", "ov", "no products of bytes: float32 leads", "AMD EPYC, Zen 3"),
    FormRule((), None, "int8", "ort", "OpenVINO or the float form is missing", None),
)
"""The first that holds, and whose library is installed, counts. BF16 and FP16 led nowhere so far."""


class TunedForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `doctor --tune` measured: ms of one face to full depth, by `precision backend`."""

    precision: Precision
    backend: str
    ms: dict[str, float]


class Tuned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured on one processor. forms: by `MODEL THREADS`."""

    processor: str
    forms: dict[str, TunedForm]


def open_form(
    bundle: Bundle | Path | str,
    *,
    threads: int | None = None,
    precision: Precision | None = None,
    backend: str | None = None,
) -> Bundle:
    """Open a folder, or the form of a shipped model that suits this machine.

    threads: of one engine; None: all processors. precision, backend: what was asked for, which goes
    before any rule. The bundle's `backend` is what computes it where the caller names none.
    Raises BundleError, and ConfigError for a precision that there is not.
    """
    if isinstance(bundle, Bundle) or Path(bundle).is_dir() or str(bundle) not in SHIPPED_FORMS:
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        if precision not in (None, opened.manifest.precision):
            raise ConfigError(
                f"{opened.folder} is {opened.manifest.precision}, not {precision}; "
                f"build another with edge-fiqa build --precision {precision}"
            )
        return opened
    form = chosen_form(str(bundle), threads=threads, precision=precision, backend=backend)
    return Bundle.open(SHIPPED_FORMS[str(bundle)][form.precision]).computed_by(form.backend)


def chosen_form(
    model: str,
    *,
    threads: int | None = None,
    precision: Precision | None = None,
    backend: str | None = None,
    instructions: Sequence[str] | None = None,
) -> Form:
    """The form of a shipped model for this processor, or for one with these instruction sets.

    Raises ConfigError where the model has no form of this precision.
    """
    if precision is not None and precision not in SHIPPED_FORMS[model]:
        forms = ", ".join(SHIPPED_FORMS[model])
        raise ConfigError(f"{model} comes as {forms}, not {precision}; build it from its weights")
    threads = threads or cores()
    if instructions is None:
        instructions = this_processor().instructions
        if (tuned := _tuned_form(model, threads)) and _allowed(tuned, precision, backend):
            why = "asked for" if precision or backend else "measured here by doctor --tune"
            return Form(tuned.precision, tuned.backend, why)
    for rule in RULES:
        if (
            rule.precision in SHIPPED_FORMS[model]
            and _holds(rule, instructions, threads)
            and _allowed(rule, precision, backend)
        ):
            why = "asked for" if precision or backend else rule.described
            return Form(rule.precision, rule.backend, why)
    why = "asked for" if precision or backend else "no other form is here"
    return Form(precision or "int8", backend or _installed_backend(), why)


def _holds(rule: FormRule, instructions: Sequence[str], threads: int) -> bool:
    return (not rule.any_of or any(name in instructions for name in rule.any_of)) and (
        rule.most_threads is None or threads <= rule.most_threads
    )


def _allowed(form: FormRule | TunedForm, precision: Precision | None, backend: str | None) -> bool:
    """Whether it is what was asked for, and its library is here."""
    return (
        precision in (None, form.precision)
        and backend in (None, form.backend)
        and is_installed(form.backend)
    )


def is_installed(backend: str) -> bool:
    return importlib.util.find_spec(PORTABLE_BACKENDS[backend]) is not None


def _installed_backend() -> str:
    return next((name for name in PORTABLE_BACKENDS if is_installed(name)), "ov")


def tuned_file() -> Path | None:
    """Where `doctor --tune` keeps what it measured. None for a user without a home."""
    folder = state_folder("edge-fiqa")
    return None if folder is None else folder / "forms.json"


def _processor() -> str:
    """What measurements belong to: name, instruction sets and number of processors."""
    return (
        f"{this_processor().name}, {' '.join(this_processor().instructions)}, {cores()} processors"
    )


def read_tuned() -> Tuned:
    """What was measured on this very processor; nothing where that is none, or unreadable."""
    nothing, path = Tuned(_processor(), {}), tuned_file()
    try:
        tuned = nothing if path is None else msgspec.json.decode(path.read_bytes(), type=Tuned)
    except (OSError, msgspec.MsgspecError):
        return nothing
    return tuned if tuned.processor == nothing.processor else nothing


def keep_tuned(model: str, threads: int, form: TunedForm) -> Path:
    """Add one measurement to the file. Raises ConfigError where it cannot be written."""
    path = tuned_file()
    if path is None:
        raise ConfigError("no folder to keep this in: the user has no home; set XDG_STATE_HOME")
    forms = {**read_tuned().forms, f"{model} {threads}": form}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.encode(Tuned(_processor(), forms)))
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
    return path


def _tuned_form(model: str, threads: int) -> TunedForm | None:
    form = read_tuned().forms.get(f"{model} {threads}")
    return form if form is not None and form.backend in PORTABLE_BACKENDS else None
