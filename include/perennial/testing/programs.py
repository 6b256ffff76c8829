"""Programs of a test: free ports, processes that are kept running without a supervisor, and waiting for something to come true.

>>> from perennial.testing import free_ports, wait_until
>>> len(set(free_ports(2)))
2
>>> wait_until(lambda: "now", seconds=1)
'now'
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now. None is among those that the kernel hands out by itself: tests that run
    at the same time would be given it before it is used here."""
    ports: list[int] = []
    with contextlib.ExitStack() as listeners:
        while len(ports) < count:
            listener = listeners.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # taken: another will do
                listener.bind(("127.0.0.1", 12_000 + secrets.randbelow(20_000)))
                ports.append(listener.getsockname()[1])
    return ports


@dataclass(frozen=True)
class RunningProgram:
    """What `Programs` says of one program."""

    name: str
    state: str
    pid: int | None
    since: datetime | None


class Programs:
    """Keeps programs running as children of this process: the supervisor's interface for tests. Dead ones are started again."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.logs.mkdir(parents=True, exist_ok=True)
        self._wanted: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def add_program(self, name: str, command: list[str], environment: Mapping[str, str], *, leave_running: bool = False, **_: Any) -> None:
        """Start a program; the same one again changes nothing, with `leave_running` the same command."""
        with self._lock:
            if leave_running and name in self._running and self._wanted[name][0] == command:
                return
            if self._wanted.get(name) == (command, dict(environment)):
                return
            self.remove_program(name)
            self._wanted[name] = (command, dict(environment))
            self._start(name)

    def remove_program(self, name: str) -> None:
        """Stop a program and forget it; no error if there is none."""
        with self._lock:
            self._wanted.pop(name, None)
            process = self._running.pop(name, None)
        if process:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def programs(self) -> dict[str, RunningProgram]:
        """All programs by name."""
        with self._lock:
            now = datetime.now(timezone.utc)
            return {
                name: RunningProgram(name, "RUNNING" if process.poll() is None else "EXITED", process.pid, now)
                for name, process in self._running.items()
            }

    def log(self, name: str) -> Path:
        """File to which a program writes."""
        return self.logs / f"{name}.log"

    def shutdown(self) -> None:
        """Stop all programs."""
        self._ended.set()
        self._thread.join()
        for name in list(self._wanted):
            self.remove_program(name)

    def _start(self, name: str) -> None:
        command, environment = self._wanted[name]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "COVERAGE_", "PYTEST_"))}
        with self.log(name).open("ab") as output:
            self._running[name] = subprocess.Popen(command, env={**inherited, **environment}, stdout=output, stderr=subprocess.STDOUT)

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            with self._lock:
                for name, process in list(self._running.items()):
                    if process.poll() is not None and name in self._wanted:
                        self._start(name)


@contextlib.contextmanager
def started(programs: Programs) -> Iterator[Programs]:
    """The programs, stopped at the end."""
    try:
        yield programs
    finally:
        programs.shutdown()


def wait_until(condition: Any, seconds: float = 30.0, what: str = "the condition") -> Any:
    """The first true value of `condition()`. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not come true in {seconds:g} s")
