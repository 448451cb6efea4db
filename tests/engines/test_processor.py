"""Instruction sets of processors that are not this one."""

import numpy as np
import pytest

from edge_fiqa.engines import processor
from edge_fiqa.engines.processor import described, instruction_sets, processor_name

ZEN_3 = """processor\t: 0
model name\t: AMD EPYC 7763 64-Core Processor
flags\t\t: fpu sse4_2 avx2 sha_ni vaes
"""
A76 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd asimdhp asimddp
"""


def machine(folder, text):
    (folder / "proc").mkdir()
    (folder / "proc/cpuinfo").write_text(text, encoding="utf-8")
    return folder


def test_of_x86(tmp_path):
    root = machine(tmp_path, ZEN_3)
    assert instruction_sets(root) == ("avx2",)
    assert processor_name(root) == "AMD EPYC 7763 64-Core Processor"


def test_of_arm(tmp_path):
    assert instruction_sets(machine(tmp_path, A76)) == ("asimddp",)


@pytest.mark.parametrize(
    ("found", "expected"),
    [(["AVX512_ICL", "X86_V4"], ("avx2", "avx512f", "avx512_vnni")), (["ASIMDDP"], ("asimddp",))],
)
def test_without_cpuinfo_numpy_says(monkeypatch, tmp_path, found, expected):
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"found": found}})
    assert instruction_sets(tmp_path) == expected


def test_where_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(np, "show_config", lambda mode: {})
    monkeypatch.setattr(processor.sys, "platform", "plan9")
    assert instruction_sets(tmp_path) == ()


def test_one_name_for_two_machines_is_told_apart(monkeypatch):
    monkeypatch.setattr(processor, "processor_name", lambda: "AMD EPYC")
    monkeypatch.setattr(processor, "instruction_sets", lambda: ("avx2",))
    assert described() == "AMD EPYC with avx2"
    monkeypatch.setattr(processor, "instruction_sets", lambda: ("avx2", "avx512_vnni"))
    assert described() == "AMD EPYC with avx512_vnni"
    monkeypatch.setattr(processor, "instruction_sets", tuple)
    assert described() == "AMD EPYC"
