"""The CUDA kernels: what they compute, run on the CPU; and that compilers and old drivers take them."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edge_fiqa.engines

FOLDER = Path(edge_fiqa.engines.__file__).parent / "trt/kernels"
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
needs_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


def on_cpu(tmp_path, kernel, main):
    """Compile a kernel with `main` as plain C++, and return what it prints."""
    source = tmp_path / "kernel.cpp"
    source.write_text(SHIM + (FOLDER / kernel).read_text(encoding="utf-8") + main, encoding="utf-8")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover"]
    subprocess.run(["g++", *flags, "-o", str(tmp_path / "run"), str(source)], check=True)
    return subprocess.check_output([str(tmp_path / "run")], text=True).split()


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


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("kernel", [p.name for p in FOLDER.glob("*.cu")])
@pytest.mark.parametrize("sm", [75, 87, 90, 110, 120])
def test_it_compiles(kernel, sm, tmp_path):
    command = ["nvcc", "-cubin", "-rdc=true", f"-arch=sm_{sm}", str(FOLDER / kernel), "-o"]
    subprocess.run([*command, str(tmp_path / "k.cubin")], check=True)


@needs_nvcc
@pytest.mark.slow
@pytest.mark.parametrize("kernel", [p.stem for p in FOLDER.glob("*.cu")])
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


@pytest.mark.parametrize("kernel", [p.stem for p in FOLDER.glob("*.cu")])
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
    assert {op for op in operations if not op.startswith("@")} <= ordinary


needs_ptxas = pytest.mark.skipif(shutil.which("ptxas") is None, reason="ptxas is not installed")


@needs_ptxas
@pytest.mark.parametrize("kernel", [p.stem for p in FOLDER.glob("*.cu")])
@pytest.mark.parametrize("sm", [75, 87, 90, 110, 120])
def test_the_shipped_ptx_assembles(kernel, sm, tmp_path):
    subprocess.run(
        ["ptxas", f"-arch=sm_{sm}", "-o", str(tmp_path / "k"), str(FOLDER / f"{kernel}.ptx")],
        check=True,
    )


def test_rows_fit_the_kernels_argument():
    source = (FOLDER / "gather.cu").read_text(encoding="utf-8")
    assert int(re.search(r"row\[(\d+)\]", source)[1]) == 64 >= edge_fiqa.engines.MAX_BATCH
