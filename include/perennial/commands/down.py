"""`perennial down`: stop what `perennial up` or `perennial demo` started below this home, and nothing else.

$ perennial down
"""

from __future__ import annotations

from perennial.local import demo, stack
from perennial.settings import Settings
from perennial.store import Store


def run(settings: Settings, store: Store) -> int:
    """Stop the platform, and the demo's."""
    demo_settings = demo.home_of(settings)
    for platform in (demo_settings, settings) if demo_settings.home.exists() else (settings,):
        stack.stop(platform)
    print(f"The platform is down. What it keeps stays: {store.root}")
    return 0
