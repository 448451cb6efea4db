"""The gateway's routes: page, API, health, metrics. auth.py decides what may pass.

Errors are `{"error": "one line"}`, made in one place.
What the caller did wrong is 4xx; what cannot be done now is 503 with Retry-After.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from importlib.resources import files

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from edge_fiqa import __version__
from edge_fiqa.errors import ConfigError, EdgeFiqaError, ImageRefused, Overloaded
from edge_fiqa.gateway.config.outputs import HttpConfig
from edge_fiqa.gateway.events.event import Sink
from edge_fiqa.gateway.outputs.auth import Guard
from edge_fiqa.gateway.outputs.description import describe
from edge_fiqa.gateway.outputs.kserve_routes import add_kserve
from edge_fiqa.gateway.outputs.limits import TooLarge, TooSlow, WrongMedia, retry_after
from edge_fiqa.gateway.outputs.metrics import registry_for
from edge_fiqa.gateway.outputs.upload_limiter import Busy, UploadLimiter, to_json
from edge_fiqa.gateway.outputs.uploads import Decode, decode_here, read_deadline_s, read_landmarks
from edge_fiqa.gateway.view import View

MOST_TRACKS = 500
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def make_app(
    view: View,
    config: HttpConfig,
    sinks: Sequence[Sink],
    token: str | None,
    decode: Decode = decode_here,
) -> FastAPI:
    """The whole application, guarded. Raises nothing: `config` has been checked.

    decode: of untrusted pictures. The server gives one that can be ended.
    """
    app = FastAPI(
        title="edge_fiqa gateway",
        version=__version__,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        default_response_class=Response,
    )
    uploads = UploadLimiter(config)
    _add_page(app)
    _add_health(app, view, sinks)
    _add_status(app, view, config, sinks)
    _add_cameras(app, view, config)
    _add_tracks(app, view)
    _add_push(app, view, config, uploads, decode)
    add_kserve(app, view, uploads)
    _add_errors(app)
    describe(app)
    app.add_middleware(
        Guard,
        token=token,
        allowed_hosts=config.allowed_hosts,
        tls=config.tls,
    )
    return app


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return to_json({"error": message}, status, headers)


def _add_page(app: FastAPI) -> None:
    folder = files(__package__) / "page"

    def serve(path: str, name: str, media_type: str) -> None:
        content = (folder / name).read_bytes()

        @app.get(path, include_in_schema=False)
        async def page() -> Response:
            return Response(content, media_type=media_type)

    for path, (name, media_type) in PAGE.items():
        serve(path, name, media_type)


def _add_health(app: FastAPI, view: View, sinks: Sequence[Sink]) -> None:
    registry = registry_for(view, sinks)

    @app.head("/healthz", include_in_schema=False)
    @app.head("/v2/health/live", include_in_schema=False)
    @app.get("/healthz")
    @app.get("/v2/health/live")
    async def live() -> Response:
        """The process answers."""
        return to_json({"live": True})

    @app.head("/readyz", include_in_schema=False)
    @app.head("/v2/health/ready", include_in_schema=False)
    @app.get("/readyz")
    @app.get("/v2/health/ready")
    def ready() -> Response:
        """Faces can be scored now."""
        why_not = view.ready()
        return to_json({"ready": why_not is None, "why_not": why_not}, 503 if why_not else 200)

    @app.get("/metrics")
    def metrics() -> Response:
        """Prometheus text."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _add_status(app: FastAPI, view: View, config: HttpConfig, sinks: Sequence[Sink]) -> None:
    @app.get("/api/status")
    def status() -> Response:
        """Model, totals, and the problems of the outputs."""
        return to_json(
            {
                "version": __version__,
                "model": view.model,
                "backend": view.backend,
                "why_not_ready": view.ready(),
                "totals": view.totals(),
                "frames": config.frames,
                "outputs": [
                    {
                        "name": sink.name,
                        "problem": sink.problem,
                        "waiting": sink.waiting,
                        "dropped": sink.dropped,
                    }
                    for sink in sinks
                    if sink.name != "metrics"
                ],
            }
        )


