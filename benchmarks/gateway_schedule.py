"""Load from a quarter to four times what the box can do at full depth: who is answered, how well?

    python benchmarks/gateway_schedule.py DATA [-o RESULT.json] [--plot FILE.png]

Simulated: the gateway's own scheduler on a virtual clock, with the trails of real faces, the speed of
this machine measured now, and the scatter of its times. Confirmed: the same at twice the capacity in
real time, with the real queue, worker and engine. Against full depth and half of it, which drop
what cannot be in time. People arrive at random and are seen ten times a second.
"""

import json
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from common import add_data, new_result, parser, read_faces, write_result
from gateway_scene import identities
from gateway_simulate import Arrival, Outcome, poisson, simulate, summarise

from edge_fiqa import Scorer
from edge_fiqa.exits.fusion import fuse
from edge_fiqa.faces.sources import FaceCrop
from edge_fiqa.gateway.queue.face_queue import FaceQueue, QueuedFace
from edge_fiqa.gateway.queue.schedule import Rules, Speed, at_fixed_exit, grant_depth
from edge_fiqa.gateway.queue.worker import GrantedDepth, Worker, grantable_exits, measure_speed
from edge_fiqa.measurement.all_exits import all_exits

LOADS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
DEADLINE_S, GOOD, SEEN = 0.5, 60.0, 30  # frames in which a person is seen
STRATEGIES = {
    "ours": partial(grant_depth, rules=Rules()),
    "ours, from exit 4": partial(grant_depth, rules=Rules(least_exit=4)),
    "full depth, drop": at_fixed_exit,
    "exit 3, drop": partial(at_fixed_exit, exit=3),
}
REAL_TIME = ("ours", "full depth, drop", "exit 3, drop")


def main() -> None:
    arguments = parser(__doc__)
    add_data(arguments)
    arguments.add_argument("--people", type=int, default=300)
    arguments.add_argument("--seconds", type=float, default=40)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument(
        "--rounds", type=int, default=3, help="in real time, each 12 s a strategy"
    )
    arguments.add_argument("--plot", type=Path)
    options = arguments.parse_args()
    result, scorer = new_result(__doc__), Scorer.open(threads=1)
    exits = grantable_exits(scorer, 2)
    speed = measure_speed(scorer, 1, exits, repeats=40)
    slowness = scatter(scorer, speed)
    crops, tracks = faces(options.data, options.people)
    quality = qualities(scorer, crops, exits)
    rows = []
    for load in LOADS:
        for name, strategy in STRATEGIES.items():
            runs = [
                once(load, strategy, speed, slowness, quality, tracks, options.seconds, seed)
                for seed in range(options.seeds)
            ]
            row = {"load": load, "strategy": name} | {
                key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]
            }
            rows.append(row)
            print(line(row))
    confirmed = []
    for turn in range(options.rounds):
        now = measure_speed(scorer, 1, exits, repeats=40)
        for name in REAL_TIME:
            strategy, row = STRATEGIES[name], {"load": 2.0, "strategy": name, "round": turn}
            row |= real_time(scorer, strategy, now, crops, quality, tracks, 12.0, turn)
            confirmed.append(row)
            print("real time", line(row))
    result |= {
        "deadline_s": DEADLINE_S,
        "good_shot": GOOD,
        "rules": asdict(Rules()),
        "faces": len(crops),
        "people": len(tracks),
        "frames_per_person": SEEN,
        "speed": {
            "capacity_faces_per_s": round(speed.capacity, 1),
            "ms": {k: round(1e3 * s, 3) for k, s in zip(speed.exits, speed.seconds, strict=True)},
            "batch_marginal": round(speed.marginal, 3),
            "slowness_p50_p99_most": np.quantile(slowness, (0.5, 0.99, 1)).round(3).tolist(),
        },
        "regret_by_exit": dict(
            zip(
                exits, np.abs(quality - quality[:, -1:]).mean(axis=0).round(2).tolist(), strict=True
            )
        ),
        "simulated": rows,
        "real_time": confirmed,
    }
    if options.plot:
        plot(rows, options.plot)
    write_result(result, options.output)
    print(json.dumps(result))


