"""One segment at one batch size, deserialised and ready: addresses, enqueue, CUDA graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_fiqa.engines.trt.api import Log, need
from edge_fiqa.engines.trt.compiled_kernels import CompiledKernels
from edge_fiqa.engines.trt.device import CudaDevice
from edge_fiqa.engines.trt.graphs import CudaGraphs
from edge_fiqa.engines.trt.scratch import Scratch
from edge_fiqa.errors import EngineFailed

OUTPUTS = {"scores", "tokens_out", "causes"}  # only the first is in every segment
WARM_UP = 2  # plain runs before a capture: the first does lazy work, which must not be captured


class Context:
    """One execution context with fixed shapes and addresses, and its graph once captured.

    A captured graph freezes all of that and the context's state, so every set of addresses has a
    context of its own; with shared scratch memory a context is small.
    """

    def __init__(self, segment: LoadedSegment, addresses: Mapping[str, int]) -> None:
        self._segment, self._runs, self._generation = segment, 0, -1
        self._graph: Any = None
        self._capturable = segment.graphs is not None
        log = segment.log
        self._context = context = segment.make_context()
        if segment.dynamic:
            shape = (segment.batch, *segment.face_shape)
            what = f"refuses the shape {shape}"
            need(log, what, context.set_input_shape, segment.input_name, shape)
        for name, address in addresses.items():
            what = f"refuses the address of {name}"
            need(log, what, context.set_tensor_address, name, address)

    def enqueue(self) -> None:
        segment = self._segment
        self._bind()
        if self._graph is not None:
            assert segment.graphs is not None
            segment.graphs.launch(self._graph)
            return
        if self._capturable and self._runs >= WARM_UP and segment.graphs is not None:
            segment.device.synchronise()
            self._graph = segment.graphs.capture(self._execute)
            if self._graph is not None:
                segment.graphs.launch(self._graph)
                return
            self._capturable = False  # from now on it is enqueued kernel by kernel
        need(segment.log, f"cannot enqueue {segment.name}", self._execute)
        self._runs += 1
        if self._runs == WARM_UP:
            segment.keep_compiled()  # what its shape needed is compiled by now

    def _bind(self) -> None:
        """Give it the scratch memory, which may have moved since its last run."""
        scratch = self._segment.scratch
        if self._generation != scratch.generation:
            self.drop_graph()
            self._context.set_device_memory(scratch.address, scratch.size)
            self._generation, self._runs = scratch.generation, 0

    def _execute(self) -> bool:
        """Enqueue its kernels, whether or not the stream is capturing. False: TensorRT refused."""
        return bool(self._context.execute_async_v3(self._segment.device.handle))

    def drop_graph(self) -> None:
        if self._graph is not None and self._segment.graphs is not None:
            self._segment.graphs.destroy(self._graph)
        self._graph = None


class LoadedSegment:
    """A deserialised plan and its contexts. causes: how many logits of causes it gives, or 0."""

    def __init__(
        self,
        name: str,
        engine: Any,
        batch: int,
        device: CudaDevice,
        scratch: Scratch,
        graphs: CudaGraphs | None,
        log: Log,
        kernels: CompiledKernels | None = None,
    ) -> None:
        self.name, self.engine, self.batch = name, engine, batch
        self.device, self.scratch, self.graphs, self.log = device, scratch, graphs, log
        self._contexts: dict[tuple[int | None, ...], Context] = {}
        self._kernels = kernels
        self._inspect()
        scratch.ensure(int(engine.device_memory_size_v2))
        if kernels is not None:
            kernels.context(engine)  # compiles them now, and not when the first face waits

    def make_context(self) -> Any:
        """An execution context over scratch memory that is given to it."""
        if self._kernels is not None:
            return self._kernels.context(self.engine)
        strategy = self.log.api.module.ExecutionContextAllocationStrategy.USER_MANAGED
        create = self.engine.create_execution_context
        return need(self.log, "cannot make a context", create, strategy)

    def keep_compiled(self) -> None:
        if self._kernels is not None:
            self._kernels.save()

    def enqueue(
        self, source: int, scores: int, tokens_out: int | None, causes: int | None = None
    ) -> None:
        """Run on the stream, from and to these device addresses."""
        key = (source, scores, tokens_out, causes)
        context = self._contexts.get(key)
        if context is None:
            outputs = {"scores": scores, "tokens_out": tokens_out, "causes": causes}
            given = {name: address for name, address in outputs.items() if address is not None}
            context = self._contexts[key] = Context(self, {self.input_name: source, **given})
        context.enqueue()

    def close(self) -> None:
        for context in self._contexts.values():
            context.drop_graph()
        self._contexts.clear()
        self.engine = None

    def _inspect(self) -> None:
        """Check that the plan has the tensors that the runtime will feed, as it will feed them."""
        engine, module = self.engine, self.log.api.module
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == module.TensorIOMode.INPUT]
        outputs = set(names) - set(inputs)
        if len(inputs) != 1 or not {"scores"} <= outputs <= OUTPUTS:
            raise EngineFailed(f"the plan of {self.name} has tensors {', '.join(names)}")
        self.input_name = inputs[0]
        self.causes = int(engine.get_tensor_shape("causes")[1]) if "causes" in outputs else 0
        shape = tuple(engine.get_tensor_shape(self.input_name))
        self.face_shape, self.dynamic = shape[1:], shape[0] < 0
        for name in names:
            self._inspect_tensor(name)

    def _inspect_tensor(self, name: str) -> None:
        engine, module = self.engine, self.log.api.module
        expected = module.DataType.UINT8 if name == "image" else module.DataType.FLOAT
        if engine.get_tensor_dtype(name) != expected:
            raise EngineFailed(f"the plan of {self.name} has {name} in another type")
        if engine.get_tensor_format(name) != module.TensorFormat.LINEAR:
            raise EngineFailed(f"the plan of {self.name} has {name} in another layout")
        if engine.get_tensor_location(name) != module.TensorLocation.DEVICE:
            raise EngineFailed(f"the plan of {self.name} wants {name} on the host")
        batch = engine.get_tensor_shape(name)[0]
        if batch not in (-1, self.batch):
            raise EngineFailed(f"the plan of {self.name} takes {batch} faces, not {self.batch}")
