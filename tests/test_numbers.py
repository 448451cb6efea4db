"""Numbers that pages and the models' card state are those of the result files that they name.

A claim is a part of the text with # for each number, and a function that takes these numbers from the
file. A text that changes must bring its claim along: a claim that matches nothing is a failure.
"""

import json
import re
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
README, MEASURED, RAY = "README.md", "docs/measured.md", "docs/ray.md"
CARD = "edge_fiqa/models/README.md"


@cache
def result(name):
    """Of the files that the pages name, the one that ends so: all pages mean the same run."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in (README, MEASURED, RAY, CARD)]
    named = {stem for text in texts for stem in re.findall(r"results/([\w.-]+)\.json", text)}
    (stem,) = [stem for stem in named if stem.endswith(f"-{name}")]
    return json.loads((RESULTS / f"{stem}.json").read_text(encoding="utf-8"))


def rounded(value, digits=0, times=1):
    return f"{value * times:,.{digits}f}"


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


def nano():
    (found,) = [b for b in result("epyc2-evaluation")["bundles"] if "nano" in b["name"]]
    return found


def operating_points():
    points = {point["stop"]["exit"]: point for point in nano()["points"]}
    full = nano()["stops"][-1]
    assert full["exit"] == 12
    return points, rounded(full["ms"], 1)


def nano_ms():
    rows = {
        row["exit"]: row["p50_ms"]
        for row in result("epyc2-bench-2")["rows"]
        if (row["bundle"], row["backend"], row["batch"]) == ("edge-fiqa-nano", "ov", 1)
    }
    return [rounded(rows[12], 1), rounded(rows[4], 2)]


def worth_in_readme():
    return [rounded(operating_points()[0][4]["keeps"], times=100)]


def worth_measured():
    points, full = operating_points()
    at_4, at_2 = points[4], points[2]
    return [
        rounded(at_4["keeps"], times=100), rounded(at_4["stop"]["ms"], 2), full,
        rounded(at_2["keeps"], times=100), rounded(at_2["stop"]["ms"], 2),
    ]  # fmt: skip


def gate_rows():
    gate = result("epyc2-gate_policy")["nano"]
    rows = [row for row in gate["table"] if row["method"] == "gate"]
    assert {row["gate"] for row in rows} == {10, 25, 50, 75, 90}
    return rows, gate


def gate_saving():
    rows, gate = gate_rows()
    saved = [times["saved_pct"] for times in gate["ms"].values()]
    flips = [row["flips_pct"] for row in rows]
    return [
        rounded(min(saved)), rounded(max(saved)), rounded(min(flips), 2), rounded(max(flips), 2)
    ]  # fmt: skip


def gate_depths():
    depths = [row["mean depth"] for row in gate_rows()[0]]
    return [rounded(min(depths), 1), rounded(max(depths), 1)]


def simulated_violations():
    runs = gate_rows()[1]["simulation"]
    return [f"{max(run['violations_pct'] for run in runs if run['risk'] == 0.01):g}"]


def overload(strategy, field="in_time", times=100, digits=0):
    rows = result("epyc2-gateway_schedule")["real_time"]
    values = [r[field] for r in rows if r["load"] == 2 and r["strategy"] == strategy]
    assert len(values) == 3
    return [rounded(min(values), digits, times), rounded(max(values), digits, times)]


def cameras():
    run = result("epyc2-gateway_cameras")
    assert run["totals"]["deadline_misses_total"] == 0
    assert rounded(run["cpu_cores_per_camera"], 2) == "0.25"
    return [rounded(run["latency_s"]["p50"], 2), rounded(run["latency_s"]["p99"], 2)]


def scale(kind):
    """The largest run of this kind, which must have been in time."""
    runs = [row for row in result("epyc2-gateway_scale")["rows"] if row["kind"] == kind]
    run = max(runs, key=lambda row: row["cameras"])
    assert (run["cameras"], run["late_share"]) == (16, 0)
    return run


def substreams():
    return [
        *(rounded(scale(kind)["cpu_cores"], 2) for kind in ("empty", "quiet")),
        rounded(scale("quiet")["rss_mb"]["most"]),
    ]


def faces_of_substreams():
    run = scale("quiet")
    found = run["totals"]["faces_found_total"]
    return [rounded(found), rounded(run["dropped_frames_share"], 2, times=100)]


def memory_of_a_camera():
    return [rounded(result("epyc2-gateway_scale")["memory_mb_per_camera"]["empty"], 1)]


def beside_before(name, *scenes):
    shares = result(f"epyc2-{name}")["cost_of_before"]
    return [rounded(shares[f"{scene}:4"], 2) for scene in scenes]


def ray(*ways):
    rows = [result("epyc2-ray_scaling")["speed"]["ways"][way] for way in ways]
    return [rounded(median(turn["faces_per_s"] for turn in turns)) for turns in rows]


def ray_ratios(*names):
    return [rounded(result("epyc2-ray_scaling")["speed"][name], 2) for name in names]


def ray_memory():
    small, large = result("epyc2-ray_scaling")["memory"]
    assert (small["faces"], large["faces"]) == (10_000, 200_000)
    return [rounded(small["driver_mb"]), rounded(large["driver_mb"])]


def soak():
    run = result("epyc2-gateway_soak")
    assert run["mqtt"]["lost"] == run["mqtt"]["without_end"] == run["file"]["without_end"] == 0
    assert run["seconds"] == 1800
    return [rounded(run["mqtt"]["tracks"])]


def command(*keys, digits=0, times=1):
    value = result("epyc2-command")
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


def of_group(by, group, source="more/utkface", gate=0):
    """What nano's fairness result says of a group at the gate that 95 % of portraits pass, or 75 %."""
    run = result("epyc2-fairness-nano")
    assert run["gates"] == [38, 63]
    (row,) = [
        row for row in run["groups"]
        if (row["by"], row["group"], row["source"]) == (by, group, source)
    ]  # fmt: skip
    return row["gates"][str(run["gates"][gate])]


