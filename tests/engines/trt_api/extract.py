"""What the engine uses of TensorRT's Python bindings, per version, taken from dumps of the real ones.

    python tests/engines/trt_api/extract.py FOLDER_OF_DUMPS

A name that a version lacks is missing in its file: code that uses it without looking fails there.
"""

import json
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
    "OnnxParser": "__init__ parse_from_file num_errors get_error",
    "ParserError": "desc node node_name node_operator",
    "Runtime": "__init__ deserialize_cuda_engine load_runtime engine_host_code_allowed",
    "ICudaEngine": (
        "num_io_tensors get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape "
        "get_tensor_format get_tensor_location device_memory_size_v2 create_execution_context"
    ),
    "IExecutionContext": ("set_input_shape set_tensor_address set_device_memory execute_async_v3"),
    "ILogger": "__init__ log",
    "IProgressMonitor": "__init__ phase_start step_complete phase_finish",
}
ENUMS = [
    "BuilderFlag",
    "DataType",
    "ExecutionContextAllocationStrategy",
    "ILogger.Severity",
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


def load(version):
    return json.loads((HERE / f"{version}.json").read_text(encoding="utf-8"))


def main(folder):
    for version, full in VERSIONS.items():
        dump = json.loads((folder / f"tensorrt_api_{full}.json").read_text(encoding="utf-8"))
        text = json.dumps(extract(dump), indent=1)
        (HERE / f"{version}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
