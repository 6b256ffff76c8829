"""Gunicorn's threaded worker, mended where it would let a gateway starve it."""

from __future__ import annotations

import errno
import selectors
import socket
from functools import partial

from gunicorn.workers.gthread import TConn, ThreadWorker


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Gives a connection a thread when its first byte has come, not when it is opened.

    Gateways open connections ahead of need. Gunicorn 20.1 hands each to a thread at once, which then waits for a request
    for as long as the connection lives: as many idle connections as threads and nothing is answered any more.
    """

    def accept(self, server: object, listener: socket.socket) -> None:
        """Take a new connection as one that is kept alive and has nothing to say yet."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        connection = TConn(self.cfg, sock, client, server)
        self.nr_conns += 1
        connection.set_timeout()
        with self._lock:
            self._keep.append(connection)
            self.poller.register(connection.sock, selectors.EVENT_READ, partial(self.reuse_connection, connection))