def passing(*groups, gate=0):
    return [rounded(of_group(*group, gate=gate)["accepted"][0], 1, 100) for group in groups]


def passing_first_and_range(by, first):
    """Of one group, then the lowest and the highest of all others, all at gate 38."""
    rows = result("epyc2-fairness-nano")["groups"]
    others = [r["group"] for r in rows if r["by"] == by and r["source"] == "more/utkface"]
    others.remove(first)
    rates = [of_group(by, group)["accepted"][0] for group in others]
    return [*passing((by, first)), rounded(min(rates), 1, 100), rounded(max(rates), 1, 100)]


WOMEN, MEN = ("sex", "female"), ("sex", "male")


def tones_of_celeba(field):
    """Of tan to dark and of light persons of CelebA at full size."""
    rows = {
        row["group"]: row
        for row in result("epyc2-fairness-nano")["recognition"]
        if row["source"] == "celeba5" and row["recogniser"] == "mobilefacenet_casia_112x96"
    }
    return [rounded(rows[tone][field][0], 1, 100) for tone in ("tan to dark", "light")]


def with_ends(*tones):
    """Of (tone, test list), by the tone of the face: share that passes gate 38, and its interval."""
    rows = [of_group("skin tone", tone, source)["accepted"] for tone, source in tones]
    return [rounded(value, 1, 100) for row in rows for value in row]


def sources_above_the_promise():
    """How many of the sources that have rates; then the only one whose interval is above 1 %."""
    rows = [r for r in result("epyc2-fairness-nano")["groups"] if r["by"] == "source"]
    rates = {r["source"]: r["gates"]["38"]["false_exits"] for r in rows if "gates" in r}
    (clearly,) = [source for source, (_, low, _) in rates.items() if low > 0.01]
    assert clearly == "more/indianactors"
    above = sum(rate > 0.01 for rate, _, _ in rates.values())
    return [str(above), str(len(rates)), *(rounded(v, 1, 100) for v in rates[clearly])]


def faces_without_tone():
    rows = [r for r in result("epyc2-fairness-nano")["groups"] if r["source"] == "more/utkface"]
    (every,) = [row["faces"] for row in rows if row["by"] == "source"]
    return [
        rounded(every - sum(row["faces"] for row in rows if row["by"] == "skin tone")),
        rounded(every),
    ]


def unknown_actors():
    """And the card names every source whose persons nobody names."""
    rows = [r for r in result("epyc2-fairness-nano")["groups"] if r["by"] == "source"]
    unknown = {r["source"].removeprefix("more/"): r["faces_of_unknown_persons"] for r in rows}
    nobody = {r["source"].removeprefix("more/") for r in rows if r["persons"] is None}
    assert nobody == {"utkface", "aflw", "facemask", "indianceleb", "mtflnet", "rmfd"}
    assert {source for source, faces in unknown.items() if faces} == nobody | {"indianactors"}
    return [rounded(unknown["indianactors"])]


