"""The releases of a model, as the ledger's entries tell them: when each began and ended, how, and why. Light.

A note below `views/releases/` holds them up to some entry, so that a page does not read the whole ledger. Whoever writes entries keeps
it; one that is old, garbled or gone costs time and changes no answer.

>>> import tempfile
>>> from perennial.lineage.ledger import Ledger
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> facts = {"version": 1, "weights": {}, "versions": {1: "0" * 64}, "actor": "perennial"}
>>> begun = Ledger(store, "churn").append("started", **facts, champion=None, reason="The first.", after_seq=None)
>>> [(release.began, release.version, release.end) for release in releases(store, "churn").newest_first]
[(0, 1, None)]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import StoredDataDamaged
from perennial.lineage.ledger import RETIRED, Entry, Ledger
from perennial.store import Store

READ = 500  # entries of a ledger at most where there is no note
NOTED = 100  # releases in the note, the newest

End = Literal["promoted", "rolled back", "retired"]


class PastRelease(BaseModel):
    """One release, under way or ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    began: int = Field(description="Ledger entry with which it began.")
    began_at: AwareDatetime = Field(description="When, UTC.")
    began_by: str = Field(description="Who began it.")
    version: int = Field(description="The version that was released.")
    champion: int | None = Field(description="The version that it was compared with; none for a first version.")
    ended: int | None = Field(default=None, description="Ledger entry with which it ended; none while it is under way.")
    ended_at: AwareDatetime | None = Field(default=None, description="When, UTC.")
    end: End | None = Field(default=None, description="How it ended.")
    reason: str = Field(default="", description="Why it ended so.")
    actor: str = Field(default="", description="Who decided it.")
    undone_at: AwareDatetime | None = Field(default=None, description="When the promoted version was rolled back later, if it was.")
    undone_reason: str = Field(default="", description="Why.")


class Releases(BaseModel):
    """The releases of a model, as far as they are known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal[1] = 1
    read_to: int = Field(default=-1, description="The newest ledger entry that they were read from.")
    hash: str = Field(default="", description="Its hash.")
    newest_first: tuple[PastRelease, ...] = ()
    more: bool = Field(default=False, description="Whether there are older ones, which are not here.")
    damage: tuple[str, ...] = Field(default=(), description="Sentences on what could not be read.")


def releases(store: Store, model: str) -> Releases:
    """The newest releases of a model."""
    return _read(store, model, READ)


def note_releases(store: Store, model: str) -> None:
    """Write the note of the releases up to the newest entry. What could not be read is not noted as if it were known."""
    known = _read(store, model, None)
    if not known.damage:
        store.write(_note(model), known.model_dump_json(exclude_defaults=True).encode())


def _read(store: Store, model: str, most: int | None) -> Releases:
    ledger, noted = Ledger(store, model), _noted(store, model)
    unread: list[Entry] = []
    damage: tuple[str, ...] = ()
    reached, more = False, noted.more
    try:
        for entry in ledger.newest_first():
            if entry.seq == noted.read_to and entry.hash == noted.hash:
                reached = True
                break
            if len(unread) == most:
                more = True
                break
            unread.append(entry)
    except StoredDataDamaged as error:
        damage, more = (str(error),), True
    unread.reverse()
    before = noted.newest_first if reached else ()
    if not unread:
        return noted if reached else Releases(damage=damage)
    told = _folded(before, unread)
    return Releases(read_to=unread[-1].seq, hash=unread[-1].hash, newest_first=told[:NOTED], more=more or len(told) > NOTED, damage=damage)


ENDS: dict[str, End] = {"released": "promoted", "promoted": "promoted", "rolled_back": "rolled back", RETIRED: "retired"}


def _folded(newest_first: Iterable[PastRelease], entries: Iterable[Entry]) -> tuple[PastRelease, ...]:
    """The releases after some more entries, oldest first."""
    known = list(newest_first)[::-1]
    for entry in entries:
        if entry.kind == "started":
            about = {"version": entry.version, "champion": entry.champion}
            known.append(PastRelease(began=entry.seq, began_at=entry.time, began_by=entry.actor, **about))
        elif known and known[-1].end is None and entry.kind in ENDS:
            ended = {"ended": entry.seq, "ended_at": entry.time, "end": ENDS[entry.kind], "reason": entry.reason, "actor": entry.actor}
            known[-1] = known[-1].model_copy(update=ended)
        elif entry.kind in ("promoted", "rolled_back"):
            _undo(known, entry)
    return tuple(known[::-1])


def _undo(known: list[PastRelease], entry: Entry) -> None:
    """A promoted version was rolled back later, or keeps the traffic after all, as what was to follow it could not take it."""
    undone = (
        {"undone_at": entry.time, "undone_reason": entry.reason}
        if entry.kind == "rolled_back"
        else {"undone_at": None, "undone_reason": ""}
    )
    for place in range(len(known) - 1, -1, -1):
        if known[place].version == entry.version and known[place].end == "promoted":
            known[place] = known[place].model_copy(update=undone)
            return


def _noted(store: Store, model: str) -> Releases:
    try:
        return Releases.model_validate_json(store.read(_note(model)))
    except (KeyError, ValidationError):  # made anew by whoever writes next
        return Releases()


def _note(model: str) -> str:
    return f"views/releases/{model}.json"
