"""What the motion gate costs and saves: people and best shots against a look at every frame in full.

    python benchmarks/gateway_motion.py DATA [--clips FOLDER] [--split test] [--seeds 3] [-o FILE]

Three ways over the same frames: OpenCV on every frame in full (`before`), OpenVINO on every frame in
full (`full`), and with the gate (`gate`), where who has a good shot is scored now and then
(--good-interval; its default is the gateway's). Costs are processor seconds of detection and
tracking for each second of video; scoring is left out. On a busy machine, only the ratios count.

Of clips that `motion_clips.csv` names, the people who are announced are compared with those counted by
eye. The clips themselves are not in this repository: they are of intel-iot-devkit/sample-videos.
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from common import add_data, new_result, write_result
from motion_scenes import FPS, KINDS, clip, frames, people_of, scene

from edge_fiqa import Scorer
from edge_fiqa.faces.detector_file import find_detector
from edge_fiqa.gateway.config.gateway import BestShotConfig, DetectorConfig, FacesConfig
from edge_fiqa.gateway.config.motion import MotionConfig
from edge_fiqa.gateway.queue.good_shots import GoodShotInterval
from edge_fiqa.gateway.tracks.camera_faces import CameraFaces
from edge_fiqa.gateway.tracks.face_finder import FaceFinder
from edge_fiqa.gateway.tracks.tracker import Tracker

with (Path(__file__).parent / "motion_clips.csv").open(newline="", encoding="utf-8") as table:
    COUNTED = {row["file"]: int(row["faces"]) for row in csv.DictReader(table)}
BEST_SHOT = BestShotConfig()
WAYS = {"before": ("cv2", False), "full": ("ov", False), "gate": ("ov", True)}


class Way:
    """One way to look at a scene: its people, their qualities and what it cost."""

    def __init__(self, finder, motion, scorer, good_interval_s):
        self.finder, self.faces, self.tracker = finder, CameraFaces(motion), Tracker(2.0)
        self.scorer, self.cpu_s, self.looks = scorer, 0.0, 0
        self.shots = defaultdict(list)  # track -> (second, middle of the box, quality)
        self.announced = set()  # tracks with a face at the floor or above
        self.good_tracks, self.scored = set(), 0
        self.good_shots = GoodShotInterval(good_interval_s, self.good_tracks)

    def see(self, now, image):
        start = time.process_time()
        faces = self.faces.find(self.finder, image, now)
        if faces is not None:
            boxes, scores = [face.box for face in faces], [face.score for face in faces]
            numbers, _ = self.tracker.update(boxes, scores, now)
            self.faces.look_again(
                [face for face, number in zip(faces, numbers, strict=True) if number is None]
            )
            self.looks += 1
        self.cpu_s += time.process_time() - start
        for face, number in zip(faces or (), numbers if faces is not None else (), strict=True):
            if number is not None and face.crop is not None and self.scorer is not None:
                if self.good_shots.is_too_soon(number, now):
                    continue
                self.good_shots.note(number, now)
                self.scored += 1
                quality = self.scorer.score_face(face.crop).quality.scalar
                x, y, width, height = face.box
                self.shots[number].append((now, x + width / 2, y + height / 2, quality))
                if quality >= BEST_SHOT.floor_of(face.score):
                    self.announced.add(number)
                if quality >= BEST_SHOT.good_quality:
                    self.good_tracks.add(number)


def best_of_visits(way, visits):
    """Visit -> best quality of the faces at its place and time; None: nobody was followed there."""
    best = [None] * len(visits)
    for shots in way.shots.values():
        for now, x, y, quality in shots:
            near = [
                (np.hypot(x - place[0], y - place[1]), number, place[2])
                for number, visit in enumerate(visits)
                if (place := visit.at(now)) is not None
            ]
            if near and (nearest := min(near))[0] < nearest[2] / 2:
                best[nearest[1]] = max(quality, best[nearest[1]] or 0)
    return best


def best_of_tracks(way, full):
    """Track of the full look -> best quality of the gate's faces within it in time and place."""
    best = {}
    for number, shots in full.shots.items():
        close = [
            quality
            for others in way.shots.values()
            for now, x, y, quality in others
            if any(
                abs(now - s[0]) < 0.55 and abs(x - s[1]) < 40 and abs(y - s[2]) < 40 for s in shots
            )
        ]
        best[number] = max(close, default=None)
    return list(best.values())


