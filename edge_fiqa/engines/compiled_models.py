"""Compiled models of a bundle's segments, kept on this machine so that a second start only reads them.

    <cache>/edge_fiqa/openvino-<version>/<bundle>/body-01-01-b4-<digest>.model

The digest is of everything that the compiled form depends on. Where nothing can be kept, or others
may write, models are compiled at every start, and one line says so.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.bundle.manifest import WEIGHTS
from edge_fiqa.files import cache_folder
from edge_fiqa.kept import kept_or_none, why_not_kept, write_kept
from edge_fiqa.types import Segment

log = logging.getLogger("edge_fiqa.engines")


class CompiledModel(NamedTuple):
    """Which compiled model. settings: all that it depends on beside the segment and the batch size:
    the processor, the library's properties, changes to the graph."""

    segment: Segment
    batch: int
    settings: Mapping[str, Any]


class CompiledModels:
    """The compiled models of one bundle. compiler: library and version, which name the folder."""

    def __init__(self, bundle: Bundle, compiler: str) -> None:
        self._files = bundle.manifest.files
        self._names = bundle.file_names
        name = re.sub(r"[^A-Za-z0-9.]+", "_", bundle.manifest.name).strip("_.")[:40] or "_"
        self.folder = cache_folder(compiler) / name
        self.keeps = _keeps(self.folder)

    def read(self, model: CompiledModel) -> bytes | None:
        """The compiled model, or None: then it is to be compiled."""
        return kept_or_none(self._path(model), self._label(model)) if self.keeps else None

    def write(self, model: CompiledModel, data: bytes) -> None:
        """Keep it, if possible. On a full disk, the next start compiles again."""
        if not os.access(self.folder, os.W_OK):
            return
        path = self._path(model)
        try:
            write_kept(path, data, self._label(model))
        except OSError as exc:
            self.keeps = False  # one line, not one for every model
            log.warning("%s: %s; compiled models are not kept", path, exc.strerror)

    def refuse(self, model: CompiledModel, reason: object) -> None:
        """The library could not load what was read."""
        log.warning("%s cannot be loaded (%s): it is made again", self._path(model), reason)

    def _label(self, model: CompiledModel) -> str:
        graph = self._files[self._names[model.segment]]
        settings = sorted((name, repr(value)) for name, value in model.settings.items())
        return repr((model.segment.name, model.batch, graph, self._files.get(WEIGHTS), settings))

    def _path(self, model: CompiledModel) -> Path:
        digest = hashlib.sha256(self._label(model).encode()).hexdigest()[:16]
        return self.folder / f"{model.segment.name}-b{model.batch}-{digest}.model"


@functools.cache
def _keeps(folder: Path) -> bool:
    """Whether compiled models are kept there. One line in the log where others may write there."""
    reason = why_not_kept(folder)
    if reason is not None and folder.is_dir():  # else a user without a home, or a read-only one
        log.warning("compiled models are not kept: %s, or set EDGE_FIQA_CACHE", reason)
    return reason is None