def faces(data: Path, people: int) -> tuple[np.ndarray, list[list[int]]]:
    """Crops (N, 112, 112, 3) RGB of identities with several, and for each person its rows in order."""
    several = [paths for paths in identities(data).values() if len(paths) >= 3]
    rng = np.random.default_rng(0)
    chosen = [several[i] for i in rng.permutation(len(several))[:people]]
    crops, tracks, count = [], [], 0
    for paths in chosen:
        rows = range(count, count + len(paths))
        count += len(paths)
        crops.append(read_faces(data, paths))
        tracks.append([rows[(n // 4) % len(rows)] for n in range(SEEN)])
    return np.concatenate(crops), tracks


def qualities(scorer: Scorer, crops: np.ndarray, exits: tuple[int, ...]) -> np.ndarray:
    """(N, exits): the 0-100 quality that a stop at each exit would give."""
    trail = all_exits(scorer.engine, crops)
    estimator = scorer.estimator
    return np.stack(
        [
            estimator.scale.quality(estimator.estimate(fuse(trail, k, scorer.fusion), k))
            for k in exits
        ],
        axis=1,
    ).astype(float)


def scatter(scorer: Scorer, speed: Speed, runs: int = 1500) -> np.ndarray:
    """(runs,) how much longer than usual each of many runs at exit 3 takes."""
    face = FaceCrop("a", "a", np.zeros((112, 112, 3), np.uint8))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        scorer.score([face], [GrantedDepth(3)])
        times.append(time.perf_counter() - start)
    return np.array(times) / np.median(times)


def once(load, strategy, speed, slowness, quality, tracks, seconds, seed) -> dict:
    rng = np.random.default_rng(seed)
    arrivals = poisson(rng, load * speed.capacity, seconds, DEADLINE_S, tracks)
    outcome = simulate(arrivals, quality, speed, strategy, GOOD, rng.permutation(slowness))
    return asdict(summarise(arrivals, outcome, quality, speed.exits))


def real_time(scorer, strategy, speed, crops, quality, tracks, seconds, seed) -> dict:
    """The same with the real queue, worker and engine, at twice the capacity."""
    rng = np.random.default_rng(seed)
    arrivals = poisson(rng, 2.0 * speed.capacity, seconds, DEADLINE_S, tracks)
    outcome = Outcome([None] * len(arrivals), np.full(len(arrivals), np.nan), 0, 0, float("nan"))
    good_tracks: set[str] = set()
    lost = {"good_shot": 0, "overload": 0}
    start = time.monotonic() + 0.5

    def answered(face: QueuedFace, record, at: float) -> None:
        number = int(face.input.id)
        outcome.exits[number], outcome.answered[number] = record.exit.depth, at - start
        if record.quality.scalar >= GOOD:
            good_tracks.add(face.track)

    def drop(face: QueuedFace, why: str) -> None:
        lost[why] += 1

    queue = FaceQueue(speed, strategy, good_tracks, drop)
    worker = Worker(queue, scorer, (), answered, drop)
    worker.start()
    feed(queue, arrivals, crops, start)
    queue.close()
    worker.join(30)
    late = Outcome(
        outcome.exits, outcome.answered, lost["good_shot"], lost["overload"], float("nan")
    )
    summary = asdict(summarise(arrivals, late, quality, speed.exits))
    del summary["busy_share"]
    return {key: round(float(value), 4) for key, value in summary.items()}


def feed(queue: FaceQueue, arrivals: list[Arrival], crops: np.ndarray, start: float) -> None:
    def work() -> None:
        for number, arrival in enumerate(arrivals):
            at = start + arrival.time
            time.sleep(max(0.0, at - time.monotonic()))
            crop = FaceCrop(str(number), "a", crops[arrival.face])
            queue.put(QueuedFace(crop, at, at + DEADLINE_S, at, "a", str(arrival.track)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def line(row: dict) -> str:
    return (
        f"{row['load']:5.2f}  {row['strategy']:17} in time {row['in_time']:7.2%}  depth "
        f"{row['depth']:5.2f}  regret {row['regret']:5.2f}  of tracks {row['tracks_regret']:5.2f}  "
        f"skipped {row['skipped']:6.2%}  dropped {row['dropped']:6.2%}  "
        f"p99 {row['latency_p99_s']:.3f} s"
    )


def plot(rows: list[dict], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (key, title) in zip(
        axes,
        (
            ("in_time", "share of faces answered in time"),
            ("regret", "regret of those answered, points"),
            ("tracks_regret", "lost in a person's best shot, points"),
        ),
        strict=True,
    ):
        for name in STRATEGIES:
            mine = [row for row in rows if row["strategy"] == name]
            axis.plot(
                [r["load"] for r in mine], [r[key] for r in mine], marker="o", ms=3, label=name
            )
        axis.set(xlabel="load / full-depth capacity", title=title, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
