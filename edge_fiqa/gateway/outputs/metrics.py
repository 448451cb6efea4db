"""Prometheus metrics: read from the view and the sinks, and counted from events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge_fiqa import __version__
from edge_fiqa.gateway.events.event import Event, EventType, Sink
from edge_fiqa.gateway.tracks.face_finder import SkipReason
from edge_fiqa.gateway.view import View

LATENCY_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
QUALITY = tuple(range(10, 101, 10))


class EventMetrics:
    """A sink that counts: latency of every event, quality and reported causes of every finished track,
    by camera."""

    name = "metrics"
    problem: str | None = None
    dropped = waiting = 0

    def __init__(self) -> None:
        self.delivered = 0
        self._latency = Histogram(
            "edge_fiqa_event_latency_seconds",
            "From a frame's arrival to the event it gave.",
            ["camera"],
            buckets=LATENCY_S,
            registry=None,
        )
        self._quality = Histogram(
            "edge_fiqa_track_quality",
            "Quality (0 to 100) of the best shot of every finished track.",
            ["camera"],
            buckets=QUALITY,
            registry=None,
        )
        self._causes = Counter(
            "edge_fiqa_track_causes",
            "Causes of low quality reported for the best shots of finished tracks.",
            ["camera", "cause"],
            registry=None,
        )

    def causes(self) -> Iterable[Metric]:
        """Of a model that reads causes."""
        return self._causes.collect()

    def register(self, registry: CollectorRegistry) -> None:
        registry.register(self._latency)
        registry.register(self._quality)

    def begin(self, cameras: Sequence[str], causes: Sequence[str]) -> None:
        """Show these cameras, with 0 as long as nothing happened: else their first event is no rise."""
        for camera in cameras:
            self._latency.labels(camera)
            self._quality.labels(camera)
            for cause in causes:
                self._causes.labels(camera, cause)

    def publish(self, event: Event, snapshot: bytes | None) -> None:
        self.delivered += 1
        if event.latency_s is not None:
            self._latency.labels(event.camera).observe(event.latency_s)
        if event.type == "end" and event.record and event.record.quality.scalar is not None:
            self._quality.labels(event.camera).observe(event.record.quality.scalar)
        if event.type == "end" and event.record and event.record.reasons is not None:
            for reported in event.record.reasons.reported:
                self._causes.labels(event.camera, reported.cause).inc()

    def close(self, timeout_s: float) -> None:
        """Nothing waits."""


class GatewayMetrics(Collector):
    """What a View and its sinks show, read for every scrape."""

    def __init__(
        self, view: View, sinks: Sequence[Sink], counting: Sequence[EventMetrics] = ()
    ) -> None:
        self.view, self.sinks, self.counting = view, sinks, counting

    def collect(self) -> Iterable[Metric]:
        yield from self._gateway()
        yield from self._faces()
        yield from self._cameras()
        yield from self._outputs()

    def _gateway(self) -> Iterable[Metric]:
        view = self.view
        yield InfoMetricFamily(
            "edge_fiqa_build",
            "Version, model and backend.",
            {"version": __version__, "model": view.model, "backend": view.backend},
        )
        ready = view.ready() is None
        yield GaugeMetricFamily("edge_fiqa_ready", "1 if faces can be scored now.", int(ready))
        totals = view.totals()
        yield GaugeMetricFamily(
            "edge_fiqa_start_time_seconds", "Unix time of the start.", totals.started
        )
        yield GaugeMetricFamily(
            "edge_fiqa_load_ratio", "Demand at full depth over capacity.", totals.load
        )

    def _faces(self) -> Iterable[Metric]:
        totals, engine = self.view.totals(), [self.view.model, self.view.backend]
        detected = CounterMetricFamily(
            "edge_fiqa_faces_found", "Faces found.", labels=["model", "backend"]
        )
        detected.add_metric(engine, totals.faces_found)
        yield detected
        scored = CounterMetricFamily(
            "edge_fiqa_faces_scored",
            "Faces scored, by the exit they stopped at.",
            labels=["model", "backend", "exit"],
        )
        for exit_, faces in enumerate(totals.depths, start=1):
            scored.add_metric([*engine, str(exit_)], faces)
        yield scored
        skipped = {**dict.fromkeys(get_args(SkipReason), 0), **totals.skipped}
        yield _counter("faces_skipped", "Faces not scored, by reason.", "reason", skipped)
        events = {**dict.fromkeys(get_args(EventType), 0), **totals.events}
        yield _counter("events", "Events, by type.", "type", events)
        yield CounterMetricFamily(
            "edge_fiqa_deadline_misses", "Faces answered after their deadline.", totals.misses
        )
        yield CounterMetricFamily(
            "edge_fiqa_detector_failures",
            "Frames that the detector failed on.",
            totals.detector_failures,
        )
        if totals.energy_j is not None:
            yield CounterMetricFamily(
                "edge_fiqa_energy_joules", "Energy spent on scoring.", totals.energy_j
            )

    def _cameras(self) -> Iterable[Metric]:
        cameras = self.view.cameras()
        for counting in self.counting:
            counting.begin([camera.name for camera in cameras], self.view.causes)
            if self.view.causes:
                yield from counting.causes()

        def gauge(name: str, help_: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"edge_fiqa_camera_{name}", help_, labels=["camera"])

        def counter(name: str, help_: str) -> CounterMetricFamily:
            return CounterMetricFamily(f"edge_fiqa_camera_{name}", help_, labels=["camera"])

        up = gauge("up", "1 if the camera is live.")
        age = gauge("frame_age_seconds", "Age of the latest frame.")
        faces = gauge("faces", "Faces in the latest frame.")
        people = gauge("people", "People who are followed now.")
        warnings = gauge("warnings", "Warnings that hold now.")
        frames = counter("frames", "Frames taken.")
        dropped = counter("dropped_frames", "Frames not looked at.")
        reconnects = counter("reconnects", "Times that the camera was connected again.")
        for camera in cameras:
            label = [camera.name]
            up.add_metric(label, int(camera.state == "live"))
            if camera.frame_age_s is not None:
                age.add_metric(label, camera.frame_age_s)
            faces.add_metric(label, len(camera.faces))
            people.add_metric(label, camera.people)
            warnings.add_metric(label, len(camera.warnings))
            frames.add_metric(label, camera.frames)
            dropped.add_metric(label, camera.dropped_frames)
            reconnects.add_metric(label, camera.reconnects)
        yield from (up, age, faces, people, warnings, frames, dropped, reconnects)

    def _outputs(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "edge_fiqa_output_up", "1 if the output has no problem.", labels=["output"]
        )
        waiting = GaugeMetricFamily(
            "edge_fiqa_output_waiting_events", "Events not delivered yet.", labels=["output"]
        )
        events = CounterMetricFamily(
            "edge_fiqa_output_events", "Events by what became of them.", labels=["output", "result"]
        )
        for sink in self.sinks:
            up.add_metric([sink.name], int(sink.problem is None))
            waiting.add_metric([sink.name], sink.waiting)
            events.add_metric([sink.name, "delivered"], sink.delivered)
            events.add_metric([sink.name, "dropped"], sink.dropped)
        yield from (up, waiting, events)


def _counter(name: str, help_: str, label: str, counts: Mapping[str, int]) -> Metric:
    """A counter with one label."""
    family = CounterMetricFamily(f"edge_fiqa_{name}", help_, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def registry_for(view: View, sinks: Sequence[Sink]) -> CollectorRegistry:
    """Everything that /metrics shows: of the gateway, its events and the process."""
    registry = CollectorRegistry()
    counting = [sink for sink in sinks if isinstance(sink, EventMetrics)]
    others = [sink for sink in sinks if sink not in counting]
    registry.register(GatewayMetrics(view, others, counting))  # first: it begins what they count
    for sink in counting:
        sink.register(registry)
    ProcessCollector(registry=registry)
    return registry
