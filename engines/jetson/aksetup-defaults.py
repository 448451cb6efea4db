# How PyCUDA is built on a Jetson. Its setup.py executes this as /etc/aksetup-defaults.py or
# ~/.aksetup-defaults.py and takes the names it knows. cuRAND: only pycuda.curandom needs it, and its
# header is missing from slim toolkits. libcuda.so: to link against, a stub or the driver's own.
import os
from pathlib import Path

CUDA_ENABLE_CURAND = False

_toolkit = Path(os.environ.get("CUDA_ROOT", "/usr/local/cuda"))
_system = Path("/usr/lib/aarch64-linux-gnu")
_places = [
    _toolkit / "lib64/stubs",
    *sorted(_toolkit.glob("targets/*/lib/stubs")),
    _system / "nvidia",
    _system / "tegra",
    _system,
]
if _found := [str(place) for place in _places if (place / "libcuda.so").exists()]:
    CUDADRV_LIB_DIR = _found
