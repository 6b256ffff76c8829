"""`perennial demo`: see `perennial.local.demo`.

$ perennial demo
"""

from __future__ import annotations

from perennial.local import demo
from perennial.settings import Settings
from perennial.store import Store


def run(settings: Settings, store: Store) -> int:
    """Run the demo; 0 if every step happened."""
    return demo.tell(settings)
