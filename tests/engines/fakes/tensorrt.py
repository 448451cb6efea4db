"""A `tensorrt` module of one version, over ONNX Runtime: what that version's bindings offer, no more.

It does what TensorRT does when used wrongly: None, False, an error in the log, or a crash.
Whether a graph is taken and a plan comes of it, NVIDIA's own parser and builder say, where they are
installed (see `nvidia`); without them it is the parser's lists (see `operators`). Phases of a build are
those that were recorded of a real one. Only execution is made up.
"""

import json
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from . import nvidia
from .bfloat import rounded, uses_bfloat16
from .bindings import Member, make_class, make_enum
from .cuda import Crash, IllegalAddressError
from .operators import refusals

MAGIC = b"fake plan\n"
PHASES = json.loads(nvidia.PHASES_FILE.read_text(encoding="utf-8"))["events"]
CANCELLED = (
    "IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled (Build canceled by user In next at "
    "/_src/optimizer/common/scopedProgressReporter.cpp:92)"
)
TYPES = {onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.FLOAT: "FLOAT"}


def loaded(path, graph=None):
    """The model with its large constants, which lie beside the file."""
    if graph is None:
        return onnx.load(path)
    model = onnx.ModelProto.FromString(graph)
    onnx.load_external_data_for_model(model, str(Path(path).parent))
    return model


def judged(path, graph=None):
    """(taken, [(desc, node, name, operator)], what the log says) of a parser that reads this file."""
    if nvidia.library() is not None:
        return nvidia.parsed(path, graph)
    try:
        loaded(path, graph)
    except Exception as exc:
        desc = f"Assertion failed: model->ParseFromCodedStream(&codedInput): {exc}"
        return False, [(desc, -1, "", "")], [f"(deserializeOnnxModel): {desc}"]
    return True, [], []


def verdict(path, graph, shapes, config):
    """Errors of a real builder, of which there are none for what it does not know."""
    if nvidia.library() is None or "VERSION_COMPATIBLE" in config._flags:
        return []
    return nvidia.refused(path, graph, shapes, config._workspace)


