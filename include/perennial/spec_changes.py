"""When DAG files are parsed before their time: DAGs are made from specs, and Airflow itself notices changes of DAG files alone.

>>> first, _ = look(None, frozenset({("spec.py", 1, 10)}), frozenset(), now=0.0)
>>> look(first, frozenset({("spec.py", 2, 10)}), frozenset(), now=10.0)[1].everything
True
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# After a change all is parsed once more: of what an edit took away Airflow keeps the DAGs that it saw less than 50 seconds before.
AGAIN_SECONDS = 60.0

Files = frozenset[tuple[str, int, int]]  # path, time of the last change in nanoseconds, bytes
Dags = frozenset[tuple[str, str]]  # id of a DAG, and its file


@dataclass(frozen=True)
class Seen:
    """What one look saw, for the next one."""

    files: Files
    gone: Dags
    again_at: float | None = None


@dataclass(frozen=True)
class Wanted:
    """What is to be parsed now: every DAG file, or some."""

    everything: bool = False
    files: frozenset[str] = frozenset()


def look(before: Seen | None, files: Files, gone: Dags, now: float) -> tuple[Seen, Wanted]:
    """What is to be parsed after this look.

    Args:
        before: what the last look saw; None at the first one, after which Airflow parses every file by itself.
        files: the Python files from which DAGs are made.
        gone: DAGs that Airflow takes to be gone. One that is newly among them is looked for once more: it may be there, and only the last
            parse of its file have failed, took too long or could not be stored.
        now: seconds of a clock that never goes back.
    """
    if before is None:
        return Seen(files, gone), Wanted()
    if files != before.files:
        return Seen(files, gone, now + AGAIN_SECONDS), Wanted(everything=True)
    if before.again_at is not None and now >= before.again_at:
        return Seen(files, gone), Wanted(everything=True)
    return Seen(files, gone, before.again_at), Wanted(files=frozenset(file for _, file in gone - before.gone))


def python_files(folders: Iterable[Path]) -> Files:
    """The Python files below some folders, as they are now."""
    return frozenset(_below(folders))


def _below(folders: Iterable[Path]) -> Iterator[tuple[str, int, int]]:
    for folder in folders:
        for place, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if name != "__pycache__" and not name.startswith(".")]
            for name in names:
                if name.endswith(".py"):
                    path = os.path.join(place, name)
                    try:
                        found = os.stat(path)
                    except OSError:  # removed meanwhile, or a link to nowhere: the next look sees what is there
                        continue
                    yield path, found.st_mtime_ns, found.st_size
