"""Files of pinned archives, put into an environment's folder: fetched once, again only where one was lost or is pinned anew.

A lock file lists archives, each with the files that are wanted of it: `{"files": {"path in the archive": "name here"}, ...}`. A file of an
archive inside the archive stands behind a `!`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLACE = Path("share/perennial")  # below the environment
INSIDE = "!"


def put(environment: Path, lock: Path, title: str, fetched: Callable[[dict[str, Any]], bytes]) -> None:
    """Put what a lock file pins into an environment.

    Args:
        environment: the folder of the virtual environment.
        lock: the lock file.
        title: the field of the lock file that names an archive.
        fetched: gives the archive, checked to be the one that is pinned; what it raises ends the rest.
    """
    folder = environment / PLACE
    for wanted in json.loads(lock.read_text()):
        stamp, pinned = folder / f"{wanted[title]}.json", json.dumps(wanted)  # the stamp is written last
        if stamp.is_file() and stamp.read_text() == pinned and all((folder / name).is_file() for name in wanted["files"].values()):
            continue
        archive = fetched(wanted)
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        for path, name in wanted["files"].items():
            content = archive
            for part in path.split(INSIDE):
                content = _member(content, part)
            (folder / name).write_bytes(content)
        stamp.write_text(pinned)


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        content = members.extractfile(name)
        assert content is not None  # the archive is the one that is pinned
        return content.read()
