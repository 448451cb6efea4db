"""The fakes against what is real: the published bindings, and PyCUDA itself."""

import ctypes
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_fiqa.engines.trt import plans as trt_plans
from tests.engines.conftest import extract, fakes
from tests.needs import missing, need

ENGINE = Path(trt_plans.__file__).parent
LIBRARIES = {  # what the bindings need to be importable: it returns nothing, so nothing can be made
    "nvinfer": "createInferBuilder_INTERNAL createInferRefitter_INTERNAL "
    "createInferRuntime_INTERNAL getBuilderPluginRegistry getPluginRegistry",
    "nvonnxparser": "createNvOnnxParser_INTERNAL createNvOnnxParserRefitter_INTERNAL "
    "getNvOnnxParserVersion",
    "nvinfer_plugin": "initLibNvInferPlugins",
}


@pytest.mark.parametrize("version", extract.VERSIONS)
def test_the_extracts_are_those_of_the_published_bindings(version, shared):
    path = shared / f"reference/tensorrt_api_{extract.VERSIONS[version]}.json"
    if not path.is_file():
        pytest.skip(f"no dump of the bindings at {path}")
    dump = json.loads(path.read_text(encoding="utf-8"))
    assert extract.load(version) == json.loads(json.dumps(extract.extract(dump)))


def used_names():
    """Every `module.Name` and `module.Name.MEMBER` of a library in the engine's source."""
    text = "".join(path.read_text(encoding="utf-8") for path in ENGINE.glob("*.py"))
    return set(re.findall(r"\bmodule\.([A-Z]\w*(?:\.\w+)*)", text))


def of_tensorrt(names):
    """Without what TensorRT for RTX alone has, which is reached on its branches only."""
    return {name for name in names if name.split(".")[0] not in extract.RTX_ENUMS}


def known_names(api):
    known = {name.split(".")[0] for name in api["members"]} | set(api["enums"])
    known |= {f"{owner}.{m}" for owner, members in api["enums"].items() for m in members}
    return known | set(api["members"])


def test_every_name_in_the_code_is_in_every_version():
    names = used_names()
    assert {"Builder", "BuilderFlag.TF32", "DataType.UINT8", "ILogger.Severity.ERROR"} <= names
    assert {"ComputeCapability", "IProgressMonitor"} <= names
    assert names <= known_names(extract.load(extract.RTX))
    for version in extract.VERSIONS:
        assert of_tensorrt(names) <= known_names(extract.load(version)), version


def test_every_name_that_is_listed_is_in_every_version():
    """No feature detection is needed for what the engine uses today."""
    listed = {f"{owner}.{m}" for owner, names in extract.USED.items() for m in names.split()}
    for version in extract.VERSIONS:
        assert extract.load(version)["members"].keys() == listed, version


def compile_stub(folder, file, source):
    folder.mkdir(exist_ok=True)
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-w",
        f"-Wl,-soname,{file}",
        "-xc",
        "-",
        "-o",
        str(folder / file),
    ]
    subprocess.run(command, input=source, text=True, check=True)


@pytest.fixture
def gcc():
    return need("gcc")


