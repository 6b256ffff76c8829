"""`perennial demo`: see `perennial.local.demo`.

$ perennial demo
"""

from __future__ import annotations

from perennial.local import demo
from perennial.settings import Settings
from perennial.store import Store


def run(settings: Settings, store: Store) -> int:
    """Tell the story; 0 if everything happened as told."""
    return demo.tell(settings)
