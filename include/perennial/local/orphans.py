"""Finds and ends processes that outlived the process which started them: by pid file and start time, or by the
environment that supervisord gave them. Never by name: another Perennial, or somebody else's PostgreSQL, may run here.

Run as a script by a program that starts again, it ends what the program's killed process left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

CLOCK_SLACK = 3.0  # seconds by which a process may seem to begin after it wrote its pid file; the kernel's boot time is rounded
LOOKS = 5  # one that is ended may have started another in its last moment
EXEC_SECONDS = 0.02  # a process that takes the place of another has neither environment nor command line for a moment
ADDRESS, PROGRAM = "SUPERVISOR_SERVER_URL", "SUPERVISOR_PROCESS_NAME"


@dataclass(frozen=True)
class Left:
    """A process that may still run: its pid file, and the signal that stops it."""

    pid_file: Path
    stop_signal: str = "TERM"
    seconds: float = 10


def end_left(left: Iterable[Left]) -> list[int]:
    """End the processes that wrote the pid files, all at once, and their children; returns their process ids, none for those long gone."""
    still_running = [(process, item) for item in left if (process := _of(item.pid_file))]
    return _end(
        [(process, item.stop_signal) for process, item in still_running], max((item.seconds for _, item in still_running), default=0)
    )


def end_all(address: str, program: str | None = None, seconds: float = 10, *, besides: Collection[str] = ()) -> list[int]:
    """End every process that carries supervisord's address (and is of one program, and of none of those
    `besides`); returns their process ids."""
    ended: list[int] = []
    for _ in range(LOOKS):
        processes = [process for process, name in _with_address(address) if program in (None, name) and name not in besides]
        if not processes:
            break
        ended += _end([(process, "TERM") for process in processes], seconds)
    return ended


def running(pid_files: Mapping[str, Path], address: str) -> dict[str, int]:
    """The process of each program that runs: the one that wrote its pid file, else one that carries supervisord's address."""
    named = {name: process.pid for process, name in reversed(_with_address(address)) if name}
    return {**named, **{name: process.pid for name, file in pid_files.items() if (process := _of(file)) and _is_alive(process)}}


def kill(pid_file: Path) -> None:
    """Kill the process that wrote a pid file and none of its children."""
    if process := _of(pid_file):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(timeout=10)


def _of(pid_file: Path) -> psutil.Process | None:
    try:
        pid, written = int(pid_file.read_text()), pid_file.stat().st_mtime
        process = psutil.Process(pid)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    # Who wrote its number into the file began before that; whoever has the number since began later.
    return process if process.create_time() - written < CLOCK_SLACK else None


def _end(processes: list[tuple[psutil.Process, str]], seconds: float) -> list[int]:
    children = []
    for process, stop_signal in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            children += process.children(recursive=True)
            process.send_signal(getattr(signal, f"SIG{stop_signal}"))
    first = [process for process, _ in processes]
    _, alive = psutil.wait_procs(first, timeout=seconds)
    _, left = psutil.wait_procs(children, timeout=2)
    for process in {*alive, *left}:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs({*alive, *left}, timeout=5)
    return [p.pid for p in {*first, *children}]


def _with_address(address: str) -> list[tuple[psutil.Process, str]]:
    """Processes that carry supervisord's address, each with its program's name, oldest first."""
    mine = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    carried = ((p, _carried(p)) for p in psutil.process_iter() if p.pid not in mine)
    return [(process, environment.get(PROGRAM, "")) for process, environment in carried if environment.get(ADDRESS) == address]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)  # one that init has not yet buried
    except psutil.NoSuchProcess:
        return False


def _carried(process: psutil.Process) -> dict[str, str]:
    try:
        return _environment(process)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}


def _environment(process: psutil.Process) -> dict[str, str]:
    for _ in range(LOOKS):
        environment: dict[str, str] = process.environ()
        if (
            environment or process.cmdline() or not process.exe()
        ):  # a server that shows a title has no environment, a kernel thread no program
            return environment
        time.sleep(EXEC_SECONDS)
    return {}


if __name__ == "__main__":
    end_all(os.environ[ADDRESS], os.environ[PROGRAM], seconds=1)
