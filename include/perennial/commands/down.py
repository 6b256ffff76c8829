"""`perennial down`: stop what `perennial up` or `perennial demo` started below this home, and nothing else."""

from __future__ import annotations

from perennial.local import demo, stack
from perennial.settings import Settings
from perennial.store import Store


def run(settings: Settings, store: Store) -> int:
    """Stop the platform, and the demo's."""
    told = demo.home_of(settings)
    for found in (told, settings) if told.home.exists() else (settings,):
        stack.stop(found)
    print(f"The platform is down. What it keeps stays: {store.root}")
    return 0
