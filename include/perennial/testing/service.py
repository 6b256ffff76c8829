"""An HTTP service on this machine that a test tells what to answer; it counts what it was asked, and can be stopped and started again.

>>> import requests
>>> with Service() as service:
...     service.answers["/orders"] = lambda asked: Reply({"items": [1, 2], "page": asked.parameters["page"]})
...     service.first.append(Reply(status=503))
...     [requests.get(f"{service.url}/orders", {"page": 1}, timeout=5).status_code for _ in range(2)]
[503, 200]
>>> [asked.path for asked in service.asked]
['/orders', '/orders']
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]  # names in small letters
    body: str = ""


@dataclass(frozen=True)
class Reply:
    """What is answered: a JSON value, a text, or bytes."""

    body: Any = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # bytes after which the connection ends, though more were promised
    slow: float = 0  # seconds before it


class Service:
    """A server on a port of its own, from `start` or `with` on until `stop`; it keeps its port when it is started again.

    Args:
        tls: with its certificate; None answers without encryption.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.answers: dict[str, Callable[[Asked], Reply]] = {}  # by path
        self.first: deque[Reply] = deque()  # given before, whatever is asked
        self.asked: list[Asked] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begin to answer."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5
            disable_nagle_algorithm = True  # else each answer waits 40 ms between its head and its body

            def do_GET(self) -> None:
                service._answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Nothing: tests read what was asked."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """Nothing: clients may go whenever they like."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Answer nothing any more."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(int(headers.get("content-length", 0))).decode()
        asked = Asked(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)
        self.asked.append(asked)
        if self._server is None:  # stopped: what is still connected gets no answer
            handler.close_connection = True
            return
        reply = self.first.popleft() if self.first else self.answers.get(asked.path, _nothing)(asked)
        time.sleep(reply.slow)
        text = reply.body if isinstance(reply.body, (str, bytes)) else json.dumps(reply.body)
        data = text.encode() if isinstance(text, str) else text
        handler.send_response(reply.status)
        kind = "text/plain" if isinstance(reply.body, (str, bytes)) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data if reply.cut is None else data[: reply.cut])
        if reply.cut is not None:
            handler.close_connection = True


def _nothing(asked: Asked) -> Reply:
    return Reply(f"nothing at {asked.path}", 404)
