"""One segment at one batch size, deserialised and ready: addresses, enqueue, CUDA graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_fiqa.engines.trt.api import Log, need, trt
from edge_fiqa.engines.trt.device import CudaDevice
from edge_fiqa.engines.trt.graphs import CudaGraphs
from edge_fiqa.engines.trt.scratch import Scratch
from edge_fiqa.errors import EngineFailed

WARM_UP = 2  # plain runs before a capture: the first does lazy work, which must not be captured


class Context:
    """One execution context with fixed shapes and addresses, and its graph once captured.

    A captured graph freezes all of that and the context's state, so every set of addresses has a
    context of its own; with shared scratch memory a context is small.
    """

    def __init__(self, stage: LoadedSegment, addresses: Mapping[str, int]) -> None:
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._stage, self._runs, self._generation = stage, 0, -1
        self._graph: Any = None
        self._capturable = stage.graphs is not None
        log = stage.log
        self._context = need(
            stage.engine.create_execution_context(strategy), "cannot make a context", log
        )
        if stage.dynamic:
            shape = (stage.batch, *stage.entry_shape)
            need(
                self._context.set_input_shape(stage.entry, shape), f"refuses the shape {shape}", log
            )
        for name, address in addresses.items():
            need(
                self._context.set_tensor_address(name, address),
                f"refuses the address of {name}",
                log,
            )

    def enqueue(self) -> None:
        stage = self._stage
        self._bind()
        if self._graph is not None:
            assert stage.graphs is not None
            stage.graphs.launch(self._graph)
            return
        if self._capturable and self._runs >= WARM_UP and stage.graphs is not None:
            stage.device.synchronise()
            self._graph = stage.graphs.capture(self._execute)
            if self._graph is not None:
                stage.graphs.launch(self._graph)
                return
            self._capturable = False  # it said no: it is enqueued call by call from now on
            stage.log.take()
        need(self._execute(), f"cannot enqueue {stage.name}", stage.log)
        self._runs += 1

    def _bind(self) -> None:
        """Give it the scratch memory, wherever that is by now."""
        scratch = self._stage.scratch
        if self._generation != scratch.generation:
            self.drop_graph()
            self._context.set_device_memory(scratch.address, scratch.size)
            self._generation, self._runs = scratch.generation, 0

    def _execute(self) -> bool:
        """Enqueue its kernels, whether or not the stream is capturing. False: TensorRT refused."""
        return bool(self._context.execute_async_v3(self._stage.device.handle))

    def drop_graph(self) -> None:
        if self._graph is not None and self._stage.graphs is not None:
            self._stage.graphs.destroy(self._graph)
        self._graph = None


class LoadedSegment:
    """A deserialised plan and its contexts."""

    def __init__(
        self,
        name: str,
        engine: Any,
        batch: int,
        device: CudaDevice,
        scratch: Scratch,
        graphs: CudaGraphs | None,
        log: Log,
    ) -> None:
        self.name, self.engine, self.batch = name, engine, batch
        self.device, self.scratch, self.graphs, self.log = device, scratch, graphs, log
        self._contexts: dict[tuple[int, ...], Context] = {}
        self._inspect()
        scratch.ensure(int(engine.device_memory_size_v2))

    def enqueue(self, source: int, scores: int, tokens_out: int | None) -> None:
        """Run on the stream, from and to these device addresses."""
        key = (source, scores) if tokens_out is None else (source, scores, tokens_out)
        context = self._contexts.get(key)
        if context is None:
            addresses = {self.entry: source, "scores": scores}
            if tokens_out is not None:
                addresses["tokens_out"] = tokens_out
            context = self._contexts[key] = Context(self, addresses)
        context.enqueue()

    def close(self) -> None:
        for context in self._contexts.values():
            context.drop_graph()
        self._contexts.clear()
        self.engine = None

    def _inspect(self) -> None:
        """Check that the plan has the tensors that the runtime will feed, as it will feed them."""
        engine = self.engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        entries = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        exits = set(names) - set(entries)
        if len(entries) != 1 or not {"scores"} <= exits <= {"scores", "tokens_out"}:
            raise EngineFailed(f"the plan of {self.name} has tensors {', '.join(names)}")
        self.entry = entries[0]
        shape = tuple(engine.get_tensor_shape(self.entry))
        self.entry_shape, self.dynamic = shape[1:], shape[0] < 0
        for name in names:
            expected = trt.DataType.UINT8 if name == "image" else trt.DataType.FLOAT
            if engine.get_tensor_dtype(name) != expected:
                raise EngineFailed(f"the plan of {self.name} has {name} in another type")
            if engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
                raise EngineFailed(f"the plan of {self.name} has {name} in another layout")
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise EngineFailed(f"the plan of {self.name} wants {name} on the host")
            batch = engine.get_tensor_shape(name)[0]
            if batch not in (-1, self.batch):
                raise EngineFailed(f"the plan of {self.name} takes {batch} faces, not {self.batch}")
