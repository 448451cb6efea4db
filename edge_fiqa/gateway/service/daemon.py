"""The gateway as a service of the operating system: signals, the service manager, outputs."""

from __future__ import annotations

import logging
import queue
import signal
import sqlite3
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import FrameType

from edge_fiqa.engines.build_progress import reporting_to
from edge_fiqa.engines.forms import open_form
from edge_fiqa.errors import EdgeFiqaError, counted
from edge_fiqa.gateway.config.gateway import GatewayConfig, load_config
from edge_fiqa.gateway.events.event import Sink
from edge_fiqa.gateway.events.open_tracks import OpenTracks
from edge_fiqa.gateway.outputs import check_outputs, close_sinks, open_sinks, serve, watch
from edge_fiqa.gateway.service.app import Gateway
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.service.live_view import LiveView
from edge_fiqa.gateway.service.notify import notify, watchdog_s
from edge_fiqa.gateway.service.worker_scoring import open_scorers
from edge_fiqa.gateway.tracks.face_finder import FaceFinder
from edge_fiqa.gateway.view import CameraView
from edge_fiqa.scoring.scorer import available_backend

log = logging.getLogger("edge_fiqa.gateway")

STOP_S, CLOSE_S = 8.0, 5.0  # to end all tracks; to deliver their events
CHECK_S = 1.0  # between two checks of the threads and cameras


def check(file: Path) -> str:
    """Everything that can be checked without starting. Raises ConfigError and what opening raises."""
    config = load_config(file)
    check_outputs(mqtt=config.mqtt, http=config.http)
    if config.detector is not None:
        FaceFinder(config.detector, config.faces)
    for scorer in open_scorers(config):
        scorer.close()
    outputs = [key for key in ("mqtt", "http", "file", "store") if getattr(config, key)]
    return (
        f"{file} is fine: {counted(len(config.enabled_cameras), 'camera')}, model {config.model}, "
        f"outputs {', '.join(outputs) or 'none'}"
    )


class Signals:
    """Signals since `__init__`, one after the other. Until `ready`, a stop raises KeyboardInterrupt."""

    def __init__(self, stop_on: Collection[signal.Signals]) -> None:
        self.stop_on, self.ready, self.stopped = stop_on, False, False
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (*stop_on, signal.SIGHUP):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if not self.ready and number in self.stop_on:
            self.stopped = True
            raise KeyboardInterrupt  # ends whatever takes so long
        self._received.put(number)

    def next(self, timeout_s: float) -> int | None:
        """None: no signal within the time."""
        try:
            return self._received.get(timeout=timeout_s)
        except queue.Empty:
            return None


def serve_until_stopped(file: Path, stop_on: Collection[signal.Signals]) -> int:
    """Run until one of these signals; SIGHUP reads the file again. Returns the exit status.

    Raises ConfigError and what opening raises, before anything runs.
    """
    config = load_config(file)
    check_outputs(mqtt=config.mqtt, http=config.http)
    signals, bundle = Signals(stop_on), open_form(config.model, threads=config.threads)
    backend = config.backend or available_backend(bundle)
    view = LiveView(bundle.manifest.name, backend, BuildWatch())
    sinks = open_sinks(mqtt=config.mqtt, file=config.file, store=config.store)
    server, open_tracks = None, _open_tracks(config)
    try:
        with reporting_to(view.building):
            try:
                if config.http is not None:
                    server = serve(view, config.http, sinks)
                    log.info("http: the page is at %s", server.url)
                gateway = Gateway(config, sinks, view=view, open_tracks=open_tracks)
                signals.ready = True
            except BaseException:
                if not signals.stopped:
                    raise  # else whatever was loading may say of it what it likes
                log.info("stopped before it was ready; plans that were built are kept")
                return 0
            return _run(gateway, file, signals, sinks)
    finally:
        if server is not None:
            server.close()
        close_sinks(sinks, CLOSE_S)
        if open_tracks is not None:
            open_tracks.close()


def _open_tracks(config: GatewayConfig) -> OpenTracks | None:
    """Beside what the events go to. Without it the gateway runs, and says what that costs."""
    if config.mqtt is not None:
        file = config.mqtt.spool / "tracks.sqlite"
    elif config.file is not None:
        file = config.file.path.with_name(f".{config.file.path.name}.tracks")
    else:
        return None
    try:
        return OpenTracks(file)
    except (OSError, sqlite3.Error) as exc:
        log.warning("%s: %s: a kill would leave tracks without their end", file, exc)
        return None


def _run(gateway: Gateway, file: Path, signals: Signals, sinks: Sequence[Sink]) -> int:
    """Start, attend, stop. Returns the exit status."""
    gateway.start()
    watch(gateway.view, sinks)
    try:
        notify("READY=1\nSTATUS=running")
        cameras = counted(len(gateway.config.enabled_cameras), "camera")
        log.info("%s, model %s: running", cameras, gateway.view.model)
        return _attend(gateway, file, signals)
    finally:
        notify("STOPPING=1")
        gateway.stop(STOP_S)
        log.info("stopped; %s", _summary(gateway))


def _attend(gateway: Gateway, file: Path, signals: Signals) -> int:
    """Answer signals, feed the watchdog, and log once what became of each camera."""
    pause_s = min(CHECK_S, (watchdog_s() or 2 * CHECK_S) / 2)
    states: dict[str, str] = {}
    while True:
        number = signals.next(pause_s)
        if number in signals.stop_on:
            return 0
        if number == signal.SIGHUP:
            _reload(gateway, file)
        if (silent := gateway.silent_thread()) is not None:
            log.error("the %s hangs: stopping, so that the service manager starts anew", silent)
            return 1
        notify("WATCHDOG=1")
        for camera in gateway.view.cameras():
            if states.get(camera.name) != camera.state:
                states[camera.name] = camera.state
                _log_state(camera)


def _log_state(camera: CameraView) -> None:
    why = f": {camera.warnings[0]}" if camera.warnings else ""
    level = logging.INFO if camera.state in ("live", "ended") else logging.WARNING
    log.log(level, "camera %s is %s%s", camera.name, camera.state, why)


def _reload(gateway: Gateway, file: Path) -> None:
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        unchanged = gateway.reload(load_config(file))
    except EdgeFiqaError as exc:
        log.error("the configuration stays as it was: %s", exc)
    else:
        log.info("read %s again", file)
        if unchanged:
            log.warning("%s: changed, but only a restart takes it up", ", ".join(unchanged))
    notify("READY=1")


def _summary(gateway: Gateway) -> str:
    totals = gateway.view.totals()
    events = ", ".join(f"{count} {kind}" for kind, count in sorted(totals.events.items()))
    return (
        f"{counted(totals.faces_found, 'face')}, {totals.faces_scored} scored; events: "
        f"{events or 'none'}"
    )
