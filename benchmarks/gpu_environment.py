"""What the machine of a GPU run is: card, driver, clocks, packages."""

import importlib.metadata
import json
import shutil
import subprocess

from common import new_result, parser

PACKAGES = (
    "torch",
    "onnxruntime",
    "onnx",
    "cupy-cuda13x",
    "pycuda",
    "openvino",
    "tensorrt",
    "numpy",
)
ASKED = "name,driver_version,compute_cap,memory.total,clocks.max.sm,clocks.max.memory,power.limit"


def main() -> None:
    parser(__doc__).parse_args()
    result = new_result(__doc__)
    result["packages"] = {name: version(name) for name in PACKAGES}
    result["nvidia-smi"] = said("nvidia-smi", f"--query-gpu={ASKED}", "--format=csv")
    result["nvcc"] = said("nvcc", "--version")
    print(json.dumps(result))


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def said(program: str, *arguments: str) -> list[str] | None:
    if shutil.which(program) is None:
        return None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


if __name__ == "__main__":
    main()