def fnmr_to_reach():
    """Of both recognisers: the mean over the lists in colour."""
    reached = []
    for network in ("mobilefacenet_casia_112x96", "mobileface_id_v2"):
        rows = [
            row
            for row in result("epyc2-fairness-nano")["recognition"]
            if (row["recogniser"], row["by"]) == (network, "source")
        ]
        lists = [row["fnmr_accepted"][0] for row in rows if row["source"] != "orl"]
        assert len(lists) == 3
        assert sum(lists) / 3 == pytest.approx(rows[0]["fnmr_to_reach"], abs=2e-5)
        reached.append(rounded(rows[0]["fnmr_to_reach"], 1, 100))
    return reached


def false_exits():
    return [rounded(of_group(*sex)["false_exits"][0], 2, 100) for sex in (WOMEN, MEN)]


def depths_at_the_gate():
    return [rounded(of_group(*sex)["mean_depth"], 1) for sex in (WOMEN, MEN)]


def masks():
    return passing(*(("source", f"more/{name}", f"more/{name}") for name in ("rmfd", "facemask")))


OVER_EAGER = "12 segments, x faster than torch eager"
CLAIMS = [
    (README, "ViT-S", "# times as fast in FP32, # in BF16, # in INT8",
     lambda: [rounded(v, 1) for v in vit_s(OVER_EAGER)]),
    (README, "first lines", "a ViT-S in INT8 runs # times as fast as in torch (eager, FP32).\nWith the "
     "default model, early exits at a tested risk of 1 % save # to # % of the time (",
     lambda: [rounded(vit_s(OVER_EAGER)[2], 1), *gate_saving()[:2]]),
    (README, "nano", "# ms to full depth; # ms to exit 4", nano_ms),
    (README, "worth", "exit 4 keeps # % of the worth of nano's best exit", worth_in_readme),
    (README, "risk", "it saves # to # % of the time, and changes # to # %", gate_saving),
    (README, "folder", "# faces a second", lambda: [command("folder", "faces_per_s")]),
    (README, "overload", "# % answered in time; full depth alone answers # to # %",
     lambda: [overload("ours")[0], *overload("full depth, drop")]),
    (README, "cameras", "from frame to event? | # s at the median, # s at 99 %", cameras),
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
    (MEASURED, "faces", "Test: # faces", lambda: [rounded(result("epyc2-gate_policy")["faces"])]),
    (MEASURED, "depths", "nano stops after # to # of 12", gate_depths),
    (MEASURED, "gate", "saves # to # % of the time of full depth, and changes # to # %", gate_saving),
    (MEASURED, "simulation", "exceeded in at most # %", simulated_violations),
    (MEASURED, "worth", "at exit 4 keeps # % of the worth of its best exit for # of # ms, "
     "and # % at exit 2 for # ms", worth_measured),
    (MEASURED, "regret", "was # to # points less exact", lambda: overload("ours", "regret", 1, 1)),
    (MEASURED, "dropping", "drops the oldest faces answered # to # %",
     lambda: overload("full depth, drop")),
    (MEASURED, "exit 6", "exit 6 that drops # to # %", lambda: overload("exit 6, drop")),
    (MEASURED, "soak", "a full disk: # people", soak),
    (MEASURED, "cameras", "From frame to event: # s at the median, # s at 99 %", cameras),
    (MEASURED, "substreams",
     "# cores in all, with one person now and then before each # cores, with # MB", substreams),
    (MEASURED, "faces of substreams", "Of # faces none was late; # % of the frames",
     faces_of_substreams),
    (MEASURED, "memory of a camera", "One more camera costs # MB", memory_of_a_camera),
    (MEASURED, "beside before",
     "costs # of the processor time in an empty scene, # in a quiet one and # in a busy one",
     lambda: beside_before("gateway_scale_before", "empty", "quiet", "busy")),
    (MEASURED, "good interval", "With `best_shot.good_interval_s: 0.3` it is # and #",
     lambda: beside_before("gateway_scale_good_interval", "quiet", "busy")),
    (MEASURED, "women", "# % of the women and # % of the men pass the gate that",
     lambda: passing(WOMEN, MEN)),
    (CARD, "women", "# % of the women and # % of the men pass gate 38, and # and # % gate 63",
     lambda: passing(WOMEN, MEN) + passing(WOMEN, MEN, gate=1)),
    (CARD, "children",
     "# % of those below 3 years pass gate 38, # % of those from 3 to 12, # % from 40",
     lambda: passing(("age", "0-2"), ("age", "3-12"), ("age", "40-59"))),
    (CARD, "race", "# % pass gate 38, of the other labels # to # %",
     lambda: passing_first_and_range("race", "Asian")),
    (CARD, "tone", "# % pass gate 38, of the other tones # to # %",
     lambda: passing_first_and_range("skin tone", "very light")),
    (CARD, "faces of CelebA at full size",
     "# % [#, #] of the brown to dark faces pass gate 38, # % of the tan, # % [#, #] of the light",
     lambda: with_ends(("brown to dark", "celeba5")) + passing(("skin tone", "tan", "celeba5"))
     + with_ends(("light", "celeba5"))),
    (CARD, "faces of CelebA at half size",
     "# % [#, #] of the tan to dark faces pass, # % [#, #] of the light",
     lambda: with_ends(("tan to dark", "celeba10k"), ("light", "celeba10k"))),
    (CARD, "persons of CelebA", "# % of tan to dark pass in `celeba5`, # % of light",
     lambda: tones_of_celeba("accepted")),
    (CARD, "the promise", "# of # sources here are above 1 % at gate 38, one of them clearly: "
     "`more/indianactors`, # % [#, #]", sources_above_the_promise),
    (CARD, "no tone", "# of the # faces of UTKFace have no tone", faces_without_tone),
    (CARD, "unknown persons", "and # faces of `indianactors`", unknown_actors),
    (CARD, "FNMR to reach", "the FNMR to reach (# %) is a mean of three lists, and the CelebA lists "
     "push it up (for the other recogniser it is # %", fnmr_to_reach),
    (CARD, "errors", "# % of the pairs fail against # %", lambda: tones_of_celeba("fnmr_accepted")),
    (CARD, "false exits", "# % of their decisions are others than at full depth, and # % of the men's",
     false_exits),
    (CARD, "depths", "women go through # blocks on average, men through #", depths_at_the_gate),
    (CARD, "masks", "# % of `more/rmfd` (real masks) pass gate 38, and # % of `more/facemask`", masks),
    (CARD, "ORL", "ORL are refused**: # % pass gate 38",
     lambda: passing(("source", "orl", "orl"))),
    (RAY, "score", "`score`, one engine; two | #; # faces/s",
     lambda: ray("score, 1 engine", "score, 2 engines")),
    (RAY, "workers", "on Ray, one worker; two | #; # faces/s",
     lambda: ray("ray, 1 worker", "ray, 2 workers")),
    (RAY, "cost", "divided by those of `score`, one and two | #; #",
     lambda: ray_ratios("ray_over_score_1", "ray_over_score_2")),
    (RAY, "second worker", "two engines of `score` divided by one | #; #",
     lambda: ray_ratios("ray_2_over_ray_1", "score_2_over_score_1")),
    (RAY, "memory", "over 10,000 pictures; over 200,000 | # MB; # MB", ray_memory),
]  # fmt: skip


@pytest.mark.parametrize(
    ("page", "claim", "numbers"),
    [pytest.param(page, *claim, id=f"{page} {name}") for page, name, *claim in CLAIMS],
)
def test_a_number_is_that_of_its_file(page, claim, numbers):
    text = (ROOT / page).read_text(encoding="utf-8")
    pattern = re.escape(claim).replace(r"\#", r"(\d[\d,]*(?:\.\d+)?)")
    (stated,) = re.finditer(pattern, text)  # else the text has changed: change its claim
    assert list(stated.groups()) == numbers()


def rows_of_table(page, first_cell):
    text = (ROOT / page).read_text(encoding="utf-8")
    table = text[text.index(first_cell) :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


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
    qualities = {"nano, exit 4": "nano exit 4", "nano, all": "nano FW", "small, all": "small FW"}
    lists = {"CelebA": "celeba10k_gen_test", "LFW": "lfw_gen_test", "ORL": "orl_gen_test"}
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
    "nano INT8": ("nano", "int8"),
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
