"""What a prediction costs without this project's server: the floors of `serving_overhead.py`. Runs in the serving environment.

    python bare_server.py fastapi|asgi VERSION_FOLDER PORT

Both read the JSON of a request in Seldon's form, put its rows into columns, encode these with the version's own features and encoder, run
its graph with the same settings, and answer the scores: on uvicorn with httptools, in one process, on the event loop without threads.
`fastapi` does so as its documentation shows, with the framework's own JSON; `asgi` is a bare function with orjson, the least there can be.
Neither checks anything, logs, counts, gives ids, limits sizes, or stays answerable while it scores; what does not fit ends in an error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvicorn

from perennial.serving.scorer import Scorer

TEXTS = ("string", "timestamp", "bool")


class Bare:
    """A version's features, encoder and graph."""

    def __init__(self, folder: Path) -> None:
        self.scorer = Scorer(folder)
        self.kinds = {given.name: object if given.type in TEXTS else np.float64 for given in self.scorer.signature.inputs}
        self.tensors = [tensor.name for tensor in self.scorer.session.get_inputs()]

    def scores(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Scores of rows, [rows, classes]."""
        columns = {name: np.array([row[name] for row in rows], dtype=kind) for name, kind in self.kinds.items()}
        encoded = self.scorer.features.encode(self.scorer.encoder, columns)
        scores: np.ndarray = self.scorer.session.run(["scores"], {name: encoded[name] for name in self.tensors})[0]
        return scores


def fastapi_application(bare: Bare) -> Any:
    """FastAPI around a version."""
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

    application = FastAPI()

    async def predictions(request: Request) -> JSONResponse:
        document = await request.json()
        return JSONResponse({"data": {"names": bare.scorer.names, "ndarray": bare.scores(document["data"]["rows"]).tolist()}})

    predictions.__annotations__ = {"request": Request, "return": JSONResponse}  # FastAPI reads them, and finds no local names
    application.post("/api/v1.0/predictions", response_model=None)(predictions)
    application.get("/ready")(lambda: {"ready": True})
    return application


def asgi_application(bare: Bare) -> Any:
    """A function around a version, without a framework."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = b"{}"
        if body:
            scores = bare.scores(orjson.loads(body)["data"]["rows"]).astype(np.float64)
            answer = orjson.dumps({"data": {"names": bare.scorer.names, "ndarray": scores}}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return application


if __name__ == "__main__":
    applications = {"fastapi": fastapi_application, "asgi": asgi_application}
    uvicorn.run(
        applications[sys.argv[1]](Bare(Path(sys.argv[2]))),
        port=int(sys.argv[3]),
        loop="asyncio",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
