"""What the pages state of speed, and of what the models are worth."""

import re

from tests.numbers.results import (
    CARD,
    MEASURED,
    README,
    ROOT,
    TRAINING,
    assert_stated,
    each,
    result,
    rounded,
    rows_of_table,
)

OVER_EAGER = "12 segments, x faster than torch eager"


def vit_s(key):
    ratios = result("epyc2-vit_s")["ratios"]
    return [ratios[f"{form}: {key}"]["median"] for form in ("fp32", "bf16", "int8")]


def ms_as_one_segment():
    ms = result("epyc2-vit_s")["ms"]
    return [rounded(ms["torch eager fp32"]["median"])] + [
        rounded(ms[f"{form} one segment"]["median"], 1) for form in ("fp32", "bf16", "int8")
    ]


def percentages(key):
    return [rounded(value - 1, times=100) for value in vit_s(key)]


def exits_as_shares():
    return [
        rounded(value, times=100)
        for pair in zip(
            vit_s("exit 1 over full depth"), vit_s("exit 6 over full depth"), strict=True
        )
        for value in pair
    ]


def nano_ms():
    rows = {
        row["exit"]: row["p50_ms"]
        for row in result("zen3-bench-2-fp32")["rows"]
        if (row["bundle"], row["backend"], row["batch"]) == ("edge-fiqa-nano", "ov", 1)
    }
    return [rounded(rows[6], 1), rounded(rows[2], 1)]


def ratio(key):
    """Of pAUC, over the lists in colour and the recognisers that taught nothing; its interval."""
    return [rounded(v, 3) for v in result("epyc2-model_quality")["mean_ratio"]["fmr 0.01"][key]]


def one_teacher(key):
    """The same ratio of a network that learned from EdgeFace alone, at each FMR: 1e-2, 1e-3."""
    ratios = result("zen1-one_teacher_quality")["mean_ratio"]
    return [ratios[f"fmr {fmr}"][key] for fmr in (0.01, 0.001)]


def one_teacher_over(other):
    return [rounded(v, 3) for row in one_teacher(f"sold FW / {other}") for v in row]


def nano_better_than_one_teacher():
    at_1e_2, at_1e_3 = (1 - mean for mean, *_ in one_teacher("nano FW / sold FW"))
    return [rounded(at_1e_3, times=100), rounded(at_1e_2, times=100)]


def errors():
    """What nano gains over LightQNet 100, and what stopping after two blocks loses, in percent."""
    ratios = result("epyc2-model_quality")["mean_ratio"]["fmr 0.01"]
    assert abs(ratios["nano FW / nano exit 4"][0] - 1) < 0.005
    return [
        rounded(1 - ratios["nano FW / LightQNet 100"][0], times=100),
        rounded(1 / ratios["nano exit 4 / nano exit 2"][0] - 1, times=100),
    ]


def command(*keys, digits=0, times=1):
    value = result("zen3-command")
    for key in keys:
        value = value[key]
    return rounded(value, digits, times)


def loadgen():
    runs = result("epyc2-loadgen")["scenarios"]
    median = re.search(
        r"50.00 percentile latency \(ns\)\s*: (\d+)", runs["singlestream"]["summary"]
    )
    offline = re.search(r"Samples per second: ([\d.]+)", runs["offline"]["summary"])
    assert runs["server"]["valid"] is False
    return [
        rounded(int(median[1]) / 1e6, 1), rounded(float(offline[1])),
        rounded(runs["server"]["qps"]),
    ]  # fmt: skip


CLAIMS = [
    (README, "first lines", "a ViT-S in INT8 runs # times as fast as in torch (eager, FP32)",
     lambda: [rounded(vit_s(OVER_EAGER)[2], 1)]),
    (README, "ViT-S", "# times as fast in FP32, # in BF16, # in INT8",
     lambda: [rounded(v, 1) for v in vit_s(OVER_EAGER)]),
    (README, "nano", "# ms to full depth; # ms to exit 2", nano_ms),
    (README, "errors", "# % less error than LightQNet 100 at equal discard; stopping after 4 of 6 "
     "blocks loses nothing, after 2 it loses # %", errors),
    (README, "folder", "# faces a second; # with a gate",
     lambda: [command("folder", "faces_per_s"), command("folder", "gate_faces_per_s")]),
    (MEASURED, "one segment", "torch eager FP32: #) | # | # | #", ms_as_one_segment),
    (MEASURED, "segments", "in 12 segments, times faster than torch eager FP32 | # | # | #",
     lambda: [rounded(v, 1) for v in vit_s(OVER_EAGER)]),
    (MEASURED, "fused", "than a torch pass per exit | # | # | #",
     lambda: [rounded(v) for v in vit_s("all exits, x faster than a pass per exit")]),
    (MEASURED, "shares", "share of full depth | # / # % | # / # % | # / # %", exits_as_shares),
    (MEASURED, "price", "12 segments over one) | # % | # % | # %",
     lambda: percentages("12 segments over one segment")),
    (MEASURED, "loadgen", "Single stream: # ms at the median.\nOffline: # faces/s.\n"
     "The server scenario at # faces/s", loadgen),
    (MEASURED, "start", "first start / every later one | # / # s",
     lambda: [command("one_face", f"{n}_start_s", digits=2) for n in ("first", "second")]),
    (MEASURED, "memory", "peak memory | # MB", lambda: [command("one_face", "peak_mb")]),
    (MEASURED, "folder", "whole process | # faces/s", lambda: [command("folder", "faces_per_s")]),
    (MEASURED, "folder under a gate", "`--policy gate --gate 50` | # faces/s",
     lambda: [command("folder", "gate_faces_per_s")]),
    (MEASURED, "share", "of the engines alone | # %",
     lambda: [command("folder", "share_of_engine", times=100)]),
    (MEASURED, "worth", "nano is at # [#, #] of LightQNet 100",
     lambda: ratio("nano FW / LightQNet 100")),
    (MEASURED, "exit 4", "(FW / exit 4: # [#, #]) for", lambda: ratio("nano FW / nano exit 4")),
    (MEASURED, "exit 2", "exit 4 / exit 2 is # [#, #]",
     lambda: ratio("nano exit 4 / nano exit 2")),
    (CARD, "LightQNet 100", "over the lists in colour and both unseen recognisers # [#, #]",
     lambda: ratio("nano FW / LightQNet 100")),
    (CARD, "small", "than nano by anything that these lists can show**: # [#, #]",
     lambda: ratio("small FW / nano FW")),
    (TRAINING, "one teacher, LightQNet 100",
     "1,000 steps / LightQNet 100 | # [#, #] | # [#, #]",
     lambda: one_teacher_over("LightQNet 100")),
    (TRAINING, "one teacher, nano", "1,000 steps / nano | # [#, #] | # [#, #]",
     lambda: one_teacher_over("nano FW")),
    (TRAINING, "nano over one teacher", "nano is # to # % better",
     nano_better_than_one_teacher),
    (CARD, "small, LightQNet 100", "small / LightQNet 100 is # [#, #]",
     lambda: ratio("small FW / LightQNet 100")),
]  # fmt: skip


