"""A stage in a process that this machine's runner of stages forks off (`perennial.stage_runner`); it behaves like a child process."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from perennial.settings import Settings
from perennial.sockets import socket_folder
from perennial.stage_runner import SOCKET, Request
from perennial_airflow.child_process import ProcessGroup

HEAVY = ("train", "evaluate")  # stages that take minutes: nothing is won where half a second is
ANSWER_SECONDS = 30.0  # for which the runner is waited for: on a busy machine it imports for others
TRIES = 5  # it may have to begin anew, and another task may ask it first


class RunnerAway(Exception):
    """The runner of stages does not answer."""


def has_runner(settings: Settings, stage: str) -> bool:
    """Whether a stage is run by the runner: `perennial up` has started one on this machine."""
    try:
        return stage not in HEAVY and stat.S_ISSOCK(os.stat(socket_folder(settings) / SOCKET).st_mode)
    except OSError:
        return False


class ForkedStage(ProcessGroup):
    """A running stage; leaving its `with` block ends it and all that it started.

    Args:
        settings: say where the runner is.
        arguments: of the command `perennial`.
        environment: all variables of the stage.

    Raises:
        RunnerAway: it does not answer; nothing was started.
    """

    def __init__(self, settings: Settings, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        umask = os.umask(0o077)
        os.umask(umask)
        request = Request(list(arguments), dict(environment), os.getcwd(), umask)
        for _ in range(TRIES):
            read, write = os.pipe()
            try:
                self._connection, pid = _asked(socket_folder(settings) / SOCKET, request, write)
            except (OSError, ValueError) as error:
                os.close(read)
                raise RunnerAway(str(error)) from error
            finally:
                os.close(write)
            if pid is not None:
                break
            os.close(read)
        else:
            raise RunnerAway(f"it began anew {TRIES} times")
        self.pid = pid  # the runner buries a stage after this connection is closed: until then it is no other's
        self._code: int | None = None
        self._output = os.fdopen(read, encoding="utf-8", errors="replace")

    def __enter__(self) -> ForkedStage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(grace_seconds=0)
        self._output.close()
        self.wait()
        self._connection.close()

    def lines(self) -> Iterator[str]:
        """What it prints, line by line, until it has closed its output."""
        for line in self._output:
            yield line.rstrip("\n")

    def wait(self) -> int:
        """Its exit code; negative is the signal that killed it. A runner that was killed took the stage along."""
        if self._code is None:
            said = _line(self._connection)
            self._code = int(json.loads(said)["code"]) if said else -int(signal.SIGKILL)
        return self._code

    def _is_running(self) -> bool:
        if self._code is not None:
            return False
        try:  # only looks: reading here, inside a signal handler, would take the exit code from wait()
            self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def _asked(path: Path, request: Request, output: int) -> tuple[socket.socket, int | None]:
    """The connection to the runner that took a request, and the stage's process id; no id where it begins anew.

    Raises:
        OSError, ValueError: it does not answer, or not as expected.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(path))
        whole = request.sent()
        try:
            sent = socket.send_fds(connection, [whole], [output])
            connection.sendall(whole[sent:])
        except (BrokenPipeError, ConnectionResetError):  # it began anew for another request, and has not read this one to its end
            connection.close()
            return connection, None
        said: dict[str, Any] = json.loads(_line(connection) or "{}")
        if "pid" not in said:
            connection.close()
            if not said.get("again"):
                raise ValueError("it has closed the connection")
            return connection, None
        connection.settimeout(None)
        return connection, int(said["pid"])
    except BaseException:
        connection.close()
        raise


def _line(connection: socket.socket) -> bytes:
    """The next line; empty where the connection has ended."""
    line = b""
    while not line.endswith(b"\n"):
        more = connection.recv(1)
        if not more:
            return b""
        line += more
    return line
