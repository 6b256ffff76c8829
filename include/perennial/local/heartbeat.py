"""Whether the watch of this machine looks, not only runs: it touches a file at each look."""

from __future__ import annotations

import time
from pathlib import Path

from perennial.settings import Settings

PATIENCE_SECONDS = 60  # a look may wait for servers that hang


def beat(settings: Settings) -> None:
    """Note that the watch has looked."""
    file = _file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def beats(settings: Settings) -> bool:
    """Whether it has looked of late."""
    try:
        age = time.time() - _file(settings).stat().st_mtime
    except FileNotFoundError:
        return False
    return age < PATIENCE_SECONDS + settings.watch_seconds


def _file(settings: Settings) -> Path:
    return settings.home / "serving" / "watched"
