"""Delivery figures of models, from what is stored: releases, when trainings began, critical incidents of the service.

>>> import tempfile
>>> from perennial.store import open_store
>>> delivery_of(open_store(tempfile.mkdtemp()), "digits").sentence
'No release ended in 90 days.'
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from perennial.errors import StoredDataDamaged
from perennial.incidents.incidents import Incidents
from perennial.lineage.delivery import DAYS, Delivery, Outage, delivery
from perennial.lineage.releases import releases
from perennial.lineage.version_notes import versions_newest_first
from perennial.store import Store


def delivery_of(
    store: Store, name: str, since: datetime | None = None, until: datetime | None = None, damage: list[str] | None = None
) -> Delivery:
    """The delivery figures of one model.

    Args:
        store: has ledger, versions and incidents.
        name: of the model.
        since: begin of the time that counts; 90 days before its end if absent.
        until: its end; now if absent.
        damage: gets a sentence for what cannot be read.
    """
    until = until or datetime.now(timezone.utc)
    known = releases(store, name)
    began = {note.number: note.began for note in versions_newest_first(store, name) if note.number is not None and note.began is not None}
    if damage is not None:
        damage += known.damage
    return delivery(known.newest_first, began, _outages(store, name, damage), since or until - timedelta(days=DAYS), until)


def in_short(store: Store, names: Iterable[str], until: datetime | None = None) -> dict[str, Delivery]:
    """How often models get a version and how many fail, from their releases alone: cheap enough for a list of many models."""
    until = until or datetime.now(timezone.utc)
    return {name: delivery(releases(store, name).newest_first, {}, [], until - timedelta(days=DAYS), until) for name in names}


def _outages(store: Store, name: str, damage: list[str] | None) -> list[Outage]:
    try:
        lines = Incidents(store, name).listing().lines()
        return [(line.opened, line.resolved) for line in lines if line.kind == "service" and line.severity == "critical"]
    except StoredDataDamaged as error:
        if damage is not None:
            damage.append(str(error))
        return []
