"""Verdicts: real changes are found, noise is not, and another machine is named."""

import msgspec
import numpy as np
import pytest

from edge_fiqa.bench.compare import check_same_processor, compare
from edge_fiqa.bench.result import BenchResult, BenchRow, Peak, Power, load_result
from edge_fiqa.errors import ConfigError


def row(round_ms, **changes):
    stated = {
        "bundle": "b", "fingerprint": "f", "backend": "ov", "device": "cpu", "threads": 2,
        "precision": "fp32", "exit": 4, "batch": 1, "way": "one", "p50_ms": 1.0, "p90_ms": 1.0,
        "p99_ms": None, "faces_per_s": 1.0, "gflops": 1.0, "gflops_per_s": 1.0, "peak_share": None,
        "peak_mb": None, "device_mb": None, "gross_mj": None, "net_mj": None,
    }  # fmt: skip
    return BenchRow(**{**stated, "round_ms": tuple(round_ms), **changes})


def result(*rows, peak=100.0, **environment):
    return BenchResult(
        faces="none",
        environment={"cpu": "x", "cores": 2, "load": 0.1} | environment,
        power=Power(None, None, "none"),
        peaks=(Peak("ov", "fp32", 2, (1, 1, 1), peak, None),),
        rows=rows,
    )


def noisy(ms, seed, spread=0.05):
    return ms * np.random.default_rng(seed).lognormal(0, spread, 30)


def verdict(old_ms, new_ms, **new):
    comparison = compare(result(row(noisy(old_ms, 1))), result(row(noisy(new_ms, 2)), **new))
    return comparison.changes[0].verdict


def test_verdicts():
    assert verdict(10, 8) == "faster"
    assert verdict(10, 12) == "slower"
    assert verdict(10, 10.1) == "no difference seen"


def test_a_machine_that_is_slower_as_a_whole_makes_no_code_slower():
    """The matrix product lost 30 % as well: 20 % are not the code's."""
    assert verdict(10, 12, peak=70.0) == "no difference seen"
    assert verdict(10, 20, peak=70.0) == "slower"


def test_the_same_code_is_seldom_called_different():
    wrong = sum(
        compare(result(row(noisy(10, s))), result(row(noisy(10, s + 1000)))).changes[0].verdict
        != "no difference seen"
        for s in range(60)
    )
    assert wrong <= 5


def test_what_makes_a_comparison_doubtful_is_said():
    old, new = (
        result(row([1.0])),
        result(row([1.0], exit=3), cpu="y", load=7.0, governor="powersave"),
    )
    text = "\n".join(compare(old, new).warnings)
    for part in ("cpu was x, is y", "governor was None", "load 7.0", "no row in common", "1 row "):
        assert part in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ({"cpu": "x"}, {"cpu": "y"}, r"another processor \(cpu x, here y\)"),
        ({"cpu": "x", "board": "Pi 5"}, {"cpu": "x", "board": "Pi 4"}, "board Pi 5, here Pi 4"),
        (
            {"cpu": "AMD EPYC", "instructions": ["avx2"]},
            {"cpu": "AMD EPYC", "instructions": ["avx2", "avx512f", "avx512_vnni"]},
            "also called AMD EPYC: only one has avx512_vnni, avx512f",
        ),
    ],
)
def test_two_processors_are_refused(old, new, message):
    with pytest.raises(ConfigError, match=message):
        check_same_processor(old, new)


def test_one_processor_is_not_refused():
    old = {"cpu": "x", "instructions": ["avx2"], "governor": "powersave"}
    check_same_processor(old, {"cpu": "x", "instructions": ["sse4_2", "avx2"]})  # a longer list


def test_results_are_read_back_or_refused_in_one_line(tmp_path):
    path = tmp_path / "r.json"
    comparison = result(row([1.0, 2.0]))
    path.write_bytes(msgspec.json.encode(comparison))
    assert load_result(path) == comparison
    for text, message in (
        ('{"schema": "edge-fiqa-bench/9"}', "schema 'edge-fiqa-bench/9'; expected"),
        ('{"rows": []}', "schema None"),
        ('{"schema": "edge-fiqa-bench/1"}', "is not a result of edge-fiqa bench"),
        ("[]", "is not a result of edge-fiqa bench"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message) as error:
            load_result(path)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="No such file"):
        load_result(tmp_path / "absent.json")