@pytest.mark.usefixtures("gcc")
def test_the_real_bindings_have_what_the_code_uses(tmp_path):
    """The wheel, imported over libraries that are empty: names, members, signatures."""
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("tensorrt-cu13-bindings is not installed")
    for major in (10, 11):
        for name, symbols in LIBRARIES.items():
            source = "".join(f"void*{symbol}(){{return 0;}}" for symbol in symbols.split())
            compile_stub(tmp_path, f"lib{name}.so.{major}", source)
    code = f"""
import json, sys, tensorrt_bindings as trt
names, listed = json.loads(sys.stdin.read())
def find(path):
    thing = trt
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing
for name in names:
    find(name)
print(json.dumps([trt.__version__, {{name: find(name).__doc__ or "" for name in listed}}]))
sys.modules["tensorrt"] = trt
sys.path.insert(0, {str(ENGINE.parents[2])!r})
from edge_fiqa.engines.trt.api import Log, need, trt_api
from edge_fiqa.engines.trt.build_monitor import BuildMonitor, native_monitor
import threading
from edge_fiqa.errors import EngineFailed
log = Log(trt_api())
log.native.log(trt.ILogger.Severity.ERROR, "first"); log.native.log(trt.ILogger.Severity.INFO, "2")
assert trt_api().can_build and log.take() == "first" and log.take() == "TensorRT gave no reason"
monitor = BuildMonitor(lambda *said: None, threading.Event())
assert native_monitor(trt, monitor).step_complete("p", 1)
try:
    need(log, "cannot make a builder", trt.Builder, log.native)
except EngineFailed as exc:
    print(exc)
"""
    listed = [
        f"{o}.{m}" for o, names in extract.USED.items() for m in names.split() if m != "__init__"
    ]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([sorted(of_tensorrt(used_names())), listed]),
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, message = done.stdout.strip().splitlines()
    assert "cannot make a builder: pybind11::init(): factory function returned nullptr" in message
    version, documents = json.loads(first)
    short = ".".join(version.split(".")[:2])
    if short not in extract.VERSIONS:
        pytest.skip(f"no extract of TensorRT {short}")
    for name, text in extract.load(short)["members"].items():
        if name in documents and "(self:" in text:
            wanted = re.findall(r"\w+(?=: )", text.split(" | ")[0].split(" -> ")[0])[1:]
            said = documents[name].split("\n")[0] + documents[name]
            assert all(argument in said for argument in wanted), name


