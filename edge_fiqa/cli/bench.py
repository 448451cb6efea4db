"""edge-fiqa bench: what each exit costs on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from edge_fiqa.bench import report
from edge_fiqa.bench.compare import check_same_processor, compare
from edge_fiqa.bench.endurance import plot as plot_endurance
from edge_fiqa.bench.endurance import run_endurance
from edge_fiqa.bench.environment import environment
from edge_fiqa.bench.loadgen import (
    FULL_QUERIES,
    FULL_S,
    QUICK_QUERIES,
    QUICK_S,
    SCENARIOS,
    Load,
    Scenario,
    closed_loop_rate,
    run_scenario,
)
from edge_fiqa.bench.result import load_result
from edge_fiqa.bench.run import BenchPlan, run_benchmark
from edge_fiqa.bench.timing import QUICK, USUAL, Effort
from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.cli.face_folder import read_faces
from edge_fiqa.cli.options import (
    POLICY_FLAGS,
    USUAL_FUSION,
    add_policy_arguments,
    add_precision_argument,
    check_none_given,
    cores,
    policies_of,
    usual,
)
from edge_fiqa.cli.printing import say
from edge_fiqa.engines import BACKENDS, open_engine
from edge_fiqa.engines.forms import open_form
from edge_fiqa.errors import ConfigError, counted
from edge_fiqa.exits.fusion import parse_fusion
from edge_fiqa.files import write_whole
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.measurement.segment_costs import measured_costs
from edge_fiqa.policies.policy import Policy
from edge_fiqa.record import escape_json
from edge_fiqa.scoring.scorer import Scorer, available_backend
from edge_fiqa.types import FaceSet

LATENCY_MS, USUAL_BATCH = 20.0, (1,)
OF_RESULTS = ("faces", "output", "scenario")
OF_TURNS = ("quick", "steps", "rounds", "no_memory", "compare", "other_processor")
OF_TABLE = (*OF_TURNS, "exits", "batch", "plot")
OF_SCENARIO = ("full", "seconds", "qps", "latency_ms", "jobs", "logs", *POLICY_FLAGS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle", nargs="+", default=["nano"], metavar="DIR", help="or nano (default), small"
    )
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=[], help="the bundle's")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of one engine")
    parser.add_argument("--faces", type=Path, metavar="DIR", help="aligned faces (synthetic ones)")
    parser.add_argument("--quick", action="store_true", help="a first look: few rounds")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="keep the result")
    add_precision_argument(parser)
    table = parser.add_argument_group("the table: exit x batch x bundle x backend")
    table.add_argument("--exits", metavar="K,K,...", help="default: all")
    table.add_argument("--batch", type=int, nargs="+", metavar="N", help="faces (1)")
    table.add_argument("--steps", action="store_true", help="also in steps, asked after each")
    table.add_argument("--rounds", type=int, metavar="N", help=f"turns ({USUAL.rounds})")
    table.add_argument(
        "--no-memory", action="store_true", help="skip the processes that measure it"
    )
    table.add_argument("--plot", type=Path, metavar="FILE.png")
    table.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="faster or slower than then"
    )
    table.add_argument(
        "--other-processor", action="store_true", help="--compare, although the processors differ"
    )
    table.add_argument(
        "--update-costs",
        action="store_true",
        help="write this engine's times, and energy where there is a meter, into the bundle",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="score at the deepest of --exits without a pause: does it throttle? (10 shows it)",
    )
    load = parser.add_argument_group("MLPerf LoadGen, under the policy that the last group states")
    load.add_argument("--scenario", choices=SCENARIOS)
    load.add_argument("--full", action="store_true", help="as long as MLPerf's rules (10 minutes)")
    load.add_argument("--seconds", type=float, metavar="S", help="at least (5)")
    load.add_argument("--qps", type=float, help="server: arrivals/s (60 %% of what engines can do)")
    load.add_argument("--latency-ms", type=float, help=f"server: in time ({LATENCY_MS:g})")
    load.add_argument("--jobs", type=int, metavar="N", help="engines (cores; 1 for streams)")
    load.add_argument("--logs", type=Path, metavar="DIR", help="keep LoadGen's own logs")
    add_policy_arguments(parser)


def run(options: argparse.Namespace) -> int:
    _check_flags(options)
    old = load_result(options.compare) if options.compare is not None else None
    if old is not None and not options.other_processor:
        check_same_processor(old.environment, environment())
    backend = options.backend[0] if len(options.backend) == 1 else None
    bundles = [
        open_form(name, threads=options.threads, precision=options.precision, backend=backend)
        for name in options.bundle
    ]
    if options.update_costs:
        return _update(bundles, options)
    faces = _faces(options)
    if options.scenario is not None:
        return _scenario(bundles, faces, options)
    if options.minutes is not None:
        return _endurance(bundles, faces, options)
    result = run_benchmark(bundles, _plan(options), faces)
    say("\n".join(report.table(result)))
    if options.plot is not None:
        report.plot(result, options.plot)
    if old is not None:
        say("", *report.comparison(compare(old, result)))
    _finish(msgspec.json.encode(result), options)
    return 0


def _check_flags(options: argparse.Namespace) -> None:
    """Raise ConfigError for a flag of another use of this command: it would do nothing."""
    if options.update_costs:
        check_none_given(
            options, (*OF_RESULTS, *OF_TABLE, "minutes"), "does nothing beside --update-costs"
        )
    elif options.scenario is not None:
        check_none_given(options, (*OF_TABLE, "minutes"), "does nothing beside --scenario")
    elif options.minutes is not None:
        check_none_given(options, OF_TURNS, "does nothing beside --minutes")
    if options.scenario is None:
        check_none_given(options, OF_SCENARIO, "is about --scenario; the table takes --exits")
    elif options.scenario != "server":
        check_none_given(options, ("latency_ms",), "is about --scenario server")
        if options.scenario != "offline":
            check_none_given(options, ("qps",), "is about --scenario server and offline")
    if options.compare is None:
        check_none_given(options, ("other_processor",), "is about --compare OLD.json")


def _plan(options: argparse.Namespace) -> BenchPlan:
    effort = QUICK if options.quick else USUAL
    if options.rounds is not None:
        if options.rounds < 1:
            raise ConfigError(f"--rounds must be at least 1, got {options.rounds}")
        effort = Effort(options.rounds, effort.turn_ms, effort.warm_up)
    exits = None
    if options.exits is not None:
        try:
            exits = tuple(int(text) for text in options.exits.split(","))
        except ValueError:
            raise ConfigError(f"--exits {options.exits!r}: expected numbers like 1,3,6") from None
    return BenchPlan(
        exits,
        tuple(options.batch or USUAL_BATCH),
        tuple(options.backend),
        ("one", "steps") if options.steps else ("one",),
        options.threads,
        effort,
        not options.no_memory,
    )


def _faces(options: argparse.Namespace) -> FaceSet:
    if options.faces is not None:
        return read_faces(options.faces, 256, "bench")
    crops = synthetic_faces(64)
    return FaceSet(crops, tuple(map(str, range(len(crops)))), "synthetic faces")


def _update(bundles: Sequence[Bundle], options: argparse.Namespace) -> int:
    if len(options.backend) > 1:
        raise ConfigError("a bundle keeps the costs of one engine: give one --backend")
    for bundle in bundles:
        backend = options.backend[0] if options.backend else available_backend(bundle)
        with open_engine(bundle, backend, options.threads) as engine:
            costs = measured_costs(engine)
        bundle.with_costs(costs)
        with_energy = any(row.mj is not None for row in costs.segments)
        say(
            f"{bundle.folder}: costs of {counted(len(costs.segments), 'segment')} on "
            f"{costs.device.strip()}, "
            f"{costs.backend}, {counted(costs.threads, 'thread')}; "
            f"{'with' if with_energy else 'no'} energy"
        )
    return 0


def _endurance(bundles: Sequence[Bundle], faces: FaceSet, options: argparse.Namespace) -> int:
    batches = options.batch or USUAL_BATCH
    if len(bundles) > 1 or len(options.backend) > 1 or len(batches) > 1:
        raise ConfigError("--minutes takes one bundle, one backend and one batch size")
    (bundle,), (batch,), plan = bundles, batches, _plan(options)
    if not 1 <= batch <= len(faces.crops):
        raise ConfigError(
            f"--batch {batch}: give 1 to {len(faces.crops)}, as many as there are faces"
        )
    result = run_endurance(
        bundle,
        options.backend[0] if options.backend else available_backend(bundle),
        plan.threads,
        max(plan.exits or (bundle.config.depth,)),
        FaceSet(faces.crops[:batch], faces.groups[:batch], faces.described),
        60 * options.minutes,
    )
    say(*report.endurance(result))
    if options.plot is not None:
        plot_endurance(result, options.plot)
    _finish(msgspec.json.encode(result), options)
    return 0


def _scenario(bundles: Sequence[Bundle], faces: FaceSet, options: argparse.Namespace) -> int:
    if len(bundles) > 1 or len(options.backend) > 1:
        raise ConfigError("--scenario takes one bundle and one backend")
    scenario: Scenario = options.scenario
    alone = scenario in ("singlestream", "multistream")
    jobs = options.jobs or (1 if alone else cores())
    if jobs < 1 or (alone and jobs > 1):
        raise ConfigError(f"--jobs {jobs}: {scenario} is answered by one engine")
    scorers = _scorers(bundles[0], jobs, options)
    policies: list[Policy] = policies_of(options, bundles[0].config.depth)
    if options.policy == "gate":
        policies.append(scorers[0].gate_policy(options.risk, ranked=options.ranked))
    rate = jobs * closed_loop_rate(scorers[0], policies, faces.crops)
    load = _load(scenario, rate, options)
    with TemporaryDirectory() as folder:
        result = run_scenario(scorers, policies, faces, load, options.logs or Path(folder))
    for scorer in scorers:
        scorer.close()
    say("\n".join(report.scenario(result)))
    _finish(msgspec.json.encode(result), options)
    return 0 if result.valid else 1


def _scorers(bundle: Bundle, jobs: int, options: argparse.Namespace) -> list[Scorer]:
    return [
        Scorer.open(
            bundle,
            backend=options.backend[0] if options.backend else None,
            threads=options.threads or max(1, cores() // jobs),
            fusion=parse_fusion(usual(options.fusion, USUAL_FUSION), bundle.config.depth),
            gate=options.gate,
        )
        for _ in range(jobs)
    ]


def _load(scenario: Scenario, rate: float, options: argparse.Namespace) -> Load:
    """rate: faces/s that the engines can do in a closed loop."""
    queries = (FULL_QUERIES if options.full else QUICK_QUERIES)[scenario]
    return Load(
        scenario,
        options.seconds or (FULL_S if options.full else QUICK_S),
        queries,
        options.qps or (0.6 * rate if scenario == "server" else rate),
        LATENCY_MS if options.latency_ms is None else options.latency_ms,
    )


def _finish(text: bytes, options: argparse.Namespace) -> None:
    """The last line on stdout is the result."""
    if options.output is not None:
        try:
            write_whole(options.output, msgspec.json.format(text, indent=1) + b"\n")
        except OSError as exc:
            raise ConfigError(f"{options.output}: {exc.strerror}") from exc
    say(escape_json(text).decode())
