"""What programs that run on for long take while they run: CPU seconds and memory of a process and all below it (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process: CPU seconds of its own and of its children that have ended, and its command."""

    pid: int
    seconds: float
    command: str


def below(root: int) -> dict[int, Process]:
    """A process and all its descendants, by id."""
    known: dict[int, tuple[int, Process]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:  # ended meanwhile
                continue
            pid = int(folder.name)
            known[pid] = int(fields[1]), Process(pid, sum(map(int, fields[11:15])) / _TICKS, command)
    found = {root}
    while more := {pid for pid, (parent, _) in known.items() if parent in found} - found:
        found |= more
    return {pid: known[pid][1] for pid in found if pid in known}


def cpu_seconds(root: int) -> float:
    """CPU seconds that a process and all below it have taken so far; what a reaped child took is its parent's."""
    return sum(process.seconds for process in below(root).values())


def megabytes(pid: int) -> tuple[float, float]:
    """Memory of a process as the kernel accounts for it: its proportional share (PSS), and what no other process shares; megabytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0.0, 0.0
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return kilobytes["Pss"] / 1e3, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) / 1e3