def _add_cameras(app: FastAPI, view: View, config: HttpConfig) -> None:
    @app.get("/api/cameras")
    def cameras() -> Response:
        return to_json(view.cameras())

    @app.get("/api/cameras/{camera}/frame")
    def frame(camera: str) -> Response:
        """The latest frame as JPEG, without drawings. Its age stands in the headers (RFC 9111, 5.1)."""
        if not config.frames:
            return _error(403, "live pictures are switched off (http.frames)")
        answer = _jpeg(view.frame(camera), "no such camera, or no frame of it yet")
        ages = {shown.name: shown.frame_age_s for shown in view.cameras()}
        if answer.status_code == 200 and (age_s := ages.get(camera)) is not None:
            answer.headers["age"] = str(int(age_s))
            answer.headers["last-modified"] = formatdate(time.time() - age_s, usegmt=True)
        return answer


def _add_tracks(app: FastAPI, view: View) -> None:
    @app.get("/api/tracks")
    def tracks(camera: str | None = None, limit: int = 50) -> Response:
        """Open tracks and those ended lately, newest first, each with the record of its best shot."""
        asked_for = [track for track in view.tracks() if camera in (None, track.camera)]
        return to_json(asked_for[: max(0, min(limit, MOST_TRACKS))])

    @app.get("/api/tracks/{track:path}/snapshot")
    def snapshot(track: str) -> Response:
        """The best shot of a track as JPEG."""
        return _jpeg(view.snapshot(track), "no such track, or no picture of it")


def _add_push(
    app: FastAPI, view: View, config: HttpConfig, uploads: UploadLimiter, decode: Decode
) -> None:
    @app.post("/api/faces")
    async def push(request: Request) -> Response:
        """An image as the body -> an array of edge-fiqa/1 records, one for every face in it."""
        points = read_landmarks(request.query_params.get("landmarks"))
        deadline_s = read_deadline_s(request.query_params.get("deadline_ms"))

        def score(body: bytes) -> Response:
            image = decode(body, int(config.max_megapixels * 1e6))
            return to_json(view.push(image, points, deadline_s))

        return await uploads.run(request, score)


def _jpeg(data: bytes | None, otherwise: str) -> Response:
    return _error(404, otherwise) if data is None else Response(data, media_type="image/jpeg")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, exc: ClientDisconnect) -> Response:
        return _error(499, "the client went away")  # nobody gets it

    @app.exception_handler(Busy)
    async def busy(request: Request, exc: Busy) -> Response:
        return _error(exc.status, str(exc), retry_after(exc.seconds))

    @app.exception_handler(ImageRefused)
    async def refused(request: Request, exc: ImageRefused) -> Response:
        return to_json({"error": str(exc), "code": exc.code}, 422)

    @app.exception_handler(ConfigError)
    async def bad_request(request: Request, exc: ConfigError) -> Response:
        status = {TooLarge: 413, TooSlow: 408, WrongMedia: 415}.get(type(exc), 400)
        return _error(status, str(exc))

    @app.exception_handler(EdgeFiqaError)
    async def failed(request: Request, exc: EdgeFiqaError) -> Response:
        if isinstance(exc, Overloaded):
            return _error(503, str(exc), retry_after(1.0))
        return _error(503, "the engine failed; see the log", retry_after(5.0))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        keys = ", ".join(str(error["loc"][-1]) for error in exc.errors())
        return _error(422, f"not valid: {keys}")

    @app.exception_handler(HTTPException)
    async def http(request: Request, exc: HTTPException) -> Response:
        return _error(exc.status_code, str(exc.detail), dict(exc.headers or {}))

    @app.exception_handler(Exception)
    async def bug(request: Request, exc: Exception) -> Response:
        return _error(500, "this is a bug of the gateway; see its log")
