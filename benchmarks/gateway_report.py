"""What `gateway_cameras.py` reports: samples of a process, its counters, and its events, summed up."""

import os
import subprocess
import time
import urllib.request
from collections import Counter

import numpy as np
import psutil
from gateway_faults import Fault
from prometheus_client.parser import text_string_to_metric_families

SAMPLE_S = 5.0
WARM_UP_S = 60.0  # caches, pools and the two thousand faces of the monitors fill up


def watch(gateway: subprocess.Popen, http: int, seconds: float, faults: list[Fault]) -> list[dict]:
    process, samples = psutil.Process(gateway.pid), []
    while not is_ready(http):
        assert gateway.poll() is None, "the gateway did not start"
        time.sleep(0.2)
    start = time.monotonic()
    while (now := time.monotonic() - start) < seconds and gateway.poll() is None:
        for fault in faults:
            fault.update(now)
        cpu = process.cpu_times()
        samples.append(
            {
                "at": now,
                "cpu_s": cpu.user + cpu.system,
                "rss": process.memory_info().rss,
                "threads": process.num_threads(),
                "files": process.num_fds(),
                "load": os.getloadavg()[0],
            }
        )
        time.sleep(SAMPLE_S if not faults else 1.0)
    return samples


def is_ready(http: int) -> bool:
    """Whether it listens, and everything that may run has run."""
    try:
        return metrics(http)["ready"] == 1
    except OSError:
        return False


def resources(samples: list[dict], cameras: int) -> dict:
    steady = [s for s in samples if s["at"] >= min(WARM_UP_S, samples[-1]["at"] / 4)]
    span = steady[-1]["at"] - steady[0]["at"]
    cores = (steady[-1]["cpu_s"] - steady[0]["cpu_s"]) / span
    at = np.array([s["at"] for s in steady]) / 3600
    rss = np.array([s["rss"] for s in steady]) / 1e6
    half = len(rss) // 2
    return {
        "cpu_cores": round(cores, 3),
        "cpu_cores_per_camera": round(cores / cameras, 3),
        "rss_mb": {
            "first": round(rss[0], 1),
            "last": round(rss[-1], 1),
            "most": round(rss.max(), 1),
        },
        "rss_mb_per_hour": round(float(np.polyfit(at, rss, 1)[0]), 1),
        "rss_mb_per_hour_second_half": round(float(np.polyfit(at[half:], rss[half:], 1)[0]), 1),
        "threads": [min(s["threads"] for s in steady), max(s["threads"] for s in steady)],
        "files": [min(s["files"] for s in steady), max(s["files"] for s in steady)],
        "machine_load": round(float(np.mean([s["load"] for s in steady])), 2),
    }


def events_report(written: list[dict], heard: list[dict]) -> dict:
    """Latencies, and whether every track has its events whole, in the file and at the subscriber."""
    latency = np.array([e["latency_s"] for e in written if e["latency_s"] is not None])
    first = np.array([e["latency_s"] for e in written if e["type"] == "new"])
    if not first.size:  # an empty scene
        return {"events": Counter(e["type"] for e in written)}
    qualities = [
        e["record"]["quality"]["scalar"] for e in written if e["type"] == "end" and e["record"]
    ]
    return {
        "events": Counter(e["type"] for e in written),
        "latency_s": {
            "p50": round(float(np.quantile(latency, 0.5)), 4),
            "p99": round(float(np.quantile(latency, 0.99)), 4),
            "most": round(float(latency.max()), 4),
            "new_p50": round(float(np.quantile(first, 0.5)), 4),
            "new_p99": round(float(np.quantile(first, 0.99)), 4),
        },
        "ends": Counter(e["reason"] for e in written if e["type"] == "end"),
        "best_quality_median": float(np.median(qualities)),
        "file": tracks_report(written),
        "mqtt": tracks_report(heard)
        | {
            "twice": len(heard) - len({e["id"] for e in heard}),
            "lost": len({e["id"] for e in written} - {e["id"] for e in heard}),
        },
    }


def tracks_report(events: list[dict]) -> dict:
    tracks: dict[str, set[int]] = {}
    ended = set()
    for event in events:
        tracks.setdefault(event["track"], set()).add(event["sequence"])
        if event["type"] == "end":
            ended.add(event["track"])
    gaps = sum(sequence != set(range(len(sequence))) for sequence in tracks.values())
    return {"tracks": len(tracks), "without_end": len(set(tracks) - ended), "with_gaps": gaps}


def metrics(port: int) -> dict:
    """The gateway's own counters, from /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_created", "_sum")):
                continue
            if "latency" in sample.name or "quality" in sample.name:
                continue
            labels = "/".join(v for k, v in sample.labels.items() if k not in ("model", "backend"))
            name = sample.name.removeprefix("edge_fiqa_") + (f"/{labels}" if labels else "")
            values[name] = sample.value
    return values
