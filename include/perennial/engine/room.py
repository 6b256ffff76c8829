"""How much memory rows may take, and where there is a disk for more: in files without names, of which nothing is left once their process
has ended, however it ended.

>>> room = Room(1_000_000, ".")
>>> room.holds(rows=1000, row_bytes=100), room.holds(rows=1000, row_bytes=2000)
(True, False)
>>> room.file(room).write(b"rows")
4
"""

from __future__ import annotations

import os
import resource
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SHARE = 0.25  # of the memory that a process may use, where nothing else is said
_CGROUP = ("memory.max", "memory/memory.limit_in_bytes")  # of version 2, and 1


@dataclass(frozen=True)
class Room:
    """Memory that rows may take, in bytes, and the folder in which those lie that do not fit."""

    memory: int
    folder: Path | str

    def holds(self, *, rows: int, row_bytes: int) -> bool:
        """Whether so many rows fit into memory."""
        return rows * row_bytes <= self.memory

    def file(self, owner: object) -> IO[bytes]:
        """A new file without a name, which is closed once its owner is gone."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        weakref.finalize(owner, file.close)
        return file


def room_of(folder: Path, gigabytes: float = 0.0) -> Room:
    """Room for rows: so many gigabytes, or if none are named a share of the memory that this process may use."""
    return Room(int(gigabytes * 1e9 or SHARE * usable_memory()), folder)


def usable_memory(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that this process may use: those of the machine, or fewer where its container or its limits say so."""
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    known += [limit for limit in (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS)) if limit > 0]
    for name in _CGROUP:
        try:
            said = (groups / name).read_text().strip()
        except OSError:
            continue
        known += [int(said)] if said.isdecimal() else []
    return min(known)
