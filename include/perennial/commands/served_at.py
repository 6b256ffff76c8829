"""`perennial served-at`: show which versions served at a time, at what weight and why.

$ perennial served-at --model flight_delays 2013-07-04T12:00:00
"""

from __future__ import annotations

from datetime import datetime

from perennial import discovery
from perennial.errors import EXIT_DONE
from perennial.lineage.ledger import Entry, Ledger, known_models
from perennial.serving.route import WHOLE
from perennial.settings import Settings
from perennial.store import Store


def run(settings: Settings, store: Store, *, time: datetime, model: str | None = None) -> int:
    """Print one paragraph for each model.

    Raises:
        UnknownName: there is no such model.
        StoredDataDamaged: a ledger cannot be read.
    """
    del settings
    for name in discovery.models_asked_about(model, known_models(store)):
        print(describe(name, time, Ledger(store, name).served_at(time)))
    return EXIT_DONE


def describe(model: str, time: datetime, entry: Entry | None) -> str:
    """A paragraph on what served at `time`, given the entry that held then."""
    when = f"{time:%Y-%m-%d %H:%M:%S %Z}".strip()
    serving = {} if entry is None else {number: weight for number, weight in entry.weights.items() if weight}
    if entry is None or not serving:
        because = f": {entry.reason}" if entry else ""
        return f"{model}: nothing served at {when}{because}"
    shares = [
        f"version {number} ({entry.versions[number][:12]}) {100 * weight / WHOLE:g} %"
        for number, weight in sorted(serving.items(), key=lambda pair: -pair[1])
    ]
    shadow = "" if entry.shadow is None else f", version {entry.shadow} in the shadow"
    return (
        f"{model} at {when}: {', '.join(shares)}{shadow}.\n  Since {entry.time:%Y-%m-%d %H:%M:%S} UTC ({entry.kind}, "
        f"entry {entry.seq}, by {entry.actor}): {entry.reason}"
    )