@each(CLAIMS)
def test_a_number_is_that_of_its_file(page, claim, numbers):
    assert_stated(page, claim, numbers)


def test_every_row_of_readmes_table_names_its_file():
    head, _, *rows = rows_of_table(README, "| question | answer | file |")
    assert head[-1] == "file"
    assert len(rows) >= 6
    for row in rows:
        (target,) = re.findall(r"\]\((benchmarks/results/[\w.-]+\.json)\)", row[-1])
        assert (ROOT / target).is_file()


def test_what_the_models_are_worth_beside_baselines():
    """Means of the recognisers that taught nothing, at FMR 1e-2, x 1e-3."""
    head, _, *rows = rows_of_table(MEASURED, "| x 1e-3 | random")
    qualities = {
        "nano, exit 2": "nano exit 2", "nano, exit 4": "nano exit 4", "nano, all": "nano FW",
        "small, all": "small FW",
    }  # fmt: skip
    lists = {
        "CelebA, half size": "celeba10k_gen_test", "CelebA, full size": "celeba5_gen_test",
        "LFW": "lfw_gen_test", "ORL": "orl_gen_test",
    }  # fmt: skip
    assert [row[0] for row in rows] == list(lists)
    for name, *stated in rows:
        cells = [
            row["pauc_e3"]
            for row in result("epyc2-model_quality")["rows"]
            if row["list"] == lists[name] and row["unseen"] and row["fmr"] == 0.01
        ]
        assert len(cells) == 2
        for column, number in zip(head[1:], stated, strict=True):
            mean = sum(cell[qualities.get(column, column)] for cell in cells) / 2
            assert number == rounded(mean, 1), (name, column)


COLUMNS = {
    "ViT-S FP32": ("vit_s-T", "fp32"),
    "ViT-S BF16": ("vit_s-T", "bf16"),
    "ViT-S INT8": ("vit_s-T", "int8"),
    "ViT-S crfiqa FP32": ("vit_s-C", "fp32"),
    "12 blocks, 128 wide, INT8": ("nano", "int8"),
}
WAYS = {
    "one exported graph, last exit only, OpenVINO": "one graph, OpenVINO, last exit only",
    "one exported graph, last exit only, ONNX Runtime": "one graph, ONNX Runtime, last exit only",
    "ours on ONNX Runtime": "ours, ort, one segment",
    "torch.compile, all exits": "torch.compile, one pass, all exits",
    "torch eager, all exits in one pass": "torch eager, one pass, all exits",
    "torch eager, a run per exit, as research code does": "torch eager, a run per exit",
}


def test_other_ways_to_run_the_same_network():
    head, _, ours, *rows = rows_of_table(MEASURED, "| times the ms of ours")
    groups = {
        (group["model"], group["precision"]): {row["way"]: row for row in group["rows"]}
        for group in result("epyc2-side_by_side")["groups"]
        if group["threads"] == 2
    }
    assert head[1:] == list(COLUMNS)
    assert [row[0] for row in rows] == list(WAYS)
    for column, stated in zip(head[1:], ours[1:], strict=True):
        row = groups[COLUMNS[column]]["ours, ov, one segment"]
        assert stated == f"{row['ms']:.1f}; {100 * row['peak_share']:.0f} %"
    for way, *numbers in rows:
        for column, stated in zip(head[1:], numbers, strict=True):
            if stated:
                over = groups[COLUMNS[column]][WAYS[way]]["over_ours"]
                assert stated == f"{over:.{len(stated.split('.')[1])}f}", (way, column)