@pytest.mark.usefixtures("gcc")
def test_the_real_pycuda_takes_our_calls(tmp_path):
    """PyCUDA's extension over a driver library whose every function fails with 100, no device."""
    spec = importlib.util.find_spec("pycuda")
    if spec is None:
        pytest.skip("pycuda is not installed")
    library = next(Path(spec.origin).parent.glob("_driver*.so"))
    listed = subprocess.check_output(["nm", "-D", "--undefined-only", str(library)], text=True)
    body = {"cuGetErrorString": "*b=m;"}
    source = 'const char*m="no device";' + "".join(
        f"int {name}(void*a,const char**b){{{body.get(name, '')}return 100;}}"
        for name in set(re.findall(r"\bU (cu[A-Z]\w*)", listed))
    )
    compile_stub(tmp_path, "libcuda.so.1", source)
    code = f"""
import sys
sys.path.insert(0, {str(ENGINE.parents[2])!r})
import numpy as np, pycuda.driver as drv
from pycuda._pvt_struct import pack
from edge_fiqa.errors import BackendMissing
from edge_fiqa.engines.trt import device as trt_device
names = '''Device Stream Event mem_alloc mem_get_info memset_d8_async pagelocked_empty memcpy_htod_async
memcpy_dtoh_async memcpy_dtod_async module_from_buffer get_driver_version Error MemoryError
Device.count Device.retain_primary_context Device.compute_capability Device.get_attribute Context.push
Context.pop Stream.synchronize Stream.handle Event.record Event.time_since Function.prepare
Function.prepared_async_call device_attribute.INTEGRATED host_alloc_flags.DEVICEMAP
PagelockedHostAllocation.get_device_pointer DeviceAllocation.free DeviceAllocation.__int__'''
for name in names.split():
    thing = drv
    for part in name.split("."):
        thing = getattr(thing, part)
class Kernel:
    pass
drv.Function.prepare(Kernel, f"PP{{trt_device.KERNEL_ROWS}}sI")
assert len(pack(Kernel.arg_format, 1 << 40, 1 << 41, bytes(64), 7)) == 8 + 8 + 64 + 4
try:
    trt_device.Device()
except BackendMissing as exc:
    print(exc)
try:
    drv.Stream(1)
except drv.LogicError as exc:
    assert "context" in str(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.strip()
        == "backend 'trt' needs an NVIDIA driver: cuInit failed with CUDA error 100"
    )


def headers():
    """cuda.h of every toolkit and wheel that is here."""
    known = [Path("/usr/local/cuda/include/cuda.h")]
    if (nvcc := shutil.which("nvcc")) is not None:
        dry_run = subprocess.run(
            [nvcc, "--dryrun", "-x", "cu", "/dev/null"], capture_output=True, text=True, check=False
        )
        tops = re.findall(r"^#\$ TOP=(.*)$", dry_run.stderr, re.MULTILINE)
        known += [Path(top) / "include/cuda.h" for top in tops]
    if (wheels := importlib.util.find_spec("nvidia")) is not None:
        for folder in wheels.submodule_search_locations:
            known += Path(folder).glob("*/include/cuda.h")
    return sorted({path.resolve() for path in known if path.is_file()})


CHECK = """
#define __CUDA_API_VERSION_INTERNAL  // each name as it is exported
#include <cstdio>
#include <type_traits>
#include <cuda.h>
template <class Result, class... Arguments> void show(const char* name, Result (*)(Arguments...)) {
    printf("%s", name);
    const int sizes[] = {(std::is_pointer<Arguments>::value ? -1 : (int)sizeof(Arguments))...};
    for (int size : sizes) printf(" %d", size);
    printf("\\n");
}
int main() {
    printf("%d\\n", CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CALLS
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_functions_of_the_driver_are_those_of_its_header(one_version, tmp_path):
    one_version()
    from edge_fiqa.engines.trt import graphs as trt_graph

    if not (known := headers()):
        pytest.skip("no cuda.h here (pip install nvidia-cuda-runtime brings one)")
    expected = [str(trt_graph.THREAD_LOCAL)]
    for name, types in trt_graph.PROTOTYPES.items():
        expected.append(" ".join([name, *(str(size_of(kind)) for kind in types)]))
    calls = "\n".join(f'show("{name}", &{name});' for name in trt_graph.PROTOTYPES)
    (tmp_path / "check.cpp").write_text(CHECK.replace("CALLS", calls), encoding="utf-8")
    driver = "".join(f'extern "C" void {name}() {{}}\n' for name in trt_graph.PROTOTYPES)
    (tmp_path / "driver.cpp").write_text(driver, encoding="utf-8")
    for header in known:
        binary = str(tmp_path / "check")
        sources = [str(tmp_path / name) for name in ("check.cpp", "driver.cpp")]
        subprocess.run(["g++", f"-I{header.parent}", *sources, "-o", binary], check=True)
        assert subprocess.check_output([binary], text=True).splitlines() == expected, header


def size_of(kind):
    """-1 for a pointer."""
    pointer = kind is ctypes.c_void_p or hasattr(kind, "contents")
    return -1 if pointer else ctypes.sizeof(kind)


def test_the_fake_refuses_what_the_bindings_refuse(gpu):
    import tensorrt as trt

    with pytest.raises(AttributeError):
        _ = trt.Builder.build_engine
    with pytest.raises(AttributeError):
        _ = trt.BuilderFlag.NOT_A_FLAG
    with pytest.raises(TypeError, match="incompatible"):
        trt.OnnxParser(network=1, log=2)
    config = trt.IBuilderConfig(None)
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1
    with pytest.raises(TypeError, match="incompatible"):
        config.set_flag(1)
    with pytest.raises(TypeError):
        config.builder_optimization_level = "3"
    with pytest.raises(fakes.Crash):
        trt.Runtime(trt.ILogger())
    assert hasattr(trt.BuilderFlag, "FP16") == (trt.__version__ < "11")


def test_no_fake_stays_behind():
    with pytest.MonkeyPatch.context() as patched:
        fakes.install(patched, fakes.World(), extract.load("10.3"))
        before = importlib.import_module("edge_fiqa.engines.trt.api")
        assert before.trt_api().version == "10.3.0"
    now = sys.modules.get("edge_fiqa.engines.trt.api")
    assert now is not before
    assert "pycuda.driver" not in sys.modules or hasattr(sys.modules["pycuda.driver"], "__file__")


def test_the_extract_of_the_other_library_is_that_of_its_bindings():
    real = fakes.nvidia.library()
    if real is None:
        missing("TensorRT for RTX is not installed; pip install 'edge-fiqa[rtx]'")
    if not real.__version__.startswith(extract.RTX.removeprefix("rtx-")):
        pytest.skip(f"no extract of TensorRT for RTX {real.__version__}")
    assert extract.load(extract.RTX) == extract.of_bindings(real)
