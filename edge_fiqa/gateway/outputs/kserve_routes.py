"""Routes of KServe's Open Inference Protocol (v2), with and without a version of the model."""

from __future__ import annotations

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from edge_fiqa import __version__
from edge_fiqa.gateway.outputs import kserve
from edge_fiqa.gateway.outputs.upload_limiter import UploadLimiter, to_json
from edge_fiqa.gateway.view import View

MODEL = "/v2/models/{name}"
VERSION = MODEL + "/versions/{version}"


def add_kserve(app: FastAPI, view: View, uploads: UploadLimiter) -> None:
    def check(name: str, version: str) -> None:
        if name != view.model:
            raise HTTPException(404, "no such model")
        if version != __version__:
            raise HTTPException(404, f"no such version of the model: it has {__version__}")

    @app.get("/v2")
    async def server() -> Response:
        return to_json(kserve.server_metadata())

    def metadata(name: str, version: str) -> Response:
        check(name, version)
        return to_json(kserve.model_metadata(view))

    def readiness(name: str, version: str) -> Response:
        check(name, version)
        why_not = view.ready()
        return to_json({"name": name, "ready": why_not is None}, 503 if why_not else 200)

    async def infer(name: str, version: str, request: Request) -> Response:
        check(name, version)
        header_length = request.headers.get(kserve.HEADER_LENGTH)

        def score(body: bytes) -> Response:
            infer_request, faces = kserve.read_request(body, header_length)
            return _answer(*kserve.infer(view, infer_request, faces))

        return await uploads.run(request, score)

    @app.get(MODEL)
    async def model(name: str) -> Response:
        return metadata(name, __version__)

    @app.get(VERSION)
    async def model_version(name: str, version: str) -> Response:
        return metadata(name, version)

    @app.get(f"{MODEL}/ready")
    def model_ready(name: str) -> Response:
        return readiness(name, __version__)

    @app.get(f"{VERSION}/ready")
    def model_version_ready(name: str, version: str) -> Response:
        return readiness(name, version)

    @app.post(f"{MODEL}/infer")
    async def model_infer(name: str, request: Request) -> Response:
        return await infer(name, __version__, request)

    @app.post(f"{VERSION}/infer")
    async def model_version_infer(name: str, version: str, request: Request) -> Response:
        return await infer(name, version, request)


def _answer(response: kserve.InferResponse, binary: bytes) -> Response:
    """Bytes of outputs stand behind the JSON, whose length a header says."""
    if not any(tensor.parameters is not msgspec.UNSET for tensor in response.outputs):
        return to_json(response)
    text = msgspec.json.encode(response)
    headers = {kserve.HEADER_LENGTH: str(len(text))}
    return Response(text + binary, 200, headers, "application/octet-stream")
