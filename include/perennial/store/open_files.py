"""Finds files that a program has open for writing: a file that is still being copied into a folder is not complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

MOST_OPEN = 50_000  # open files of other programs that are looked at: beyond them a file's time and size alone tell


def open_for_writing(paths: Iterable[Path]) -> frozenset[Path]:
    """Those of the files that a process has open for writing.

    Linux tells it of the processes of this user, and root of all; elsewhere none is seen.
    """
    wanted: dict[tuple[int, int], Path] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = path.stat()
            wanted[status.st_dev, status.st_ino] = path
    written: set[Path] = set()
    if not wanted or not os.path.isdir("/proc/self/fd"):
        return frozenset()
    looked = 0
    for process in os.listdir("/proc"):
        if not process.isdecimal() or looked > MOST_OPEN:
            continue
        # a process that ends meanwhile, or is another user's, tells nothing
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            for number in os.listdir(f"/proc/{process}/fd"):
                looked += 1
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                    status = os.stat(f"/proc/{process}/fd/{number}")
                    file = wanted.get((status.st_dev, status.st_ino))
                    if file is not None and _is_for_writing(process, number):
                        written.add(file)
    return frozenset(written)


def _is_for_writing(process: str, number: str) -> bool:
    with open(f"/proc/{process}/fdinfo/{number}") as lines:
        flags = next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), 0)
    return flags & os.O_ACCMODE != os.O_RDONLY
