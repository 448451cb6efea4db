"""What the engine uses of TensorRT's Python bindings, per version, taken from dumps of the real ones.

    python tests/engines/trt_api/extract.py FOLDER_OF_DUMPS
    python tests/engines/trt_api/extract.py rtx                 those of the installed TensorRT for RTX

A name that a version lacks is missing in its file: code that uses it without looking fails there.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
VERSIONS = {"10.3": "10.3.0", "10.13": "10.13.3", "10.16": "10.16.1", "11.4": "11.4.0"}
USED = {
    "Builder": (
        "__init__ create_network create_builder_config create_optimization_profile "
        "build_serialized_network"
    ),
    "IBuilderConfig": (
        "set_memory_pool_limit builder_optimization_level max_aux_streams profiling_verbosity "
        "set_flag clear_flag progress_monitor add_optimization_profile create_timing_cache "
        "set_timing_cache get_timing_cache"
    ),
    "IOptimizationProfile": "set_shape",
    "INetworkDefinition": "get_input",
    "ITensor": "shape name",
    "ITimingCache": "serialize",
    "IHostMemory": "nbytes",
    "OnnxParser": "__init__ parse parse_from_file num_errors get_error",
    "ParserError": "desc node node_name node_operator",
    "Runtime": "__init__ deserialize_cuda_engine load_runtime engine_host_code_allowed",
    "ICudaEngine": (
        "num_io_tensors get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape "
        "get_tensor_format get_tensor_location device_memory_size_v2 create_execution_context "
        "create_engine_inspector"
    ),
    "EngineInspector": "get_engine_information",
    "IExecutionContext": ("set_input_shape set_tensor_address set_device_memory execute_async_v3"),
    "ILogger": "__init__ log",
    "IProgressMonitor": "__init__ phase_start step_complete phase_finish",
}
RTX = "rtx-1.7"
RTX_USED = {
    "IBuilderConfig": "num_compute_capabilities set_compute_capability",
    "ICudaEngine": "create_runtime_config",
    "IRuntimeConfig": (
        "set_execution_context_allocation_strategy dynamic_shapes_kernel_specialization_strategy "
        "create_runtime_cache set_runtime_cache"
    ),
    "IRuntimeCache": "serialize deserialize",
}
"""What only TensorRT for RTX is asked for."""
RTX_ENUMS = ["ComputeCapability", "DynamicShapesKernelSpecializationStrategy"]
ENUMS = [
    "BuilderFlag",
    "DataType",
    "ExecutionContextAllocationStrategy",
    "ILogger.Severity",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TensorFormat",
    "TensorIOMode",
    "TensorLocation",
]


def extract(dump):
    """{"version", "members": {"Class.name": signature or property}, "enums": {name: {member: n}}}."""
    members, enums = {}, {name: {} for name in ENUMS}
    for name, names in USED.items():
        for member in names.split():
            row = dump.get(f"{name}.{member}")
            if row is not None:
                members[f"{name}.{member}"] = row.get("method") or row["property"]
    for key, row in dump.items():
        owner, _, member = key.rpartition(".")
        if owner in enums and "enum_member" in row:
            enums[owner][member] = int(row["enum_member"].split(" = ")[1])
    return {"version": dump["_meta"]["tensorrt_version"], "members": members, "enums": enums}


def of_bindings(module):
    """The same of bindings that can be imported, from their docstrings. For TensorRT for RTX."""
    members = {}
    for used in (USED, RTX_USED):
        for owner, names in used.items():
            for name in names.split():
                members[f"{owner}.{name}"] = _described(getattr(getattr(module, owner), name), name)
    enums = {}
    for name in [*ENUMS, *RTX_ENUMS]:
        kind = module
        for part in name.split("."):
            kind = getattr(kind, part)
        enums[name] = {member: int(value) for member, value in kind.__members__.items()}
    return {"version": module.__version__, "members": members, "enums": enums}


def _described(thing, name):
    """One line: the overloads of a method, or the type of a property."""
    if isinstance(thing, property):
        kind = _short(thing.fget.__doc__.split("->")[1].strip())
        if thing.fset is None:
            return f"{name}: {kind} [read-only]"
        taken = re.search(r"arg1: (.+)\)", thing.fset.__doc__)
        taken = kind if taken is None else _short(taken[1])
        return f"{name}: {kind} [read/write]" + (f" set: {taken}" if taken != kind else "")
    lines = re.findall(rf"^(?:\d+\. )?({name}\(self: .*)$", thing.__doc__, re.MULTILINE)
    return " | ".join(map(_short, lines))


def _short(text):
    return re.sub(r"tensorrt_rtx_bindings\.tensorrt_rtx\.|nvinfer1::", "", text)


def load(version):
    return json.loads((HERE / f"{version}.json").read_text(encoding="utf-8"))


def main(folder):
    for version, full in VERSIONS.items():
        dump = json.loads((folder / f"tensorrt_api_{full}.json").read_text(encoding="utf-8"))
        text = json.dumps(extract(dump), indent=1)
        (HERE / f"{version}.json").write_text(text + "\n", encoding="utf-8")


def main_rtx():
    import tensorrt_rtx_libs  # noqa: F401
    import tensorrt_rtx_bindings as module  # isort: skip

    text = json.dumps(of_bindings(module), indent=1)
    (HERE / f"{RTX}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main_rtx() if sys.argv[1] == "rtx" else main(Path(sys.argv[1]))
