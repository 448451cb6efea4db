"""Names and instruction sets, from files as Linux writes them."""

import numpy as np
import pytest

from edge_fiqa.engines import processor
from edge_fiqa.engines.processor import INSTRUCTIONS, Processor, read_processor

PI_5 = "fp asimd evtstrm aes pmull crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def arm(*cores, features=PI_5):
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        f"CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: 0x4\n"
        f"CPU part\t: {part}\nCPU revision\t: 1\n\n"
        for number, (implementer, part) in enumerate(cores)
    )


X86 = "processor\t: 0\nmodel name\t: AMD Ryzen 5\nflags\t: fpu sse4_2 avx2 fma avx512f avx512_vnni\n\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name", "instructions"),
    [
        (X86 * 2, "AMD Ryzen 5", ("sse4_2", "avx2", "avx512f", "avx512_vnni")),
        (arm(*[("0x41", "0xd0b")] * 4), "4 x Cortex-A76", ("asimd", "asimdhp", "asimddp")),
        (arm(*[("0x41", "0xd42")] * 6), "6 x Cortex-A78AE", ("asimd", "asimdhp", "asimddp")),
        (
            arm(*[("0x41", "0xd05")] * 4, *[("0x41", "0xd0b")] * 4, features="fp asimd"),
            "4 x Cortex-A55 + 4 x Cortex-A76",
            ("asimd",),
        ),
        (
            arm(("0x41", "0xd83"), features=f"{PI_5} sve i8mm bf16 sve2"),
            "1 x Neoverse V3AE",
            ("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
        ),
        (arm(("0x99", "0x123")), "1 x ARM core 0x99/0x123", ("asimd", "asimdhp", "asimddp")),
    ],
)
def test_a_processor_names_itself(tmp_path, cpuinfo, name, instructions):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo, encoding="ascii")
    assert read_processor(tmp_path) == Processor(name, instructions)
    assert set(instructions) <= set(INSTRUCTIONS)


def test_cores_that_are_switched_off(tmp_path):
    folder = tmp_path / "sys/devices/system/cpu"
    folder.mkdir(parents=True)
    for text, cores in (("4-7\n", "4-7"), ("\n", None)):
        (folder / "offline").write_text(text, encoding="ascii")
        assert read_processor(tmp_path).cores_off == cores


def test_a_machine_that_says_nothing_still_has_a_name(tmp_path):
    assert read_processor(tmp_path).name


@pytest.mark.parametrize(
    ("features", "expected"),
    [(["AVX512_ICL", "X86_V4"], ("avx2", "avx512f", "avx512_vnni")), (["ASIMDDP"], ("asimddp",))],
)
def test_without_cpuinfo_numpy_says(monkeypatch, tmp_path, features, expected):
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"found": features}})
    assert read_processor(tmp_path).instructions == expected


def test_where_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(np, "show_config", lambda mode: {})
    monkeypatch.setattr(processor.sys, "platform", "plan9")
    assert read_processor(tmp_path).instructions == ()


def test_one_name_for_two_machines_is_told_apart():
    assert str(Processor("AMD EPYC", ("sse4_2", "avx2"))) == "AMD EPYC with avx2"
    assert str(Processor("AMD EPYC", ("avx2", "avx512_vnni"))) == "AMD EPYC with avx512_vnni"
    assert str(Processor("AMD EPYC", ())) == "AMD EPYC"
