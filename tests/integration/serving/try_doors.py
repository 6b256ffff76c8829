"""Tries the doors that `perennial.serving.mlserver_runtime.doors` closes, and prints what each said. In the environment of MLServer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
from mlserver import Settings
from mlserver.errors import MLServerError
from mlserver.settings import ModelSettings
from mlserver.types import InferenceRequest

from perennial.serving.mlserver_runtime import doors
from perennial.serving.mlserver_runtime.runtime import VersionRuntime


async def application(scope: Any, receive: Any, send: Any) -> None:
    """What stands behind the door."""
    await doors._refuse(send, 200, "handed on")


async def through(path: str, address: str) -> list[Any]:
    """Status and sentence of a request from an address."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "path": path, "client": (address, 1), "headers": []}
    await doors.Door(application)(scope, receive, send)
    return [sent[0]["status"], json.loads(sent[1]["body"])["error"]]


class Servicer:
    """MLServer's, as far as the doors go."""

    async def RepositoryModelUnload(self, request: Any, context: Any) -> str:
        """Unload."""
        return "answered"


class Context:
    """A call's."""

    def __init__(self, peer: str) -> None:
        self.peer = lambda: peer

    async def abort(self, code: grpc.StatusCode, sentence: str) -> None:
        """As gRPC does: by raising."""
        raise RuntimeError(json.dumps([code.name, sentence]))


class Broken:
    """A version whose core fails in a way of its own."""

    model, version = "m", 1

    def answer(self, *_: object) -> bytes:
        """Fail."""
        raise ValueError("a secret of the store")


async def main() -> None:
    """Try them."""
    found: dict[str, Any] = {
        "far": await through("/v2/repository/models/m/unload", "10.0.0.9"),
        "near": await through("/v2/repository/models/m/unload", "127.0.0.1"),
        "elsewhere": await through("/v2/models/m/infer", "10.0.0.9"),
    }
    guarded = doors.near(Servicer)()
    try:
        await guarded.RepositoryModelUnload(None, Context("ipv4:10.0.0.9:5"))
    except RuntimeError as error:
        found["far call"] = json.loads(str(error))
    found["near call"] = await guarded.RepositoryModelUnload(None, Context("ipv6:%5B::1%5D:5"))
    settings = doors.safe(Settings(parallel_workers=4, debug=True, load_models_at_startup=True), "127.0.0.1")
    found["settings"] = {name: getattr(settings, name) for name in ("parallel_workers", "debug", "load_models_at_startup", "host")}
    runtime = VersionRuntime(ModelSettings(name="m", implementation="perennial.serving.mlserver_runtime.runtime.VersionRuntime"))
    runtime.served = Broken()  # type: ignore[assignment]
    try:
        await runtime.predict(InferenceRequest(inputs=[]))
    except MLServerError as error:
        found["fault"] = [error.status_code, str(error)]
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
