"""A CUDA device made of host memory, as PyCUDA and the driver library show it. Strict where they are.

Work is enqueued and runs when the stream is synchronised, so that reading a result too early reads
old bytes. Memory is checked when it is used: freed, foreign or too small is an illegal address.
"""

import ctypes
import struct
import threading
import types

import numpy as np

from .graphs import FUNCTIONS, Driver


class Crash(BaseException):
    """Where the real library would take the process down."""


class World:
    """One machine. sm, integrated, cuda: of its device. ptx: whether its driver takes our PTX.

    capturable: whether segments can be captured. complaints: what the real libraries print.
    """

    def __init__(
        self, *, devices=1, sm=(8, 7), integrated=False, cuda=12060, ptx=True, capturable=True,
        memory=1 << 30, name="Orin",
    ):  # fmt: skip
        self.devices, self.sm, self.integrated, self.cuda = devices, sm, integrated, cuda
        self.ptx, self.capturable, self.memory, self.name = ptx, capturable, memory, name
        self.initialised = False
        self.live = {}  # address -> (size, kind)
        self.streams, self.graphs = {}, {}
        self.complaints, self.events = [], []
        self.on_step = lambda phase, step: None  # called before each step of a build is done
        self.refusing = False  # segments are not enqueued
        self.no_streams = False
        self.pushed = 0  # contexts in use, on all threads
        self.broken = False  # every call fails from now on, as after an illegal access
        self.lock = threading.RLock()
        self._contexts = threading.local()
        self._next = 0x10

    @property
    def stack(self):
        if not hasattr(self._contexts, "stack"):
            self._contexts.stack = []
        return self._contexts.stack

    def number(self):
        with self.lock:
            self._next += 0x10
            return self._next

    def place(self, size, kind):
        """Host memory of `size` bytes, aligned to 512. Returns the address and what owns it."""
        owner = np.full(size + 512, 0xCD, np.uint8)
        address = (owner.ctypes.data + 511) // 512 * 512
        with self.lock:
            self.live[address] = (size, kind)
        return address, owner

    def forget(self, address):
        with self.lock:
            del self.live[address]

    def view(self, address, size, kinds=("device", "mapped")):
        """The bytes at an address that the device can reach, as an array."""
        with self.lock:
            for start, (length, kind) in self.live.items():
                if start <= address and address + size <= start + length and kind in kinds:
                    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)
        raise IllegalAddressError(f"an illegal memory access: {size} bytes at {address:#x}")

    def used(self):
        return sum(size for size, kind in self.live.values() if kind == "device")


class IllegalAddressError(Exception):
    pass


class Queue:
    """What a stream has to do."""

    def __init__(self, thread):
        self.thread, self.work, self.capture = thread, [], None

    def add(self, operation):
        (self.work if self.capture is None else self.capture).append(operation)

    def drain(self):
        work, self.work = self.work, []
        for operation in work:
            operation()


