"""Puts the routes of the ledger back after the platform was down."""

from __future__ import annotations

from collections.abc import Iterator

from perennial import discovery
from perennial.errors import PerennialError
from perennial.lineage.ledger import Ledger
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.stages.release import route_of
from perennial.store import Store


def resume(settings: Settings, store: Store) -> Iterator[str]:
    """Start the servers of each model's last ledger entry and route to them; yields a sentence for each model that has one."""
    backend = open_backend(settings)
    for name, model in discovery.models().items():
        entry = Ledger(store, name).last()
        route = route_of(entry) if entry else None
        if route is None:
            continue
        try:
            backend.apply(model, route)
            for version in route.versions:
                backend.wait_ready(model, version, model.serving.start_seconds)
        except PerennialError as error:  # one model that cannot serve must not keep the others, or the platform, down
            yield f"  {name} does not serve: {error}"
        else:
            yield f"  {name} serves version {', '.join(map(str, route.versions))}"
