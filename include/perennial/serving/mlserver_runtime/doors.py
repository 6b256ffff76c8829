"""What MLServer leaves open, closed: who may load and unload models, how much a request may hold, what a fault tells its caller."""

from __future__ import annotations

import ipaddress
import json
import logging
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import mlserver.grpc.server
from mlserver import MLServer, Settings
from mlserver.grpc.utils import STATUS_CODE_MAPPING

from perennial.serving.limits import MAX_BODY_BYTES
from perennial.serving.refused import too_large

REPOSITORY = "/v2/repository/"
CALLS = ("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload")
ONLY_NEAR = "Models are loaded and unloaded from the server's own pod or machine alone."
FORBIDDEN, TOO_LARGE = 403, 413

Message = dict[str, Any]
Application = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def safe(settings: Settings, host: str) -> Settings:
    """Settings with which MLServer serves: whatever the environment says, no worker processes, tracebacks or message brokers.

    Args:
        settings: as MLServer reads them from its own variables.
        host: address for all ports, unless MLServer's variable names one.
    """
    named = {} if "host" in settings.model_fields_set else {"host": host}
    closed = {
        "parallel_workers": 0,  # its processes do not start beside today's uvloop, and its readiness does not tell
        "debug": False,  # a traceback would be the answer to a fault
        "load_models_at_startup": False,  # one that must not serve would end the server, and all others with it
        "kafka_enabled": False,
        "cache_enabled": False,  # an answer from a cache is in no log
        "gzip_enabled": False,
        "grpc_max_message_length": 2 * MAX_BODY_BYTES,
    }
    return settings.model_copy(update={**named, **closed})


def close(server: MLServer) -> None:
    """Close the doors of a server that has not started."""
    server._rest_server._app.add_middleware(Door)
    for name in ("mlserver", "mlserver.grpc", "mlserver.rest", "mlserver.metrics", "uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()  # its lines go where all others go, once
    STATUS_CODE_MAPPING.update({TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT, 503: grpc.StatusCode.UNAVAILABLE})
    module = mlserver.grpc.server
    module.InferenceServicer, module.ModelRepositoryServicer = near(module.InferenceServicer), near(module.ModelRepositoryServicer)


class Door:
    """Lets requests through that are not too large, and to the repository those from near alone (ASGI)."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"].startswith(REPOSITORY) and not is_near((scope.get("client") or [""])[0]):
            return await _refuse(send, FORBIDDEN, ONLY_NEAR)
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if told.isdigit() and int(told) > MAX_BODY_BYTES:
            return await _refuse(send, TOO_LARGE, str(too_large(MAX_BODY_BYTES)))
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MAX_BODY_BYTES:  # in chunks, whose sum nobody has said: MLServer makes a 400 of it
                raise too_large(MAX_BODY_BYTES)
            return message

        return await self.app(scope, bounded, send)


def near(servicer: type) -> type:
    """The servicer, whose repository answers callers from near alone."""

    def guarded(name: str) -> Callable[[Any, Any, grpc.aio.ServicerContext], Awaitable[Any]]:
        own = getattr(servicer, name)

        async def call(self: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
            kind, _, rest = context.peer().partition(":")
            address = urllib.parse.unquote(rest.rpartition(":")[0]).strip("[]")
            if kind != "unix" and not is_near(address):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, ONLY_NEAR)
            return await own(self, request, context)

        return call

    return type(servicer.__name__, (servicer,), {name: guarded(name) for name in CALLS if hasattr(servicer, name)})


def is_near(address: str) -> bool:
    """Whether an address is of this machine or pod itself."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def _refuse(send: Callable[[Message], Awaitable[None]], status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
