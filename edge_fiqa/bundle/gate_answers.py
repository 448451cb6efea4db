"""A bundle gets the table of what its gates mean. Its scores, and what they are calibrated to, stay."""

from __future__ import annotations

import shutil

import msgspec

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import save_manifest
from edge_fiqa.bundle.replace import check_replaceable, folder_beside, put_in_place
from edge_fiqa.calibration.artefact import FILE, Calibration
from edge_fiqa.errors import ConfigError
from edge_fiqa.files import sha256


def check_same_calibration(bundle: Bundle, calibration: Calibration) -> None:
    """Raises ConfigError unless `calibration` is the bundle's own but for its gates' table."""
    own = bundle.calibration
    if own is None or own.id != calibration.id:
        raise ConfigError(
            f"{bundle.folder}: a bundle takes only the meaning of its own calibration's gates "
            f"(--keep {bundle.folder / FILE}); for another calibration build it anew: "
            "edge-fiqa build --calibration FILE"
        )


def put_gate_table(bundle: Bundle, calibration: Calibration) -> None:
    """Replaces the bundle's calibration by the same one with a table, whole or not at all.

    Raises ConfigError for another calibration, and if the bundle cannot be written.
    """
    check_same_calibration(bundle, calibration)
    check_replaceable(bundle.folder)
    target = bundle.folder.resolve()
    try:
        with folder_beside(target) as folder:
            shutil.copytree(target, folder, dirs_exist_ok=True)
            calibration.save(folder / FILE)
            files = {**bundle.manifest.files, FILE: sha256(folder / FILE)}
            save_manifest(msgspec.structs.replace(bundle.manifest, files=files), folder)
            Bundle.open(folder)
            put_in_place(folder, target)
    except OSError as exc:
        raise ConfigError(f"{target} cannot be written: {exc.strerror or exc}") from exc
