"""The server that faces callers: one version, by HTTP, on uvicorn. Answers Seldon's v1 requests and the Open Inference Protocol's.

Whatever may take long runs in threads, so that a large request keeps nobody from asking whether the version is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import socket
import threading
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from perennial.serving.limits import FALLBACK, KEEP_ALIVE_SECONDS, MAX_BODY_BYTES, MAX_FEEDBACK_BYTES, RUN_HEADER
from perennial.serving.open_inference import OpenInferenceForm, model_metadata, server_metadata
from perennial.serving.refused import FORMS, Refused, bad_request, form_sent, too_large
from perennial.serving.served_version import VERSION_HEADER, ServedVersion

log = logging.getLogger(__name__)

JSON = "application/json"
PROTOBUF = "application/x-protobuf"  # the message of a call of gRPC, as the gateway hands it on
GRPC_PATH = "/inference.GRPCInferenceService/"
GRPC_STATUS, GRPC_MESSAGE = "x-grpc-status", "x-grpc-message"  # what the gateway makes the caller's status of
PREDICTIONS = ("/api/v1.0/predictions", "/api/v0.1/predictions", "/predict")
FEEDBACK = ("/api/v1.0/feedback", "/api/v0.1/feedback", "/send-feedback")
_CONTINUE = b"HTTP/1.1 100 "
_SAFE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")  # of a message of gRPC: all else is sent in percents
GRACE_SECONDS = 20  # for requests that run when the server is to stop

Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request of HTTP."""

    method: str
    path: str
    headers: dict[str, str]  # by their names in lower case; those with an underscore, which pass for others, are left out
    receive: Callable[[], Awaitable[Message]]

    async def body(self, limit: int) -> bytes:
        """The body, of which no more than `limit` bytes are kept, said or sent. Raises Refused."""
        said = self.headers.get("content-length", "0")
        if int(said) > limit:  # the parser of HTTP has refused what is no number
            raise too_large(limit)
        kept, more = bytearray(), True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError
            kept += message.get("body", b"")
            more = message.get("more_body", False)
            if len(kept) > limit:
                raise too_large(limit)
        return bytes(kept)

    def refuse_forms(self) -> None:
        """Raises Refused where the body says that it is a form."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in FORMS:
            raise form_sent(kind)


@dataclass(frozen=True)
class Reply:
    """What is sent back."""

    body: bytes
    status: int = 200
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


class _Threads:
    """Threads that answer while the loop goes on. An executor of the standard library takes twice as long to hand a request over; and the
    end of the process would wait for a thread that hangs."""

    def __init__(self, count: int) -> None:
        self._asked: queue.SimpleQueue[tuple[asyncio.Future[bytes], Callable[..., bytes], tuple[Any, ...]]] = queue.SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._answer, name=f"answer-{number}", daemon=True).start()

    def run(self, function: Callable[..., bytes], *arguments: Any) -> asyncio.Future[bytes]:
        """What a thread will have made, in the order of the requests."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked.put((future, function, arguments))
        return future

    def _answer(self) -> None:
        while True:
            future, function, arguments = self._asked.get()
            made, failed = b"", None
            try:
                made = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - whoever waits is told; the thread goes on
                failed = error
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                future.get_loop().call_soon_threadsafe(_settle, future, made, failed)
            del future, function, arguments, made, failed  # a request's megabytes must not wait for the next one


def _settle(future: asyncio.Future[bytes], made: bytes, failed: BaseException | None) -> None:
    if future.done():  # nobody waits any more
        return
    if failed:
        future.set_exception(failed)
    else:
        future.set_result(made)