def make_tensorrt(api, world):
    """The module. api: the extract of one version. world: the CUDA device it runs on."""
    module = types.ModuleType("tensorrt")
    module.__version__ = api["version"]
    members, enums = api["members"], {n: make_enum(n, m) for n, m in api["enums"].items()}
    kinds = {}

    def check(kind, value):
        kind = kind.split("::")[-1]
        if kind in enums:
            return any(value is member for member in enums[kind].members.values())
        if kind in ("int", "SupportsInt", "typing.SupportsInt"):
            return isinstance(value, (int, np.integer))
        if kind in ("buffer", "typing_extensions.Buffer"):
            return isinstance(value, (bytes, bytearray, memoryview))
        if kind == "Dims":
            return isinstance(value, (tuple, list, Dims)) and all(isinstance(n, int) for n in value)
        simple = {"str": str, "bool": bool, "tuple": tuple, "list": list}
        return isinstance(value, simple.get(kind, kinds.get(kind, ())))

    def current():
        if not world.initialised or not world.stack:
            raise Crash("SIGSEGV: TensorRT without a driver or a context")

    def say(log, text):
        log.log(enums["ILogger.Severity"].ERROR, text)

    def inited(thing, what):
        if not getattr(thing, "_inited", False):
            raise TypeError(f"{what}.__init__() must be called when overriding __init__")

    class Dims(tuple):
        __slots__ = ()

    class ILogger:
        def __init__(self):
            self._inited = True

        def log(self, severity, msg):
            raise NotImplementedError

    class IProgressMonitor:
        def __init__(self):
            self._inited = True

        def phase_start(self, phase_name, parent_phase, num_steps): ...

        def step_complete(self, phase_name, step): ...

        def phase_finish(self, phase_name): ...

    class IHostMemory:
        def __init__(self, data):
            self._data, self._nbytes = data, len(data)

        def __bytes__(self):
            return self._data

    class ITimingCache:
        def __init__(self, config, data):
            self._config, self._data = config, data

        def serialize(self):
            return kinds["IHostMemory"](self._data)

    class ITensor:
        def __init__(self, value):
            self._value = value
            self._name = value.name
            dims = value.type.tensor_type.shape.dim
            self._shape = Dims(d.dim_value or -1 for d in dims)

    class INetworkDefinition:
        def __init__(self, log):
            self._log, self._model, self._inputs = log, None, []
            self._path = self._graph = None

        def get_input(self, index):
            if not 0 <= index < len(self._inputs):
                say(self._log, "INetworkDefinition::getInput: Error Code 3: API Usage Error (...)")
                return None
            return self._inputs[index]

    class ParserError:
        def __init__(self, desc, node=-1, name="", operator=""):
            self._said = desc, node, name, operator

        def desc(self):
            return self._said[0]

        def node(self):
            return self._said[1]

        def node_name(self):
            return self._said[2]

        def node_operator(self):
            return self._said[3]

    class OnnxParser:
        def __init__(self, network, logger):
            inited(logger, "ILogger")
            self._network, self._logger, self._errors = network, logger, []

        def parse_from_file(self, model):
            return self._read(model, None)

        def parse(self, model, path=None):
            return self._read(path, bytes(model))

        def _read(self, path, graph):
            taken, errors, logged = judged(path, graph)
            self._errors += errors
            for text in logged:
                say(self._logger, text)
            if not taken:
                return False
            model = loaded(path, graph)
            for reason in refusals(model):  # of parsers before the one that is installed
                self._errors.append(("false", 0, "n", reason))
                say(self._logger, "ModelImporter.cpp:142: --- Begin node ---\nNode name: n")
                say(self._logger, "ModelImporter.cpp:143: --- End node ---")
            self._network._model, self._network._path, self._network._graph = model, path, graph
            self._network._inputs += [kinds["ITensor"](value) for value in model.graph.input]
            return not self._errors

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            if not 0 <= index < len(self._errors):
                say(self._logger, "vector::_M_range_check")
                return None
            return kinds["ParserError"](*self._errors[index])

    class IOptimizationProfile:
        def __init__(self):
            self._shapes = {}

        def set_shape(self, input, min, opt, max):
            self._shapes[input] = (tuple(min), tuple(opt), tuple(max))

    class IBuilderConfig:
        def __init__(self, log):
            self._log, self._flags, self._profiles = log, {"TF32"}, []
            self._workspace, self._capabilities = None, []
            self._cache = self._progress_monitor = None
            self._builder_optimization_level, self._max_aux_streams = 3, -1

        def set_memory_pool_limit(self, pool, pool_size):
            self._workspace = pool_size

        def set_flag(self, flag):
            self._flags.add(flag.name)

        def clear_flag(self, flag):
            self._flags.discard(flag.name)

        def add_optimization_profile(self, profile):
            """What lacks in it comes out at the build; only what contradicts itself comes out here."""
            for low, usual, high in profile._shapes.values():
                if not all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
                    say(self._log, "IOptimizationProfile::isValid: Error Code 4: API Usage Error")
                    return -1
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache):
            """Of what another version or device wrote it makes an empty one."""
            data, own = bytes(serialized_timing_cache), api["version"].encode()
            if data and not data.startswith(own + b"\n"):
                say(self._log, "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime")
                data = b""
            return kinds["ITimingCache"](self, data or own + b"\n")

        def set_timing_cache(self, cache, ignore_mismatch):
            self._cache = cache
            return True

        @property
        def num_compute_capabilities(self):
            return len(self._capabilities)

        @num_compute_capabilities.setter
        def num_compute_capabilities(self, count):
            self._capabilities = ["CURRENT"] * count

        def set_compute_capability(self, compute_capability, index):
            self._capabilities[index] = compute_capability.name
            return True

        def get_timing_cache(self):
            return self._cache

    class Builder:
        def __init__(self, logger):
            if api["enums"].get("ComputeCapability") is None:
                current()
            inited(logger, "ILogger")
            self._log = logger

        def create_network(self, flags=0):
            typed = 1 << int(enums["NetworkDefinitionCreationFlag"].STRONGLY_TYPED)
            if flags != typed:
                raise AssertionError(f"network flags {flags:b} are not those of strong typing")
            return kinds["INetworkDefinition"](self._log)

        def create_builder_config(self):
            return kinds["IBuilderConfig"](self._log)

        def create_optimization_profile(self):
            return kinds["IOptimizationProfile"]()

        def build_serialized_network(self, network, config):
            if not config._capabilities:
                current()
            entry = network._inputs[0]
            shapes = self._shapes(entry, config)
            if shapes is None:
                return None
            if config._cache is not None:
                world.events.append("hit" if b"timed" in config._cache._data else "miss")
            if not self._phases(config):
                say(self._log, CANCELLED)
                return None
            for text in verdict(network._path, network._graph, shapes, config):
                say(self._log, text)
                return None
            low, high = shapes[0][0], shapes[2][0]
            model = onnx.ModelProto.FromString(network._model.SerializeToString())
            if low == high:
                for value in [*model.graph.input, *model.graph.output]:
                    value.type.tensor_type.shape.dim[0].dim_value = high
            head = {
                "version": api["version"], "sm": list(world.sm), "low": low, "high": high,
                "flags": sorted(config._flags), "level": config.builder_optimization_level,
                "capabilities": config._capabilities, "name": Path(network._path).name,
            }  # fmt: skip
            world.events.append("build")
            body = model.SerializeToString()
            return kinds["IHostMemory"](MAGIC + json.dumps(head).encode() + b"\n" + body)

        def _shapes(self, entry, config):
            """(min, opt, max) of the input, or None where they are not known."""
            said = "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error "
            if next(iter(entry.shape)) >= 0:
                return (tuple(entry.shape),) * 3
            if not config._profiles:
                say(
                    self._log,
                    f"{said}(Network has dynamic or shape inputs, but no optimization ...",
                )
                return None
            if entry.name not in config._profiles[0]._shapes:
                say(
                    self._log, f"{said}(Dynamic input tensor {entry.name} is missing dimensions ..."
                )
                return None
            return config._profiles[0]._shapes[entry.name]

        def _phases(self, config):
            """Those of a real build, on the thread that builds. False if one of the steps said stop."""
            monitor = config._progress_monitor
            if monitor is None:
                return True
            inited(monitor, "IProgressMonitor")
            try:
                return all(self._phase(monitor, config, *event) for event in PHASES)
            except Exception as exc:  # the bindings print it, and the builder takes it for "stop"
                world.complaints.append(f"the progress monitor raised {exc!r}")
                return False

        def _phase(self, monitor, config, what, name, *numbers):
            if what == "start":
                monitor.phase_start(name, *numbers)
            elif what == "finish":
                monitor.phase_finish(name)
            else:
                for step in range(numbers[0], numbers[1] + 1):
                    if name == "Timing graph nodes" and config._cache is not None:
                        config._cache._data += b"timed\n"
                    world.on_step(name, step)
                    if not monitor.step_complete(name, step):
                        return False
            return True

    class Runtime:
        def __init__(self, logger):
            current()
            inited(logger, "ILogger")
            self._log, self._engine_host_code_allowed, self._lean = logger, False, False

        def load_runtime(self, path):
            try:
                Path(path).open().close()
            except OSError:
                say(self._log, f"cannot open {path}")
                return None
            runtime = kinds["Runtime"](self._log)
            runtime._lean = True
            return runtime

        def deserialize_cuda_engine(self, serialized_engine):
            current()
            if not serialized_engine.startswith(MAGIC):
                say(
                    self._log,
                    "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization "
                    "assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.)",
                )
                return None
            head, _, body = serialized_engine[len(MAGIC) :].partition(b"\n")
            head = json.loads(head)
            portable = "VERSION_COMPATIBLE" in head["flags"]
            if head["version"] != api["version"] and not portable:
                say(
                    self._log,
                    "The engine plan file is not compatible with this version of TensorRT",
                )
                return None
            if portable and not self._engine_host_code_allowed:
                say(self._log, "The engine contains host code and engine host code is not allowed")
                return None
            if "EXCLUDE_LEAN_RUNTIME" in head["flags"] and not self._lean:
                say(self._log, "The engine has no lean runtime")
                return None
            here = f"SM{world.sm[0]}{world.sm[1]}"
            fits = here in head["capabilities"] if head["capabilities"] else None
            if not (tuple(head["sm"]) == tuple(world.sm) if fits is None else fits):
                say(self._log, "The engine plan file is generated on an incompatible device")
                return None
            return kinds["ICudaEngine"](self._log, head, onnx.ModelProto.FromString(body))

    def freed(what):
        if not world.stack:
            world.complaints.append(f"{what} was freed without a context on its thread")

    class ICudaEngine:
        def __del__(self):
            freed("an engine")

        def __init__(self, log, head, model):
            self._log, self._head = log, head
            options = ort.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 4
            known = model
            if uses_bfloat16(model):
                known = rounded(model)  # without optimising, which would take rounding for a no-op
                options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            self._session = ort.InferenceSession(
                known.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            self._operators = [node.name for node in model.graph.node]
            self._tensors = {}
            for mode, values in (("INPUT", model.graph.input), ("OUTPUT", model.graph.output)):
                for value in values:
                    shape = [d.dim_value or -1 for d in value.type.tensor_type.shape.dim]
                    self._tensors[value.name] = (
                        mode,
                        shape,
                        TYPES[value.type.tensor_type.elem_type],
                    )
            self._num_io_tensors = len(self._tensors)
            self._device_memory_size_v2 = 1024 * head["high"] * len(model.graph.node)

        def _tensor(self, name):
            return self._tensors[name]

        def get_tensor_name(self, index):
            return list(self._tensors)[index]

        def get_tensor_mode(self, name):
            return getattr(enums["TensorIOMode"], self._tensors[name][0])

        def get_tensor_dtype(self, name):
            return getattr(enums["DataType"], self._tensors[name][2])

        def get_tensor_shape(self, name):
            return Dims(self._tensors[name][1])

        def get_tensor_format(self, name):
            return enums["TensorFormat"].LINEAR

        def get_tensor_location(self, name):
            return enums["TensorLocation"].DEVICE

        def create_execution_context(self, strategy=None):
            """A strategy, or a configuration: then kernels are compiled that its cache lacks."""
            current()
            if isinstance(strategy, kinds.get("IRuntimeConfig", ())):
                strategy._cache._compiled(self._head)
                strategy = strategy._strategy
            return kinds["IExecutionContext"](self, strategy)

        def create_engine_inspector(self):
            return kinds["EngineInspector"](self)

        def create_runtime_config(self):
            return kinds["IRuntimeConfig"]()

    class EngineInspector:
        def __init__(self, engine):
            self._engine = engine

        def get_engine_information(self, format):
            """One kernel for each operator, which is what is made up here."""
            layers = [{"Name": name, "LayerType": "made up"} for name in self._engine._operators]
            return json.dumps({"Layers": layers})

    class IRuntimeConfig:
        def __init__(self):
            self._strategy = self._cache = None
            self._dynamic_shapes_kernel_specialization_strategy = None

        def set_execution_context_allocation_strategy(self, strategy):
            self._strategy = strategy

        def create_runtime_cache(self):
            return kinds["IRuntimeCache"]()

        def set_runtime_cache(self, cache=None):
            self._cache = cache
            return True

    class IRuntimeCache:
        """One line for the device, one for each plan's kernels."""

        def __init__(self):
            self._head, self._plans = f"{api['version']} {world.sm} {world.cuda}", []

        def _compiled(self, head):
            plan = json.dumps(head, sort_keys=True)
            if plan not in self._plans:
                self._plans.append(plan)
                world.events.append("compile")

        def serialize(self):
            return kinds["IHostMemory"]("\n".join([self._head, *self._plans]).encode())

        def deserialize(self, blob):
            head, *plans = bytes(blob).decode(errors="replace").split("\n")
            if head != self._head:
                return False
            self._plans = plans
            return True

    class IExecutionContext:
        def __del__(self):
            freed("a context")

        def __init__(self, engine, strategy):
            self._engine, self._addresses, self._scratch = engine, {}, None
            self._managed = strategy is not None and strategy.name == "USER_MANAGED"
            self._shapes = {
                n: tuple(shape)
                for n, (mode, shape, _) in engine._tensors.items()
                if mode == "INPUT"
            }

        def set_input_shape(self, name, shape):
            head = self._engine._head
            if name not in self._shapes or not head["low"] <= shape[0] <= head["high"]:
                return False
            self._shapes[name] = tuple(shape)
            return True

        def set_tensor_address(self, name, memory):
            if name not in self._engine._tensors:
                say(self._engine._log, f"{name} is not an input or output tensor name")
                return False
            if memory % 256:
                raise Crash(f"misaligned address {memory:#x}")
            self._addresses[name] = memory
            return True

        def set_device_memory(self, memory, size):
            if size < self._engine._device_memory_size_v2:
                say(self._engine._log, "the device memory is too small")
                raise RuntimeError("the device memory is too small")
            self._scratch = (memory, size)

        def execute_async_v3(self, stream_handle):
            current()
            queue = world.streams[stream_handle]
            log = self._engine._log
            if self._managed and self._scratch is None:
                say(log, "device memory was not set")
                return False
            if self._addresses.keys() != self._engine._tensors.keys():
                say(log, "not all tensor addresses are set")
                return False
            if any(-1 in shape for shape in self._shapes.values()):
                say(log, "not all shapes are specified")
                return False
            if world.refusing:
                say(log, "enqueueV3: Error Code 1: Cask (Cask convolution execution)")
                return False
            if queue.capture is not None and not world.capturable:
                say(log, "operation not permitted when stream is capturing")
                return False
            queue.add(self._work(dict(self._addresses), dict(self._shapes), self._scratch))
            world.events.append("enqueue")
            return True

        def _work(self, addresses, shapes, scratch):
            engine = self._engine

            def work():
                if scratch is not None:
                    world.view(*scratch)[:] = (
                        0xAA  # whatever was in it, other segments may not need
                    )
                feeds = {}
                for name, shape in shapes.items():
                    dtype = np.uint8 if engine._tensors[name][2] == "UINT8" else np.float32
                    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                    feeds[name] = world.view(addresses[name], size).view(dtype).reshape(shape)
                names = [n for n in addresses if n not in shapes]
                for name, result in zip(names, engine._session.run(names, feeds), strict=True):
                    raw = np.ascontiguousarray(result).view(np.uint8).reshape(-1)
                    world.view(addresses[name], raw.size)[:] = raw

            return work

    for implementation in (
        ILogger, IProgressMonitor, IHostMemory, ITimingCache, ITensor, INetworkDefinition, ParserError,
        OnnxParser, IOptimizationProfile, IBuilderConfig, Builder, Runtime, ICudaEngine,
        IExecutionContext, IRuntimeConfig, IRuntimeCache, EngineInspector,
    ):  # fmt: skip
        name = implementation.__name__
        own = {k.split(".")[1]: v for k, v in members.items() if k.split(".")[0] == name}
        if not own:  # this library has no such class
            continue
        kinds[name] = make_class(name, implementation, own, check)
        if name not in ("IHostMemory", "ITensor", "ParserError", "ITimingCache", "IRuntimeCache"):
            setattr(module, name, kinds[name])
    for name, kind in enums.items():
        owner, _, short = name.rpartition(".")
        setattr(kinds[owner] if owner else module, short, kind)
    return module


__all__ = ["IllegalAddressError", "Member", "make_tensorrt"]
