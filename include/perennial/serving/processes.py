"""What the processes of a server used and waited for, as Linux counts it in /proc.

Time that a thread was ready to run and no CPU was free is known to the kernel (`schedstat`). Taken off the time that an answer took, it
leaves the time on a free CPU, so that a busy machine does not make a version look slow.

>>> import os
>>> own = [os.getpid()]
>>> cpu_seconds(own) > 0, waited_seconds(own) >= 0, peak_memory_mb(own) > 1
(True, True, True)
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

PROC = Path("/proc")
POWER = Path("/sys/class/powercap")
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)  # a thread that ended meanwhile, or a system without these files


def listener(path: Path) -> list[int]:
    """The process that listens at a unix socket, and its children; empty if nobody does.

    Raises:
        OSError: the socket cannot be reached.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return family(pid) if pid else []


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for one in found:
        for thread in _threads(one):
            with contextlib.suppress(*_GONE):
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def waited_seconds(pids: Iterable[int]) -> float:
    """How long their threads were ready to run and had no CPU, in all; 0 where the system does not count it."""
    return sum(waited for _, waited in _scheduled(pids))


def cpu_seconds(pids: Iterable[int]) -> float:
    """How long their threads worked, in all."""
    return sum(worked for worked, _ in _scheduled(pids))


def _scheduled(pids: Iterable[int]) -> Iterator[tuple[float, float]]:
    for pid in pids:
        for thread in _threads(pid):
            with contextlib.suppress(*_GONE):
                worked, waited, _ = (thread / "schedstat").read_text().split()
                yield int(worked) / 1e9, int(waited) / 1e9


def _threads(pid: int) -> list[Path]:
    try:
        return list((PROC / str(pid) / "task").iterdir())
    except _GONE:
        return []


def peak_memory_mb(pids: Iterable[int]) -> float:
    """The most memory that the largest of them ever had, MB of 2^20 bytes."""
    most = 0
    for pid in pids:
        with contextlib.suppress(*_GONE):
            lines = (PROC / str(pid) / "status").read_text().splitlines()
            most = max([most, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))])
    return most / 1024


def energy_counter() -> float | None:
    """Joules that the CPU packages of this machine have used, as their own counters (RAPL) say; None where they may not be read.

    A counter that began anew between two readings gives a negative difference.
    """
    joules, found = 0.0, False
    for zone in sorted(POWER.glob("intel-rapl:*")):
        if zone.name.count(":") == 1:  # a package; those with a second number are parts of one
            with contextlib.suppress(OSError, ValueError):
                joules, found = joules + int((zone / "energy_uj").read_text()) / 1e6, True
    return joules if found else None


def folder_mb(folder: Path) -> float:
    """Size of the files of a version's folder, MB of 2^20 bytes; what Python compiled of them does not count."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.parent.name != "__pycache__")
    return sum(file.stat().st_size for file in files) / 2**20
