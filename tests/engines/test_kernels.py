"""The CUDA kernels: what they compute, run on the CPU; and that compilers and old drivers take them."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edge_fiqa.engines

from .conftest import extract, fakes

FOLDER = Path(edge_fiqa.engines.__file__).parent / "kernels"
SHIM = """
#include <cstdio>
#include <cstdlib>
#include <vector>
#define __global__
#define __device__
#define __grid_constant__
struct Dim { unsigned x, y, z; };
static Dim blockIdx, blockDim, threadIdx;
"""
BLOCK_SHIM = """
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>
#define __global__
struct Dim { unsigned x, y, z; };
static thread_local Dim threadIdx;
static std::mutex lock;
static std::condition_variable all_here;
static unsigned here = 0, threads = 64;
static int any_of_them = 0;
static int __syncthreads_or(int mine) {
    std::unique_lock<std::mutex> held(lock);
    any_of_them |= mine != 0;
    if (++here == threads) all_here.notify_all();
    else all_here.wait(held, [] { return here == threads; });
    return any_of_them;
}
static unsigned long long set_handle = 0;
static int set_value = -1;
static void cudaGraphSetConditional(unsigned long long handle, unsigned value) {
    set_handle = handle;
    set_value = value;
}
"""
"""For a kernel of one block, whose threads are real ones."""
needs_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


def on_cpu(tmp_path, kernel, main, *arguments, shim=SHIM):
    """Compile a kernel with `main` as plain C++, and return what it prints."""
    source = tmp_path / "kernel.cpp"
    source.write_text(shim + (FOLDER / kernel).read_text(encoding="utf-8") + main, encoding="utf-8")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover", "-pthread"]
    subprocess.run(["g++", *flags, "-o", str(tmp_path / "run"), str(source)], check=True)
    return subprocess.check_output([str(tmp_path / "run"), *arguments], text=True).split()


@needs_gpp
@pytest.mark.parametrize("words", [1, 255, 256, 257, 1000])
def test_gather_moves_the_rows_and_nothing_else(tmp_path, words):
    picked = [4, 0, 2]
    main = f"""
