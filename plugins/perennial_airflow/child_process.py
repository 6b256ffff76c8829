"""A command as a child process: its own process group, its lines as they come, and no life after its parent's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from perennial.stage_runner import die_with_parent


class ProcessGroup:
    """Processes that end together: the first of them has the id `pid`, which no other one gets meanwhile."""

    pid: int

    def stop(self, grace_seconds: float) -> None:
        """End the group: SIGTERM, and SIGKILL for what is left after `grace_seconds`."""
        if grace_seconds > 0 and self._signal(signal.SIGTERM):
            deadline = time.monotonic() + grace_seconds
            while time.monotonic() < deadline and self._is_running():
                time.sleep(0.05)
        self._signal(signal.SIGKILL)

    def _is_running(self) -> bool:
        raise NotImplementedError

    def _signal(self, number: signal.Signals) -> bool:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # nobody is left in the group
            return False
        return True


class ChildProcess(ProcessGroup):
    """A running command; leaving its `with` block ends it and all that it started."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        parent = os.getpid()
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - it calls only prctl, getppid and kill
        )
        self.pid = self._process.pid

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(grace_seconds=0)
        if self._process.stdout:
            self._process.stdout.close()
        self._process.wait()

    def lines(self) -> Iterator[str]:
        """What it prints, line by line, until it has closed its output."""
        for line in self._process.stdout or ():
            yield line.rstrip("\n")

    def wait(self) -> int:
        """Its exit code; negative is the signal that killed it."""
        return self._process.wait()

    def _is_running(self) -> bool:
        if self._process.returncode is not None:
            return False
        # Only looks: reaping here, inside a signal handler, would take the exit code from wait().
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
