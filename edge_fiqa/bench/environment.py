"""What a result must say about the machine it was measured on."""

import importlib.metadata
import os
import platform
from pathlib import Path


def environment() -> dict[str, object]:
    """CPU, its instruction sets that matter here, cores, and the versions that compute."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    flags = set(fields.get("flags", "").split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "cpu": fields.get("model name", platform.processor()),
        "instructions": [flag for flag in wanted if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{
            name: importlib.metadata.version(name)
            for name in ("edge-fiqa", "torch", "openvino", "onnxruntime", "numpy")
        },
    }