int main() {{
    const unsigned words = {words}, kept = {len(picked)};
    std::vector<unsigned> source(5 * words), target(kept * words, 7);
    for (unsigned i = 0; i < source.size(); i++) source[i] = 1000 + i;
    Rows rows = {{{{{",".join(map(str, picked))}}}}};
    blockDim = {{256, 1, 1}};
    for (blockIdx.y = 0; blockIdx.y < kept; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < (words + 255) / 256; blockIdx.x++)
            for (threadIdx.x = 0; threadIdx.x < 256; threadIdx.x++)
                gather_rows(source.data(), target.data(), rows, words);
    for (unsigned value : target) printf("%u ", value);
}}
"""
    found = np.array(on_cpu(tmp_path, "gather.cu", main), int).reshape(len(picked), words)
    source = 1000 + np.arange(5 * words).reshape(5, words)
    np.testing.assert_array_equal(found, source[picked])


DECIDE_MAIN = """
template <class T> std::vector<T> read(FILE* file, size_t count) {
    std::vector<T> found(count);
    if (fread(found.data(), sizeof(T), count, file) != count) abort();
    return found;
}
int main(int, char** arguments) {
    FILE* file = fopen(arguments[1], "rb");
    printf("%zu\\n", sizeof(Control));
    for (int cases = atoi(arguments[2]); cases > 0; cases--) {
        const unsigned count = read<unsigned>(file, 1)[0], step = read<unsigned>(file, 1)[0];
        const auto control = read<Control>(file, 1);
        const auto scores = read<float>(file, count);
        std::vector<unsigned> ran(1, 99);
        here = 0, any_of_them = 0, set_value = -1, set_handle = 0;
        std::vector<std::thread> block;
        for (unsigned number = 0; number < 64; number++)
            block.emplace_back([&, number] {
                threadIdx = {number, 0, 0};
                decide(control.data(), scores.data(), ran.data(), 1ull << 40, step);
            });
        for (auto& thread : block) thread.join();
        if (set_handle != 1ull << 40) abort();
        const int condition = set_value;
        set_value = -1;  // after the last segment there is none
        threads = 1, here = 0, threadIdx = {0, 0, 0};
        decide(control.data(), scores.data(), ran.data(), 0, step + 1);
        threads = 64;
        if (set_value != -1) abort();
        printf("%d %u\\n", condition, ran[0] - 1);
    }
}
"""


@needs_gpp
def test_decide_is_what_the_fake_device_computes(tmp_path, monkeypatch):
    """Random tables and scores, among them NaN, infinity and scores on the edges of an interval."""
    fakes.install(monkeypatch, fakes.World(), extract.load("10.3"))
    from edge_fiqa.engines.trt_until import CONTROL, EXITS

    rng, written, expected = np.random.default_rng(0), b"", []
    for _ in range(60):
        control = np.zeros(1, CONTROL)
        faces, batch = rng.integers(1, 65), 64
        exits, step = int(rng.integers(1, EXITS + 1)), int(rng.integers(0, EXITS))
        scores = rng.normal(size=exits * batch).astype(np.float32)
        broken = rng.random(scores.shape) < rng.choice([0, 0.01])
        scores[broken] = rng.choice([np.nan, np.inf, -np.inf], broken.sum())
        control["faces"] = faces
        width = int(rng.choice([1, exits]))  # a segment each, or all in one
        number = np.arange(exits)
        control["place"]["at"][0, :exits] = number if width == exits else number * batch
        control["place"]["stride"][0, :exits] = width
        decision = control["decision"][0, step : step + 1]
        decision["exits"] = exits
        decision["weight"][0, :exits] = rng.random(exits) / exits
        decision["low"], decision["high"] = np.sort(rng.normal(0, 0.1, 2))
        if exits == 1:  # a face exactly on the edge is not certain
            decision["weight"][0, 0] = 1.0
            decision["low"] = decision["high"] = scores[0]
        control["decision"][0, step] = decision[0]
        going = any(
            fakes.face_goes_on(control[0], face, step, lambda at, s=scores: s[at : at + 1])
            for face in range(faces)
        )
        expected.append([int(going), step + 1])
        head = np.array([len(scores), step], np.uint32).tobytes()
        written += head + control.tobytes() + scores.tobytes()
    (tmp_path / "cases").write_bytes(written)
    size, *found = on_cpu(
        tmp_path, "decide.cu", DECIDE_MAIN, str(tmp_path / "cases"), "60", shim=BLOCK_SHIM
    )
    assert int(size) == CONTROL.itemsize
    assert np.array(found, int).reshape(-1, 2).tolist() == expected
    assert {condition for condition, _ in expected} == {0, 1}


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("kernel", [p.name for p in FOLDER.glob("*.cu")])
@pytest.mark.parametrize("sm", [75, 87, 90, 110, 120])
def test_it_compiles(kernel, sm, tmp_path):
    command = ["nvcc", "-cubin", "-rdc=true", f"-arch=sm_{sm}", str(FOLDER / kernel), "-o"]
    subprocess.run([*command, str(tmp_path / "k.cubin")], check=True)


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["gather", "decide"])
def test_the_shipped_ptx_is_that_of_the_source(kernel, tmp_path):
    """Apart from the PTX version, which is lowered on purpose: kernels/README.md says how."""
    fresh, shipped = tmp_path / "fresh.ptx", FOLDER / f"{kernel}.ptx"
    subprocess.run(
        ["nvcc", "-ptx", "-arch=compute_75", str(FOLDER / f"{kernel}.cu"), "-o", str(fresh)],
        check=True,
    )

    made_by = re.search(r"Cuda compilation tools, release.*", fresh.read_text(encoding="utf-8"))[0]
    if made_by not in shipped.read_text(encoding="utf-8"):
        pytest.skip(f"the shipped PTX is not by this compiler: {made_by}")

    def body(path):
        text = path.read_text(encoding="utf-8")
        return [
            line for line in text.splitlines() if line and not line.startswith(("//", ".version"))
        ]

    assert body(fresh) == body(shipped)


@pytest.mark.parametrize("kernel", ["gather", "decide"])
def test_drivers_since_cuda_11_8_read_the_ptx(kernel):
    """PTX ISA 7.8 and sm_75: JetPack 6 (CUDA 12.6) reads up to 8.5, and every GPU since Turing."""
    text = (FOLDER / f"{kernel}.ptx").read_text(encoding="utf-8")
    assert ".version 7.8" in text
    assert ".target sm_75" in text
    operations = {
        line.split()[0].split(".")[0] for line in text.splitlines() if line.startswith("\t")
    }
    ordinary = {
        "",
        "add",
        "bra",
        "cvt",
        "cvta",
        "ld",
        "mad",
        "mov",
        "mul",
        "ret;",
        "setp",
        "shl",
        "st",
        "//",
    }
    if kernel == "decide":
        ordinary |= {"and", "bar", "call", "fma", "not", "selp", "sub", "{", "}", "param0"}
        ordinary |= {"cudaGraphSetConditional,", "(", ")", "param0,", "param1", ");"}
    assert {op for op in operations if not op.startswith("@")} <= ordinary


needs_ptxas = pytest.mark.skipif(shutil.which("ptxas") is None, reason="ptxas is not installed")


@needs_ptxas
@pytest.mark.parametrize("kernel", ["gather", "decide"])
@pytest.mark.parametrize("sm", [75, 87, 90, 110, 120])
def test_the_shipped_ptx_assembles(kernel, sm, tmp_path):
    subprocess.run(
        ["ptxas", f"-arch=sm_{sm}", "-o", str(tmp_path / "k"), str(FOLDER / f"{kernel}.ptx")],
        check=True,
    )


@needs_ptxas
def test_the_assembler_knows_the_function_that_sets_conditions(tmp_path):
    """It is built in, in no library: any other name that is only declared is refused."""
    text = (FOLDER / "decide.ptx").read_text(encoding="utf-8")
    other = tmp_path / "other.ptx"
    other.write_text(text.replace("cudaGraphSetConditional", "noSuchFunction"), encoding="utf-8")
    refused = subprocess.run(
        ["ptxas", "-arch=sm_87", "-o", str(tmp_path / "k"), str(other)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "Unresolved extern function 'noSuchFunction'" in refused.stderr + refused.stdout


def test_rows_fit_the_kernels_argument():
    source = (FOLDER / "gather.cu").read_text(encoding="utf-8")
    assert int(re.search(r"row\[(\d+)\]", source)[1]) == 64 >= edge_fiqa.engines.MAX_BATCH