def pycuda_driver(world):
    """The module pycuda.driver of this world."""
    module = types.ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    errors = {
        name: type(name, (Error,), {})
        for name in ("LogicError", "RuntimeError", "MemoryError", "LaunchError")
    }
    logic = errors["LogicError"]

    def here():
        if not world.initialised:
            raise logic("not initialized")
        if not world.stack:
            raise logic(
                "explicit_context_dependent failed: invalid device context - no active context?"
            )

    def owned(thread):
        if thread != threading.get_ident():
            raise logic("cannot activate out-of-thread context")
        here()

    def sound():
        if world.broken:
            raise errors["LaunchError"]("unspecified launch failure")

    def quiet():
        for queue in world.streams.values():
            if queue.capture is not None and queue.thread == threading.get_ident():
                raise logic("operation not permitted when stream is capturing")

    def init(flags=0):
        if not world.devices:
            raise errors["RuntimeError"]("cuInit failed: no CUDA-capable device is detected")
        world.initialised = True

    class Device:
        def __init__(self, number):
            if not world.initialised or number >= world.devices:
                raise logic("invalid device ordinal")

        @staticmethod
        def count():
            return world.devices

        def name(self):
            return world.name

        def compute_capability(self):
            return world.sm

        def get_attribute(self, attribute):
            return {"INTEGRATED": int(world.integrated)}[attribute]

        def retain_primary_context(self):
            return Context()

    class Context:
        def push(self):
            world.pushed += 1
            world.stack.append(self)

        @staticmethod
        def pop():
            here()
            world.pushed -= 1
            world.stack.pop()

    class Stream:
        def __init__(self, flags=0):
            here()
            if world.no_streams:
                raise errors["MemoryError"]("cuStreamCreate failed: out of memory")
            self.handle, self._thread = world.number(), threading.get_ident()
            self._queue = world.streams[self.handle] = Queue(self._thread)
            if flags != 1:
                world.complaints.append("a stream that the legacy default stream waits for")

        def synchronize(self):
            owned(self._thread)
            quiet()
            sound()
            try:
                self._queue.drain()
            except IllegalAddressError as exc:
                raise errors["LaunchError"](f"cuStreamSynchronize failed: {exc}") from exc

        def __del__(self):
            if not world.stack and hasattr(self, "handle"):
                world.complaints.append("a stream outlived its context")

    class Event:
        def __init__(self, flags=0):
            here()
            self._thread, self._ticks = threading.get_ident(), None

        def record(self, stream=None):
            owned(self._thread)
            stream._queue.add(lambda: setattr(self, "_ticks", world.number()))

        def time_since(self, other):
            if self._ticks is None or other._ticks is None:
                raise logic("cuEventElapsedTime failed: device not ready")
            return float(self._ticks - other._ticks) / 1e3

    class DeviceAllocation:
        def __init__(self, size):
            self._address, self._owner = world.place(size, "device")
            self._thread, self._freed = threading.get_ident(), False

        def __int__(self):
            return self._address

        def free(self):
            owned(self._thread)
            if world.broken:
                self._freed = True
                world.forget(self._address)
            sound()
            if self._freed:
                raise logic("device_allocation::free failed: invalid argument")
            self._freed = True
            world.forget(self._address)

        def __del__(self):
            if not getattr(self, "_freed", True):
                world.complaints.append("device memory was left to the garbage collector")

    def mem_alloc(size):
        here()
        sound()
        quiet()
        if world.used() + size > world.memory:
            raise errors["MemoryError"]("cuMemAlloc failed: out of memory")
        return DeviceAllocation(size)

    def mem_get_info():
        here()
        return world.memory - world.used(), world.memory

    class PagelockedHostAllocation:
        def __init__(self, shape, dtype, mapped):
            here()
            dtype = np.dtype(dtype)
            self._kind = "mapped" if mapped else "pinned"
            self._address, self._owner = world.place(
                int(np.prod(shape)) * dtype.itemsize, self._kind
            )
            self.__array_interface__ = {
                "shape": tuple(shape), "typestr": dtype.str, "data": (self._address, False),
                "version": 3,
            }  # fmt: skip

        def get_device_pointer(self):
            if self._kind != "mapped":
                raise logic("cuMemHostGetDevicePointer failed: invalid argument")
            return self._address

        def __del__(self):
            world.forget(self._address)
            if not world.stack:
                world.complaints.append("pinned memory outlived its context")

    def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
        return np.asarray(PagelockedHostAllocation(shape, dtype, bool(mem_flags & 2)))

    def enqueue(stream, operation):
        owned(stream._thread)
        sound()
        stream._queue.add(operation)

    def pinned(array):
        try:
            return world.view(array.ctypes.data, array.nbytes, ("pinned", "mapped"))
        except IllegalAddressError:
            raise AssertionError("the host side of an asynchronous copy must be pinned") from None

    def memcpy_htod_async(dest, src, stream=None):
        enqueue(stream, lambda: np.copyto(world.view(int(dest), src.nbytes), pinned(src)))

    def memcpy_dtoh_async(dest, src, stream=None):
        enqueue(stream, lambda: np.copyto(pinned(dest), world.view(int(src), dest.nbytes)))

    def memcpy_dtod_async(dest, src, size, stream=None):
        enqueue(stream, lambda: np.copyto(world.view(int(dest), size), world.view(int(src), size)))

    def memset_d8_async(dest, data, size, stream=None):
        enqueue(stream, lambda: world.view(int(dest), size).fill(data))

    class Function:
        def prepare(self, arg_types, texrefs=()):
            self._format = arg_types
            return self

        def prepared_async_call(self, grid, block, stream, *args, shared_size=0):
            packed = struct.pack(self._format, *args)
            assert np.prod(block) <= 1024
            assert len(grid) in (2, 3)
            source, target, rows, words = struct.unpack("PP64sI", packed)
            assert grid[0] * block[0] >= words, "the grid does not cover a row"
            assert (grid[0] - 1) * block[0] < words, "the grid is larger than needed"

            def gather():
                for place in range(grid[1]):
                    moved = world.view(source + rows[place] * words * 4, words * 4).copy()
                    world.view(target + place * words * 4, words * 4)[:] = moved

            enqueue(stream, gather)
            world.events.append("kernel")

    class Module:
        def __init__(self, text):
            self._text = text

        def get_function(self, name):
            if f".entry {name}(".encode() not in self._text:
                raise logic("cuModuleGetFunction failed: named symbol not found")
            return Function()

    def module_from_buffer(buffer):
        here()
        quiet()
        if not buffer.endswith(b"\0"):
            raise AssertionError("PTX must end with a zero")
        if not world.ptx:
            raise logic(
                "cuModuleLoadDataEx failed: the provided PTX was compiled with an unsupported toolchain"
            )
        return Module(buffer)

    def get_driver_version():
        return world.cuda

    module.__dict__.update(
        errors, Error=Error, init=init, Device=Device, Context=Context, Stream=Stream, Event=Event,
        DeviceAllocation=DeviceAllocation, mem_alloc=mem_alloc, mem_get_info=mem_get_info,
        pagelocked_empty=pagelocked_empty, memcpy_htod_async=memcpy_htod_async,
        memcpy_dtoh_async=memcpy_dtoh_async, memcpy_dtod_async=memcpy_dtod_async,
        memset_d8_async=memset_d8_async, module_from_buffer=module_from_buffer,
        get_driver_version=get_driver_version,
        host_alloc_flags=types.SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4),
        device_attribute=types.SimpleNamespace(INTEGRATED="INTEGRATED"),
    )  # fmt: skip
    return module


class Symbol:
    """A function of a library loaded by ctypes: nothing is right until its types are declared."""

    def __init__(self, call, arity):
        self._call, self._arity = call, arity
        self.argtypes = self.restype = None

    def __call__(self, *arguments):
        assert self.argtypes is not None, "without argtypes, pointers are cut to 32 bits"
        assert len(self.argtypes) == len(arguments) == self._arity
        for kind, value in zip(self.argtypes, arguments, strict=True):
            if kind is ctypes.c_void_p:
                assert value is None or isinstance(value, ctypes.c_void_p)
        return self._call(*arguments)


class Libcuda(Driver):
    """libcuda.so.1: graphs of what streams enqueue."""

    def __init__(self, world):
        super().__init__(world)
        for name, arity in FUNCTIONS.items():
            setattr(self, name, Symbol(getattr(self, f"_{name}"), arity))

    def _cuInit(self, flags):  # noqa: N802
        return 0 if self._world.devices else 100
