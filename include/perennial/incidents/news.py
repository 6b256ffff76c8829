"""Says that incidents opened or ended outside of Airflow's tasks, so that people are told at once. Light: a trigger looks at it.

>>> import tempfile
>>> from datetime import datetime, timezone
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> newest(store)
''
>>> announce(store, datetime(2013, 7, 4, tzinfo=timezone.utc))
>>> newest(store) != ""
True
"""

from __future__ import annotations

import json
from datetime import datetime

from perennial.store import Store

PLACE = "views/service_news.json"


def announce(store: Store, now: datetime) -> None:
    """Say that there is news."""
    store.write(PLACE, json.dumps({"time": now.isoformat()}).encode())


def newest(store: Store) -> str:
    """What tells the newest news from those before; empty if there never were any."""
    stat = store.stat(PLACE)
    return stat.etag if stat else ""
