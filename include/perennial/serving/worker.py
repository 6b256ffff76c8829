"""Gunicorn's threaded worker with two fixes: idle connections take no thread, and a killed worker never leaves a half-sent answer."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from functools import partial

from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

from perennial.serving.limits import MAX_BODY_BYTES

_DRAIN_BYTES = 2 * MAX_BODY_BYTES
_DRAIN_SECONDS = 5.0


class _Whole:
    """A socket that buffers an answer until it is complete."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._written = sock, bytearray()

    def sendall(self, data: bytes) -> None:
        self._written += data

    def send_whole(self) -> None:
        self._sock.sendall(self._written)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Gives a connection a thread when its first byte has come, not when it is opened.

    Gateways open connections ahead of need. Gunicorn hands each to a thread at once, which then waits five seconds for a request: as
    many new connections as threads and nothing is answered meanwhile.

    Sends an answer in one piece. Gunicorn sends the headers first: a gateway that has passed them on can no longer ask
    another version when the server is killed before the body.

    Leaves out headers with an underscore, which pass for those with a hyphen: SCRIPT_NAME for Gunicorn's own, x_prediction_id for the
    gateway's.
    """

    def handle_request(self, request: Request, connection: TConn) -> bool:
        """Answer one request; whether the connection is kept."""
        request.headers = [(name, value) for name, value in request.headers if "_" not in name]
        plain = connection.sock
        connection.sock = whole = _Whole(plain)
        try:
            keep: bool = super().handle_request(request, connection)
            whole.send_whole()
        finally:
            connection.sock = plain
        return keep

    def _keepalive_after(self, connection: TConn, keepalive: bool) -> bool:
        """Read what is left of a refused body, as far as the gateway lets one come: who is cut off while it sends reads no answer."""
        return keepalive and bool(connection.parser.finish_body(deadline=time.monotonic() + _DRAIN_SECONDS, max_bytes=_DRAIN_BYTES))

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection as one that waits for its first byte."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        connection = TConn(self.cfg, sock, client, listener.getsockname())
        self.nr_conns += 1
        connection.set_timeout()
        self.pending_conns.append(connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, connection))
