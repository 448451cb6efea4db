"""The gateway as a service of the operating system: signals, the service manager, outputs, the end."""

from __future__ import annotations

import logging
import queue
import signal
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType

from edge_fiqa.bundle.bundle import Bundle
from edge_fiqa.engines.build_progress import reporting_to
from edge_fiqa.errors import EdgeFiqaError
from edge_fiqa.gateway.config.gateway import load_config
from edge_fiqa.gateway.outputs import check_outputs, close_sinks, open_sinks, serve, watch
from edge_fiqa.gateway.service.app import Gateway, open_scorers
from edge_fiqa.gateway.service.build_watch import BuildWatch
from edge_fiqa.gateway.service.front import Front
from edge_fiqa.gateway.service.notify import notify, watchdog_s
from edge_fiqa.gateway.tracks.face_finder import FaceFinder
from edge_fiqa.scoring.scorer import available_backend

log = logging.getLogger("edge_fiqa.gateway")

STOP_S, CLOSE_S = 8.0, 5.0  # to end all tracks; to deliver their events
LOOK_S = 1.0  # between two looks at the threads and cameras


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
        f"{file} is fine: {len(config.cameras)} cameras, model {config.model}, "
        f"outputs {', '.join(outputs) or 'none'}"
    )


def serve_until_stopped(file: Path, stop_on: Collection[signal.Signals]) -> int:
    """Run until one of these signals; SIGHUP reads the file again. Returns the exit status.

    Raises ConfigError and what opening raises, before anything runs.
    """
    config = load_config(file)
    check_outputs(mqtt=config.mqtt, http=config.http)
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    started = False

    def note(number: int, _: FrameType | None) -> None:
        if not started and number in stop_on:
            raise KeyboardInterrupt  # out of whatever takes so long
        signals.put(number)

    for number in (*stop_on, signal.SIGHUP):
        signal.signal(number, note)
    building, bundle = BuildWatch(), Bundle.open(config.model)
    front = Front(bundle.manifest.name, config.backend or available_backend(bundle), building)
    sinks = open_sinks(mqtt=config.mqtt, file=config.file, store=config.store)
    server = None
    try:
        with reporting_to(building):
            try:
                if config.http is not None:
                    server = serve(front, config.http, sinks)
                gateway = Gateway(config, sinks, building=building)
                started = True
            except KeyboardInterrupt:
                log.info("stopped before it was ready; plans that were built are kept")
                return 0
            watch(gateway.view, sinks)
            gateway.start()
            front.open(gateway.view)
            try:
                notify("READY=1\nSTATUS=running")
                log.info("%d cameras, model %s: running", len(config.cameras), gateway.view.model)
                return _attend(gateway, file, signals, stop_on)
            finally:
                notify("STOPPING=1")
                gateway.stop(STOP_S)
                log.info("stopped; %s", _summary(gateway))
    finally:
        if server is not None:
            server.close()
        close_sinks(sinks, CLOSE_S)


def _attend(
    gateway: Gateway,
    file: Path,
    signals: queue.SimpleQueue[int],
    stop_on: Collection[signal.Signals],
) -> int:
    """Answer signals, feed the watchdog, and say once what became of each camera."""
    pause_s = min(LOOK_S, (watchdog_s() or 2 * LOOK_S) / 2)
    said: dict[str, str] = {}
    while True:
        try:
            number = signals.get(timeout=pause_s)
        except queue.Empty:
            number = 0
        if number in stop_on:
            return 0
        if number == signal.SIGHUP:
            _reload(gateway, file)
        if (silent := gateway.silent()) is not None:
            log.error("the %s hangs: stopping, so that the service manager starts anew", silent)
            return 1
        notify("WATCHDOG=1")
        for camera in gateway.view.cameras():
            if said.get(camera.name) != camera.state:
                said[camera.name] = camera.state
                why = f": {camera.warnings[0]}" if camera.warnings else ""
                level = logging.INFO if camera.state in ("live", "ended") else logging.WARNING
                log.log(level, "camera %s is %s%s", camera.name, camera.state, why)


def _reload(gateway: Gateway, file: Path) -> None:
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        waiting = gateway.reload(load_config(file))
    except EdgeFiqaError as exc:
        log.error("the configuration stays as it was: %s", exc)
    else:
        log.info("read %s again", file)
        if waiting:
            log.warning("%s: changed, but only a restart takes it up", ", ".join(waiting))
    notify("READY=1")


def _summary(gateway: Gateway) -> str:
    totals = gateway.view.totals()
    events = ", ".join(f"{count} {kind}" for kind, count in sorted(totals.events.items()))
    return f"{totals.faces_found} faces, {totals.faces_scored} scored; events: {events or 'none'}"
