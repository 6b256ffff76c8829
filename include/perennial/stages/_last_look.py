"""What the last look at a model's live traffic saw, and what it found: the next look gives the same answer if nothing has changed since.

A look depends on objects that are written once and never again (rows of tables, entries of ledgers, folders of versions), of which there
can only be more, and on a few that change. `World` says of the former how many there are and of the latter in which state they are. All of
it is read without a table, a profile or a picture, and costs the same however long the history.

A look's answer holds only if the world was after it as before it: a look that opened an incident or asked for a training may find something
else the next time. It holds until the day ends at most, or until a moment at which the clock alone changes what is found.

The note of the last look may be deleted at any time: the next look is then a full one.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

import perennial
from perennial import discovery
from perennial.lineage.ledger import Ledger
from perennial.lineage.trainings import last_training
from perennial.lineage.version_notes import evaluation_key
from perennial.monitoring.report.numbers import Gateway
from perennial.results import MonitorResult
from perennial.served_tables import outcomes_name, predictions_name
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import Store
from perennial.store.numbered import count_numbered

FORM = 1  # of the note
OF_A_WINDOW = ("report.json", "index.html", "inputs.parquet", "scores.parquet")


class World(BaseModel):
    """All on which the answer of a look depends, as far as it can change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(description="Digest of the code and the libraries.")
    asked: str = Field(description="Digest of the settings and of the specs of the model and its datasets.")
    ledger: str = Field(description="Place and hash of the newest entry.")
    training: str = Field(description="Digest of the version that was trained last, among those that the gate has judged.")
    logs: str = Field(description="Digest of what servers have logged and what could not be read of it, by key and state.")
    gateway: str = Field(description="Digest of the gateway's counts.")
    counts: dict[str, int] = Field(description="How many numbered objects each folder has: commits, incidents' events, requests' events.")
    states: dict[str, str] = Field(description="State of each object that is written again and again, by key; empty where it is not there.")


class LastLook(BaseModel):
    """The last look at a model's newest window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: int = FORM
    time: AwareDatetime = Field(description="When it was.")
    until: AwareDatetime = Field(description="From when on the clock alone may change what it found.")
    settled: bool = Field(description="Whether it left the world as it found it.")
    windows: tuple[str, ...] = Field(description="Names of the windows whose files it rests on.")
    world: World = Field(description="As it was after it.")
    result: MonitorResult

    def holds(self, world: World, now: datetime) -> bool:
        """Whether a look in this world, at this time, would find the same."""
        return self.settled and self.world == world and self.time <= now < self.until


def last_look(store: Store, model: str) -> LastLook | None:
    """The last look at a model; None if there was none, or one whose note cannot be read, such as a later version's."""
    try:
        noted = LastLook.model_validate_json(store.read(_place(model)))
    except (KeyError, ValidationError):
        return None
    return noted if noted.form == FORM else None


def note_look(store: Store, model: str, look: LastLook) -> None:
    """Note a look, for the next one."""
    store.write(_place(model), look.model_dump_json().encode())


def world_of(
    settings: Settings, store: Store, spec: ModelSpec, gateway: Gateway, windows: Iterable[str], known: Mapping[str, int]
) -> World:
    """The world as it is now.

    Args:
        settings: of this look.
        store: has everything else.
        spec: of the model.
        gateway: its counts, as this look reports them.
        windows: names of the windows whose files the look rests on.
        known: how many numbered objects the folders had when they were counted last.
    """
    model = spec.name
    entry, trained = Ledger(store, model).last(), last_training(store, model)
    tables = dict.fromkeys((predictions_name(model), outcomes_name(model), *spec.datasets))
    folders = {**{f"tables/{name}/_delta_log": 20 for name in tables}, f"incidents/{model}": 8, f"requests/{model}": 8}
    changing = [
        f"reports/{model}/newest_window.json",
        f"views/windows/{model}.json",
        f"views/drift/{model}.json",
        f"profiles/{spec.dataset}/layout.json",
        *(f"reports/{model}/windows/{window}/{name}" for window in windows for name in OF_A_WINDOW),
        *(evaluation_key(model, digest) for digest in (entry.versions.values() if entry else ())),
    ]
    specs = [spec, discovery.dataset_of(spec), *map(discovery.dataset, spec.datasets)]
    logged = (item for folder in ("predictions", "outcomes") for item in store.list(f"{folder}/{model}"))
    return World(
        code=code_digest(),
        asked=_digest([settings.model_dump(mode="json"), *(one.model_dump(mode="json") for one in specs)]),
        ledger=entry.note if entry else "",
        training=trained[0] if trained else "",
        logs=_digest([[item.key, item.etag] for item in logged]),
        gateway=_digest(gateway.model_dump(mode="json")),
        counts={folder: count_numbered(store, folder, known.get(folder, 0), digits) for folder, digits in folders.items()},
        states={key: found.etag if (found := store.stat(key)) else "" for key in changing},
    )


def unchanged_until(said: Callable[[datetime], str], now: datetime, end: datetime) -> datetime:
    """Until when what is said stays as it is now, to the second; `end` if it does until then.

    Args:
        said: what is said at a time. What has changed once does not change back.
        now: from when.
        end: no later time is tried.
    """
    words = said(now)
    if said(end) == words:
        return end
    same, other = now, end
    while other - same > timedelta(seconds=1):
        middle = same + (other - same) / 2
        same, other = (middle, other) if said(middle) == words else (same, middle)
    return same


@cache
def code_digest() -> str:
    """Digest of the platform's code and of the names and versions of the libraries beside it."""
    root = Path(perennial.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)} ".encode() + file.read_bytes())
    libraries = sorted(found.name for found in Path(sysconfig.get_paths()["purelib"]).glob("*.dist-info"))
    digest.update("\n".join(libraries).encode())
    return digest.hexdigest()


def _place(model: str) -> str:
    return f"views/looks/{model}.json"


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
