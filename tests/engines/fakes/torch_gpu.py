"""A CUDA device made of host memory, for the torch engine. Strict where streams and captures are.

torch's own operators run, on the CPU, but late: what is called on the device's tensors is recorded
and runs in order when the stream is waited for. Whoever reads a result before that finds NaN, and
whoever writes to pinned memory too early changes what is copied. A capture records in the same way
and runs nothing; a replay runs the record again, on the same tensors, with the same Python values.
Memory of a graph holds NaN once it has run, as graphs that share a pool overwrite each other's.
"""

import contextlib
import functools
import inspect
import threading

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
READS_VALUES = {  # the host needs the result, or the result's shape depends on values
    aten.item.default, aten._local_scalar_dense.default, aten.is_nonzero.default,
    aten.nonzero.default, aten.equal.default, aten.masked_select.default, aten.index.Tensor,
}  # fmt: skip
TO_HOST = {
    torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.__array__,
    torch.Tensor.item, torch.Tensor.__bool__, torch.Tensor.__float__, torch.Tensor.__int__,
}  # fmt: skip


class Gpu:
    """One device, to be used by one engine (`edge_fiqa.engines.torch_.device.Device`).

    capturable: whether captures are accepted. memory: bytes, before it says that there are none
    left. Counted: waits of the host, allocations outside captures, replays, operators run.
    """

    name = "made up"

    def __init__(self, *, capturable=True, memory=None):
        self.capturable, self.memory = capturable, memory
        self.waits = self.allocations = self.replays = self.operators = 0
        self.captured = []  # the number of operators in each graph
        self.held = self.pinned_bytes = 0
        self._kinds = {}  # address -> the storage that was there, "device" or "pinned"
        self._owners = []
        self._queue, self._capture, self._broken = [], None, False
        self._inside = threading.local()

    # ---- what the engine uses

    @contextlib.contextmanager
    def working(self):
        with torch.inference_mode(), self.on_stream():
            yield

    @contextlib.contextmanager
    def on_stream(self):
        with _Reads(self), _Operators(self):
            self._inside.now = True
            try:
                yield
            finally:
                self._inside.now = False

    def put(self, tensor):
        self._not_captured("a copy of pageable memory")
        return self._own(tensor.clone(memory_format=torch.contiguous_format), "device")

    def allocate(self, shape, dtype):
        self._not_captured("an allocation outside the pool")
        return self._own(torch.zeros(shape, dtype=dtype), "device")

    def pinned(self, shape, dtype):
        self._not_captured("an allocation of pinned memory")
        return self._own(torch.zeros(shape, dtype=dtype), "pinned")

    def event(self):
        return _Event(self)

    def capture(self, work):
        self.begin_capture()
        try:
            work()
        except BaseException:
            self._capture = None
            raise
        return self.end_capture()

    def begin_capture(self):
        self._not_captured("a capture")
        if not self.capturable:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\n...")
        self._capture, self._broken = [], False

    def end_capture(self):
        record, self._capture = self._capture, None
        if self._broken:
            raise RuntimeError(
                "CUDA error: operation failed due to a previous error during capture"
            )
        self.captured.append(len(record))
        return _Graph(self, record)

    def synchronise(self):
        self._not_captured("waiting for the stream")
        self.waits += 1
        self.drain()

    def memory_mb(self):
        return 1, 8192

    def release(self):
        """Memory is the engine's until it lets go of it: what is left after that was leaked."""
        self._owners.clear()
        self._queue.clear()

    # ---- what tests use

    @contextlib.contextmanager
    def watched(self):
        """Refuse work on the device's tensors that is not on its stream."""
        with _Operators(self):
            yield

    def drain(self, until=None):
        """Run what was enqueued, or the first `until` of it."""
        with _disable_current_modes(), torch.inference_mode():
            while self._queue and until != 0:
                self._queue.pop(0)()
                until = None if until is None else until - 1

    def live(self):
        """Storages on the device that somebody still holds."""
        return sum(not storage.expired() for storage, _ in self._kinds.values())

    # ---- operators

    def kind(self, tensor):
        storage, kind = self._kinds.get(tensor.untyped_storage().data_ptr(), (None, "host"))
        return "host" if storage is None or storage.expired() else kind

    def _mark(self, tensor, kind):
        storage = tensor.untyped_storage()
        self._kinds[storage.data_ptr()] = StorageWeakRef(storage), kind

    def operate(self, function, args, kwargs):
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        kinds = {self.kind(tensor) for tensor in tensors}
        if "device" not in kinds:
            return function(*args, **kwargs)
        if not getattr(self._inside, "now", False):
            raise RuntimeError(f"{function} on another stream than the engine's")
        if function is aten.copy_.default and kinds != {"device"}:
            return self._across(function, args, kwargs, kinds)
        if kinds != {"device"}:
            raise RuntimeError(f"{function}: expected all tensors to be on the same device")
        if function in READS_VALUES:
            self._not_captured(f"{function}, whose result the host waits for,")
            self.synchronise()
            return function(*args, **kwargs)
        if function._schema.is_mutable:
            self._enqueue(lambda: function(*args, **kwargs))
            return self._written(function, args, kwargs)
        return self._fresh(function, args, kwargs, tensors)

    def _across(self, function, args, kwargs, kinds):
        asynchronous = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        self._not_captured("a copy between host and device")
        if "host" in kinds or not asynchronous:
            self.synchronise()
            return function(*args, **kwargs)
        self._enqueue(lambda: function(*args, **kwargs))
        return args[0]

    def _written(self, function, args, kwargs):
        names = [argument.name for argument in function._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        found = [
            given[argument.name]
            for argument in function._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        return found[0] if len(found) == 1 else tuple(found)

    def _fresh(self, function, args, kwargs, tensors):
        """A view is what it is; anything else gets its values later."""
        result = function(*args, **kwargs)
        inputs = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        outputs = [x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]
        if all(x.untyped_storage().data_ptr() in inputs for x in outputs):
            return result
        if self._capture is None:
            self.allocations += len(outputs)
        for output in outputs:
            self._mark(output, "device")
            poison(output)
        self._limit(sum(output.untyped_storage().nbytes() for output in outputs))

        def run():
            values = tree_flatten(function(*args, **kwargs))[0]
            for output, value in zip(outputs, values, strict=True):
                output.copy_(value)

        self._enqueue(run, outputs)
        return tree_map(lambda x: x, result)

    def _enqueue(self, run, made=()):
        self.operators += 1
        if self._capture is not None:
            self._capture.append((run, made))
        else:
            self._queue.append(run)

    def _not_captured(self, what):
        if self._capture is not None:
            self._broken = True
            raise RuntimeError(f"CUDA error: {what} is not permitted when stream is capturing\n...")

    def _own(self, tensor, kind):
        self._mark(tensor, kind)
        self._owners.append(tensor)
        if kind == "pinned":
            self.pinned_bytes += tensor.nbytes
        else:
            self.held += tensor.nbytes
            self._limit(0)
        return tensor

    def _limit(self, more):
        if self.memory is not None and self.held + more > self.memory:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...\n...")


class _Graph:
    def __init__(self, gpu, record):
        self._gpu, self._record = gpu, record

    def replay(self):
        self._gpu._not_captured("a replay")
        if self._record is None:
            raise RuntimeError("replay of a graph that was reset")
        self._gpu.replays += 1
        for run, _ in self._record:
            self._gpu._queue.append(run)
        made = [tensor for _, outputs in self._record for tensor in outputs]
        self._gpu._queue.append(lambda: [poison(tensor) for tensor in made])

    def reset(self):
        self._record = None


class _Event:
    def __init__(self, gpu):
        self._gpu, self._reached = gpu, True

    def record(self):
        self._gpu._not_captured("an event")
        self._reached = False
        self._gpu._queue.append(self._reach)

    def _reach(self):
        self._reached = True

    def synchronize(self):
        self._gpu._not_captured("waiting for an event")
        while not self._reached:
            self._gpu.drain(until=1)


class _Operators(TorchDispatchMode):
    def __init__(self, gpu):
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return self._gpu.operate(function, args, kwargs or {})


class _Reads(TorchFunctionMode):
    """Ways between host and device that no operator shows, as everything is on the host already."""

    def __init__(self, gpu):
        super().__init__()
        self._gpu = gpu

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in TO_HOST and self._gpu.kind(args[0]) == "device":
            self._gpu._not_captured(f"{function.__name__}()")
            raise TypeError(f"{function.__name__}() of a device tensor makes the host wait")
        if function is torch.zeros and kwargs.get("pin_memory"):
            return self._gpu.pinned(args[0], kwargs["dtype"])
        if function is torch.zeros and on_cuda(kwargs.get("device")):
            return self._gpu.allocate(args[0], kwargs["dtype"])
        if function is torch.Tensor.to and on_cuda(args[1]):
            return self._gpu.put(args[0])
        return function(*args, **kwargs)


def on_cuda(device):
    return isinstance(device, torch.device) and device.type == "cuda"


def install(monkeypatch, gpu):
    """Make torch.cuda show this device. Calls must fit the signatures of the real functions."""

    def checked(owner, name, function):
        signature = inspect.signature(getattr(owner, name))

        @functools.wraps(function)
        def call(*args, **kwargs):
            signature.bind(*args, **kwargs)
            return function(*args, **kwargs)

        return call

    cuda = torch.cuda
    functions = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "get_device_name": lambda device: gpu.name,
        "mem_get_info": lambda device: tuple(mb << 20 for mb in gpu.memory_mb()),
        "graph_pool_handle": lambda: (0, 1),
        "empty_cache": lambda: gpu.release(),
        "stream": lambda stream: stream.current(),
    }
    classes = {
        "Stream": {"synchronize": lambda stream: gpu.synchronise()},
        "Event": {
            "record": lambda event: event.place.record(),
            "synchronize": lambda event: event.place.synchronize(),
        },
        "CUDAGraph": {
            "capture_begin": lambda graph, pool, capture_error_mode: gpu.begin_capture(),
            "capture_end": lambda graph: setattr(graph, "work", gpu.end_capture()),
            "replay": lambda graph: graph.work.replay(),
            "reset": lambda graph: graph.work.reset(),
        },
    }
    own = {
        "Stream": {
            "__init__": lambda stream, device: None,
            "current": lambda stream: gpu.on_stream(),
        },
        "Event": {"__init__": lambda event: setattr(event, "place", gpu.event())},
        "CUDAGraph": {},
    }
    made = {
        name: type(
            name,
            (),
            own[name] | {key: checked(getattr(cuda, name), key, f) for key, f in methods.items()},
        )
        for name, methods in classes.items()
    }
    for name, function in functions.items():
        monkeypatch.setattr(cuda, name, checked(cuda, name, function))
    for name, made_class in made.items():
        monkeypatch.setattr(cuda, name, made_class)


def poison(tensor):
    with _disable_current_modes(), torch.inference_mode():
        tensor.fill_(float("nan") if tensor.is_floating_point() else 99)