def run(name, frames_of, visits, options):
    ways = {
        way: Way(
            options.finders[backend],
            MotionConfig(gate=gate),
            None if way == "before" else options.scorer,
            options.good_interval if way == "gate" else 0,
        )
        for way, (backend, gate) in WAYS.items()
    }
    count, last = 0, 0.0
    for now, image in frames_of:
        for way in ways.values():
            way.see(now, image)
        count, last = count + 1, now
    seconds = max(last, 1 / FPS)
    if visits is None:
        best = {way: best_of_tracks(ways[way], ways["full"]) for way in ("full", "gate")}
    else:
        best = {way: best_of_visits(ways[way], visits) for way in ("full", "gate")}
    pairs = [(f, g) for f, g in zip(best["full"], best["gate"], strict=True) if f is not None]
    regrets = [f - g for f, g in pairs if g is not None]
    row = {
        "scene": name,
        "frames": count,
        "people": len(pairs),
        "lost": sum(g is None for _, g in pairs),
        "regret_mean": round(float(np.mean(regrets)), 2) if regrets else 0.0,
        "regret_max": max(regrets, default=0),
        "tracks": {way: len(ways[way].shots) for way in ("full", "gate")},
        "best": {way: best[way] for way in best},
        "announced": len(ways["gate"].announced),
        "counted": COUNTED.get(name),
        "cpu_s_per_s": {way: round(ways[way].cpu_s / seconds, 4) for way in ways},
        "looks": ways["gate"].looks,
        "faces_scored": {way: ways[way].scored for way in ("full", "gate")},
    }
    row["gate_of_before"] = round(ways["gate"].cpu_s / ways["before"].cpu_s, 3)
    print(
        f"{name:44} {count:5} {row['people']:3} {row['lost']:3} {row['regret_mean']:6} "
        f"{row['regret_max']:4} {row['looks']:5} {row['gate_of_before']:6} {row['cpu_s_per_s']}",
        flush=True,
    )
    return row, regrets


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data(arguments)
    arguments.add_argument("--clips", type=Path, help="folder of videos")
    arguments.add_argument("--split", default="test")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--kinds", nargs="+", default=KINDS)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--good-interval", type=float, default=BEST_SHOT.good_interval_s)
    arguments.add_argument("-o", "--output", type=Path)
    options = arguments.parse_args()
    cv2.setNumThreads(1)
    model, limits = find_detector().path, FacesConfig(min_eye_px=8)
    options.finders = {
        backend: FaceFinder(DetectorConfig(model=model, backend=backend), limits)
        for backend in ("cv2", "ov")
    }
    rows, regrets = [], []
    people = people_of(options.data, options.split)
    with Scorer.open("nano", threads=1) as options.scorer:
        for file in sorted(options.clips.glob("*.mp4")) if options.clips else ():
            row, more = run(file.name, clip(file, FPS), None, options)
            rows.append(row)
            regrets += more
        for kind in options.kinds:
            for seed in range(options.seeds):
                plan = scene(kind, people, seed, options.seconds)
                row, more = run(f"{kind} {seed}", frames(options.data, plan), plan.visits, options)
                rows.append(row)
                regrets += more
    people_count, lost = sum(row["people"] for row in rows), sum(row["lost"] for row in rows)
    summary = {
        "people": people_count,
        "kept_share": round(1 - lost / max(1, people_count), 4),
    }
    if regrets:
        summary |= {
            "regret_mean": round(float(np.mean(regrets)), 3),
            "regret_p95": round(float(np.percentile(regrets, 95)), 2),
            "regret_max": max(regrets),
        }
    for kind in options.kinds if options.seeds else ():
        ratios = [row["gate_of_before"] for row in rows if row["scene"].startswith(kind)]
        summary[f"cost_{kind}"] = round(float(np.mean(ratios)), 3)
    scored = [sum(row["faces_scored"][way] for row in rows) for way in ("full", "gate")]
    summary["faces_scored"] = round(scored[1] / max(1, scored[0]), 3)
    known = [row for row in rows if row["counted"] is not None]
    summary["clips_as_counted"] = (
        f"{sum(r['announced'] == r['counted'] for r in known)}/{len(known)}"
    )
    settings = {"split": options.split, "good_interval_s": options.good_interval}
    report = new_result(__doc__) | {"summary": summary} | settings | {"rows": rows}
    write_result(report, options.output)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
