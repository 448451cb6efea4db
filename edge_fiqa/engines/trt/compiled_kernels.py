"""Kernels that TensorRT for RTX compiled for this device when it loaded a plan, kept in a file.

The library checks a file of before against the device, the driver and its own version, and refuses
one that does not fit: then it compiles again, and the file is written anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_fiqa.engines.trt.api import Api, Log, logger, need
from edge_fiqa.kept import kept_or_none, write_kept


class CompiledKernels:
    """Those of all plans of one engine. path: where they are kept, if that can be written.

    The library wants it to outlive every context that it made.
    """

    def __init__(self, path: Path, api: Api, log: Log) -> None:
        self._path, self._api, self._log = path, api, log
        self._cache: Any = None
        self._saved_bytes = 0

    def context(self, engine: Any) -> Any:
        """An execution context over scratch memory that is given to it."""
        module, log = self._api.module, self._log
        config = need(log, "cannot make a runtime configuration", engine.create_runtime_config)
        strategy = module.ExecutionContextAllocationStrategy.USER_MANAGED
        config.set_execution_context_allocation_strategy(strategy)
        # A captured graph keeps the kernels that it met: they must be those for its shape by then.
        eager = module.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        if self._cache is None:
            self._cache = self._read(config)
        need(log, "refuses the cache of kernels", config.set_runtime_cache, self._cache)
        return need(log, "cannot make a context", engine.create_execution_context, config)

    def _read(self, config: Any) -> Any:
        cache = need(self._log, "cannot make a cache of kernels", config.create_runtime_cache)
        data = kept_or_none(self._path, self._path.name)
        if data is not None and cache.deserialize(data):
            self._saved_bytes = len(data)
        elif data is not None:
            logger.info("%s: does not fit; kernels are compiled again", self._path)
        return cache

    def save(self) -> None:
        """Write them, whole or not at all, where there are more than in the file."""
        data = None if self._cache is None else self._cache.serialize()
        if data is None or len(blob := bytes(data)) == self._saved_bytes:
            return
        try:
            write_kept(self._path, blob, self._path.name)
            self._saved_bytes = len(blob)
        except OSError as exc:
            logger.info("%s: %s; kernels are compiled again next time", self._path, exc.strerror)
