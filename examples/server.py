"""A web service of your own, with FastAPI: uvicorn --app-dir examples server:app

    curl --data-binary @photo.jpg http://127.0.0.1:8000/quality

One Scorer with an engine for each core is shared by the threads in which requests are scored: each
call takes an engine that is free. FaceReader reads files, so a picture lies in one until it is scored;
nothing is kept. It has no password: let it listen on the loopback address, or behind a proxy.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from edge_fiqa import FaceReader, Scorer, find_detector, to_json

MOST_BYTES = 20_000_000


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    detector = find_detector()
    app.state.reader = FaceReader(detector.path if detector else None, crops_pass=True)
    app.state.scorer = Scorer.open(workers=os.cpu_count() or 1, threads=1)
    yield
    app.state.scorer.close()


app = FastAPI(lifespan=lifespan)


@app.post("/quality")
async def quality(request: Request) -> Response:
    """A picture as the body of the request -> a list with the record of each face in it."""
    picture = bytearray()
    async for part in request.stream():
        picture += part
        if len(picture) > MOST_BYTES:
            raise HTTPException(413, f"a picture has at most {MOST_BYTES} bytes")
    records = await run_in_threadpool(_records, request.app, bytes(picture))
    return Response(b"[" + b",".join(records) + b"]", media_type="application/json")


def _records(app: FastAPI, picture: bytes) -> list[bytes]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(picture)
        file.flush()
        faces = app.state.reader.faces_of(file.name)
        return [to_json(record) for record in app.state.scorer.score(faces)]
