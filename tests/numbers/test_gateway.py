"""What the pages state of the gate policy and of the gateway."""

from tests.numbers.results import MEASURED, README, assert_stated, each, result, rounded


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


def saving_with_reasons():
    """Of the computing, then decisions that differ, as the shipped nano does it."""
    rows = [
        row
        for row in result("epyc2-reasons_given")["nano"]["rejected"]
        if row["rejected faces"] == "told why"
    ]
    assert [row["gate"] for row in rows] == [10, 25, 50, 75]
    saved, flips = [r["gflops saved"] for r in rows], [r["flips"][0] for r in rows]
    return [
        rounded(min(saved), 0, 100), rounded(max(saved), 0, 100),
        rounded(min(flips), 2, 100), rounded(max(flips), 2, 100),
    ]  # fmt: skip


def gate_depths():
    depths = [row["mean depth"] for row in gate_rows()[0]]
    return [rounded(min(depths), 1), rounded(max(depths), 1)]


def simulated_violations():
    runs = gate_rows()[1]["simulation"]
    return [f"{max(run['violations_pct'] for run in runs if run['risk'] == 0.01):g}"]


def overload(strategy, field="in_time", times=100, digits=0):
    rows = result("zen3-gateway_schedule")["real_time"]
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


def soak():
    run = result("epyc2-gateway_soak")
    assert run["mqtt"]["lost"] == run["mqtt"]["without_end"] == run["file"]["without_end"] == 0
    assert run["seconds"] == 1800
    return [rounded(run["mqtt"]["tracks"])]


CLAIMS = [
    (README, "first lines", "early exits at a tested risk of 1 % save # to # % of the computing (",
     lambda: saving_with_reasons()[:2]),
    (README, "risk", "it saves # to # % of the computing, and changes # to # %",
     saving_with_reasons),
    (MEASURED, "with reasons", "at gates 10 to 75 it saves # to # % of the computing",
     lambda: saving_with_reasons()[:2]),
    (README, "overload", "# % answered in time; full depth alone answers # to # %",
     lambda: [overload("ours")[0], *overload("full depth, drop")]),
    (README, "cameras", "from frame to event (twelve blocks, as many as small has)? | # s at "
     "the median, # s at 99 %", cameras),
    (MEASURED, "faces", "Test: # faces", lambda: [rounded(result("epyc2-gate_policy")["faces"])]),
    (MEASURED, "depths", "nano stops after # to # of 6", gate_depths),
    (MEASURED, "gate", "saves # to # % of the time of full depth, and changes # to # %", gate_saving),
    (MEASURED, "simulation", "the promised 1 % was exceeded in # %", simulated_violations),
    (MEASURED, "regret", "was # to # points less exact", lambda: overload("ours", "regret", 1, 1)),
    (MEASURED, "dropping", "drops the oldest faces answered # to # %",
     lambda: overload("full depth, drop")),
    (MEASURED, "exit 3", "exit 3 that drops # to # %", lambda: overload("exit 3, drop")),
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
]  # fmt: skip


@each(CLAIMS)
def test_a_number_is_that_of_its_file(page, claim, numbers):
    assert_stated(page, claim, numbers)
