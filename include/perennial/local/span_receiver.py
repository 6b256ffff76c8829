"""Receives spans as OTLP over HTTP on loopback and keeps the newest in files of `<home>/traces`: `perennial trace` draws them.

What a receiver of a team's own does (Jaeger, Tempo) this does for one machine, where none is installed.

    $ python -m perennial.local.span_receiver  # in the workload environment; `perennial up` starts it where PERENNIAL_TRACES is set
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from perennial.settings import Settings

NAME = "traces"  # of the program
ADDRESS = "127.0.0.1"
PATH = "/v1/traces"
LARGEST_BODY = 64 << 20  # bytes; what exporters send at most by themselves
KEPT_BYTES = 64 << 20  # of one file of spans; there are two
FILES = ("spans.jsonl", "spans.old.jsonl")  # the newest, and those before

Kept = dict[str, Any]


class Refusal(Exception):
    """A body that holds no spans; the message says why."""


def decoded(body: bytes, encoding: str = "") -> list[Kept]:
    """The spans of a request, as they are kept.

    Raises:
        Refusal: the body is no OTLP in protobuf.
    """
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        plain = _unpacked(body, encoding)
        request = ExportTraceServiceRequest.FromString(plain)
    except (DecodeError, OSError, EOFError, zlib.error) as error:
        raise Refusal(f"The body is no ExportTraceServiceRequest in protobuf ({type(error).__name__}).") from None
    return [
        _kept(span, dict(_plain(resource.resource.attributes)).get("service.name", ""))
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding not in ("gzip", "deflate"):
        return body
    unpack = zlib.decompressobj(wbits=31 if encoding == "gzip" else 15)
    plain = unpack.decompress(body, LARGEST_BODY)
    if unpack.unconsumed_tail:
        raise Refusal(f"The body is larger than {LARGEST_BODY >> 20} MB when it is unpacked.")
    return plain


def _kept(span: Any, service: Any) -> Kept:
    return {
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "service": str(service),
        "name": span.name,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "error": span.status.code == 2,
        "attributes": dict(_plain(span.attributes)),
        "links": [link.trace_id.hex() for link in span.links],
    }


def _plain(attributes: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for pair in attributes:
        which = pair.value.WhichOneof("value")
        value = getattr(pair.value, which) if which else ""
        yield pair.key, value if isinstance(value, str | int | float | bool) else str(value)


class SpanFiles:
    """The newest spans of a folder: a file that grows, and the one before it."""

    def __init__(self, folder: Path, most_bytes: int = KEPT_BYTES) -> None:
        self.folder, self.most_bytes, self._lock = folder, most_bytes, threading.Lock()

    def add(self, spans: Iterable[Kept]) -> None:
        """Keep some more."""
        newest, older = (self.folder / name for name in FILES)
        with self._lock:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(newest, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
                if (size := os.fstat(file.fileno()).st_size) and os.pread(file.fileno(), 1, size - 1) != b"\n":
                    file.write("\n")  # an earlier process was killed in the middle of a line
                file.writelines(f"{json.dumps(span)}\n" for span in spans)
                full = file.tell() > self.most_bytes
            if full:
                newest.replace(older)

    def spans(self) -> Iterator[Kept]:
        """All that are kept, the oldest first."""
        for name in reversed(FILES):
            try:
                lines = (self.folder / name).open(errors="replace")
            except FileNotFoundError:
                continue
            with lines:
                for line in lines:
                    span = None
                    with contextlib.suppress(ValueError):  # one cut short by a kill
                        span = json.loads(line)
                    if isinstance(span, dict):
                        yield span


def environment(settings: Settings, outer: Mapping[str, str]) -> dict[str, str]:
    """An environment whose spans go to this receiver, if it is switched on and no other is named."""
    named = any(outer.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    own = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{ADDRESS}:{settings.traces_port}"} if settings.traces and not named else {}
    return {**outer, **own}


def folder(settings: Settings) -> Path:
    """Where the spans of this machine are kept."""
    return settings.home / "traces"


class SpanReceiver(ThreadingHTTPServer):
    """The server: hands every span that it gets to `take`, with the headers of the request that brought it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, take: Callable[[list[Kept], Mapping[str, str]], None]) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.take = take

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is for it."""
        return f"http://{ADDRESS}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Say that it is there."""
        self._answer(200 if self.path == "/ready" else 404, b"ready\n" if self.path == "/ready" else b"")

    def do_POST(self) -> None:
        """Take spans in."""
        if self.path != PATH:
            self.close_connection = True
            return self._answer(404, f"Spans are posted to {PATH}.\n".encode())
        try:
            body = self._body()
            spans = decoded(body, self.headers.get("Content-Encoding", "").strip().lower())
            self.server.take(spans, self.headers)  # type: ignore[attr-defined]
        except (Refusal, ValueError) as error:
            self.close_connection = True
            return self._answer(400, f"{error}\n".encode())
        self._answer(200, b"", "application/x-protobuf")

    def _body(self) -> bytes:
        """The whole body, in chunks too: Envoy says no length."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline(100).split(b";")[0], 16):
            body += self._read(size, len(body))
            self.rfile.readline(100)
        while self.rfile.readline(1000).strip():
            pass
        return bytes(body)

    def _read(self, size: int, already: int = 0) -> bytes:
        if not 0 <= size <= LARGEST_BODY - already:
            raise Refusal(f"The body is larger than {LARGEST_BODY >> 20} MB.")
        return self.rfile.read(size)

    def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: each request would be a line."""


def main() -> None:
    """Receive until it is ended."""
    settings = Settings.from_environment()
    os.umask(0o077)
    files = SpanFiles(folder(settings))
    SpanReceiver(settings.traces_port, lambda spans, headers: files.add(spans)).serve_forever()


if __name__ == "__main__":
    main()
