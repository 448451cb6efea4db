"""A library that dies or hangs is a verdict, not the end."""

import os
import signal
import time

import pytest

from edge_fiqa.doctor.engine_check import check_engine
from edge_fiqa.doctor.own_process import Died, in_own_process


def test_the_result_comes_back():
    assert in_own_process(max, 3, 7) == 7


@pytest.mark.parametrize(
    ("function", "argument", "ending"),
    [
        (signal.raise_signal, signal.SIGILL, "died of SIGILL: .* does not have"),
        (signal.raise_signal, signal.SIGSEGV, "died of SIGSEGV"),
        (signal.raise_signal, signal.SIGKILL, r"was killed \(SIGKILL\), most likely .* memory"),
        (os._exit, 3, "ended with status 3"),
    ],
)
def test_how_it_ended_is_said(function, argument, ending):
    with pytest.raises(Died, match=ending):
        in_own_process(function, argument)


def test_a_process_that_hangs_is_ended():
    with pytest.raises(Died, match="no answer within 1 s"):
        in_own_process(time.sleep, 3600, timeout_s=1.0)


def test_a_library_that_dies_when_imported(bundle, tmp_path, monkeypatch):
    """As OpenVINO or torch built for a newer processor does."""
    (tmp_path / "onnxruntime.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGILL)\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    check = check_engine("ort", bundle)
    assert not check.usable
    assert check.text.startswith("no: its library died of SIGILL: it uses instructions")
    assert check_engine("ov", bundle).usable