class HttpServer:
    """The application (ASGI) around one version."""

    def __init__(self, served: ServedVersion, threads: int) -> None:
        self.served = served
        self.threads = _Threads(threads)
        self.version = str(served.version).encode()
        self._grpc: Any = None

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if b"_" not in name}
        asked = Asked(scope["method"], scope["path"], headers, receive)
        try:
            reply = await self.reply(asked)
        except Refused as refused:
            reply = self._refusal(asked, refused)
        except ConnectionAbortedError:  # nobody waits for the answer
            return
        except Exception:
            log.exception("%s %s failed.", asked.method, asked.path)
            reply = self._refusal(asked, Refused(500, "SERVER_ERROR", "The server failed on this request: its log says why."))
        start = [
            (b"content-type", reply.kind.encode()),
            (b"content-length", str(len(reply.body)).encode()),
            (VERSION_HEADER.encode(), self.version),
            *((name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()),
            *([(FALLBACK.encode(), self.served.fallback.encode())] if self.served.fallback else []),
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": start})
        await send({"type": "http.response.body", "body": reply.body})

    async def reply(self, asked: Asked) -> Reply:
        """The answer to a request. Raises Refused."""
        path = asked.path
        if asked.method == "POST":
            if path in PREDICTIONS:
                asked.refuse_forms()
                body = await asked.body(MAX_BODY_BYTES)
                return Reply(await self.threads.run(self.served.answer, body, asked.headers))
            if path in FEEDBACK:
                asked.refuse_forms()
                body = await asked.body(MAX_FEEDBACK_BYTES)
                return Reply(await self.threads.run(self.served.take_outcome, body))
            if path.startswith(GRPC_PATH):
                body = await asked.body(MAX_BODY_BYTES)
                if (packed := asked.headers.get("grpc-encoding", "identity")) != "identity":
                    raise bad_request(f"The call is compressed ({packed[:20]}): send it as it is.")
                return Reply(await self.threads.run(self._call, path.removeprefix(GRPC_PATH), body, asked.headers), kind=PROTOBUF)
        if path == "/v2" or path.startswith("/v2/"):
            return await self._open_inference(asked)
        if asked.method in ("GET", "HEAD"):
            return self._of_itself(path, asked.headers)
        raise Refused(404, "BAD_REQUEST", f"{asked.method} {path}: there is nothing here.")

    def _of_itself(self, path: str, headers: dict[str, str]) -> Reply:
        if path == "/ready":
            self.served.asked_by(headers.get(RUN_HEADER, ""))
            return _json(self.served.readiness(), 200 if self.served.ready else 503)
        if path == "/live":  # not before it is known whether the version can be had: what starts servers waits for it
            loading = not (self.served.ready or self.served.refused)
            return Reply(b"loading" if loading else b"live", 503 if loading else 200, "text/plain")
        if path == "/metrics":
            return Reply(self.served.metrics.text(), kind=CONTENT_TYPE_LATEST)
        raise Refused(404, "BAD_REQUEST", f"GET {path}: there is nothing here.")

    async def _open_inference(self, asked: Asked) -> Reply:
        """The paths of the Open Inference Protocol."""
        served, parts = self.served, [urllib.parse.unquote(part) for part in asked.path.strip("/").split("/")[1:]]
        if asked.method in ("GET", "HEAD"):
            if not parts:
                return _json(server_metadata())
            if parts == ["health", "live"]:
                return _json({"live": True})
            if parts == ["health", "ready"]:
                return _json({"ready": served.ready}, 200 if served.ready else 503)
        if len(parts) > 1 and parts[0] == "models":
            of_version = parts[3:] if parts[2:3] == ["versions"] else None
            served.must_be(parts[1], of_version[0] if of_version else "")
            what = of_version[1:] if of_version else parts[2:]
            if what == ["infer"] and asked.method == "POST":
                asked.refuse_forms()
                if "inference-header-content-length" in asked.headers:
                    raise bad_request("The request has binary data: send the values as JSON in data, or ask over gRPC.")
                body = await asked.body(MAX_BODY_BYTES)
                return Reply(await self.threads.run(served.answer, body, asked.headers, OpenInferenceForm()))
            if what == ["ready"] and asked.method in ("GET", "HEAD"):
                return _json({"name": served.model, "ready": served.ready}, 200 if served.ready else 503)
            if not what and asked.method in ("GET", "HEAD"):
                served.must_be_ready()
                return _json(model_metadata(served.model, served.version, served.scorer.signature, len(served.scorer.names)))
        raise Refused(404, "BAD_REQUEST", f"{asked.method} {asked.path}: there is nothing here.")

    def _call(self, name: str, body: bytes, headers: dict[str, str]) -> bytes:
        answer: bytes = self._service().call(name, body, headers)
        return answer

    def _service(self) -> Any:
        if self._grpc is None:
            from perennial.serving.open_inference_grpc import InferenceService

            self._grpc = InferenceService(self.served)
        return self._grpc

    def _refusal(self, asked: Asked, refused: Refused) -> Reply:
        """A refusal in the form of the protocol by which was asked."""
        if asked.path.startswith(GRPC_PATH):
            from perennial.serving.open_inference_grpc import code_of

            told = {GRPC_STATUS: str(code_of(refused).value[0]), GRPC_MESSAGE: urllib.parse.quote(str(refused), safe=_SAFE)}
            # A call of another model or version is no fault of this one: to the gateway it counts as answered.
            return Reply(b"", 200 if refused.status == 404 else refused.status, PROTOBUF, told)
        if asked.path == "/v2" or asked.path.startswith("/v2/"):
            return _json({"error": str(refused)}, refused.status)
        return _json(refused.document(), refused.status)


def _json(document: object, status: int = 200) -> Reply:
    return Reply(orjson.dumps(document), status)


class _Whole(asyncio.Transport):
    """A transport that sends an answer in one piece, once it is complete.

    The head of an answer and its body are written apart: a gateway that has passed the head on can no longer ask another version when
    the server is killed before the body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep a part of an answer; what asks the caller for the body of its request is sent at once."""
        self._written.append(bytes(data))
        if self._written[0].startswith(_CONTINUE):
            self.flush()

    def flush(self) -> None:
        """Send what was written."""
        if self._written:
            whole, self._written = b"".join(self._written), []
            self._transport.write(whole)

    def close(self) -> None:
        """Close once all is sent."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is closed or closes."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """See asyncio."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio."""
        self._transport.resume_reading()


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's protocol of HTTP/1.1, whose answers are sent in one piece."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has come."""
        self.whole = _Whole(transport)
        super().connection_made(self.whole)

    def on_response_complete(self) -> None:
        """An answer is complete."""
        self.whole.flush()
        super().on_response_complete()


def listen(place: Path | tuple[str, int]) -> socket.socket:
    """A socket that listens: at a path, which only this user may open, or at an address."""
    if isinstance(place, Path):
        with contextlib.suppress(FileNotFoundError):
            place.unlink()  # left by one that was killed
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(place))
        place.chmod(0o700)
    else:
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    listener.listen(1024)
    listener.setblocking(False)
    return listener


class VersionServer(uvicorn.Server):
    """uvicorn's server, which loads its version once it listens and writes its logs when it ends."""

    def __init__(self, served: ServedVersion, threads: int) -> None:
        config = uvicorn.Config(
            HttpServer(served, threads),
            http=WholeAnswers,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            log_level="warning",
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self.served = served
        self.failed: Exception | None = None  # why the version could not be loaded, which another try may mend

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then load."""
        await super().startup(sockets)
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def _load(self) -> None:
        try:
            self.served.load()
        except Exception as error:
            log.exception("The version cannot be loaded.")
            self.failed, self.should_exit = error, True
