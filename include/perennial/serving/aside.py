"""A way to a version aside of all that counts: what goes over it is no prediction of a caller's.

>>> Aside(lambda body: (200, body), (7,)).ask(b"{}")
(200, b'{}')
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perennial import tracing
from perennial.serving import processes
from perennial.serving.limits import REPLAYED
from perennial.serving.probe import Ask
from perennial.sockets import UnixConnection


@dataclass(frozen=True)
class Aside:
    """How to ask a version, and which processes answer."""

    ask: Ask
    pids: tuple[int, ...] = ()
    close: Callable[[], None] = lambda: None


@dataclass
class AsideSocket:
    """Asks a server of this machine at its own socket, over one connection that is kept."""

    socket: Path
    path: str
    seconds: float  # longest time to answer
    _connection: UnixConnection | None = field(default=None, init=False)

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of its answer; 0 and a sentence where it gives none."""
        headers: dict[str, Any] = {"Content-Type": "application/json", REPLAYED: "1", **tracing.headers(recorded=False)}
        for last_try in (False, True):
            kept = self._connection is not None
            self._connection = connection = self._connection or UnixConnection(self.socket, self.seconds)
            try:
                connection.request("POST", self.path, body, headers)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if kept and not last_try and not isinstance(error, TimeoutError):
                    continue  # a server may close a connection that it kept
                return 0, f"no answer ({type(error).__name__}: {error})".encode()
        raise AssertionError("a second try always answers")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def aside(self) -> Aside:
        """The way, with the processes that listen.

        Raises:
            OSError: nobody listens.
        """
        return Aside(self.ask, tuple(processes.listener(self.socket)), self.close)
