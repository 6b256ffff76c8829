"""The ledger: which version served when, at what weight, why, on what evidence. Append-only and hash-chained.

One object for each entry, `ledger/<model>/<8-digit number>.json`, written by put-if-absent: of two writers that want the
same place one wins and the other is told. Each entry holds the hash of the one before it, so an entry that was changed,
removed, moved or slipped in shows. Entries removed from the end leave a shorter chain that is whole in itself: that shows
by comparing it with what was noted elsewhere. `release` and `rollback` note each end of a release in the registry, as the
tag `ledger` of the version that it ended for; what was written after the newest of these notes is not covered.

Beside it `views/ledger/<model>` holds the number of an entry, from which the newest is found without listing them all, and
`views/entries/<model>/<number>.json` a line of each of 500 entries, from which is read what served when and which versions there were.
They may be deleted at any time. `entries` and `verify` alone read every entry.

    >>> from perennial.lineage.ledger import Ledger
    >>> from perennial.store import open_store
    >>> ledger = Ledger(open_store("store"), "churn")
    >>> facts = {"version": 1, "champion": 1, "weights": {1: 10_000}, "versions": {1: "0" * 64}}
    >>> entry = ledger.append("released", **facts, reason="The first.", actor="anna", after_seq=None)
    >>> ledger.last().champion, ledger.verify()
    (1, [])
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import LedgerConflict, StoredDataDamaged
from perennial.store import Store
from perennial.store.numbered import count_numbered
from perennial.store.summaries import Summaries

Kind = Literal[
    "started",
    "weights",
    "paused",
    "released",
    "promoted",
    "rolled_back",
    "rejected",
    "retired",
    "experiment",
    "experiment_weights",
    "experiment_ended",
]
UNDER_WAY = ("started", "weights", "paused")
EXPERIMENT = ("experiment", "experiment_weights")  # under way: units are shared between the champion and the version
OF_EXPERIMENTS = (*EXPERIMENT, "experiment_ended")  # they give nobody another role
AGAINST = ("rolled_back", "rejected")  # a version is not released again by itself; a rejected one had not taken any traffic
RETIRED: Kind = "retired"  # of a model: nothing serves, and nothing is trained or released by itself
FIRST = "0" * 64  # stands where the first entry names its predecessor
NAME = re.compile(r"(\d{8})\.json")
NOTE = re.compile(r"(\d+) ([0-9a-f]{64})")
KEPT_GOOD = 5
WHOLE = 10_000  # weights are basis points of this
LINES = 500  # entries of which one object has the lines


class Entry(BaseModel):
    """One entry of the ledger: a change of the route, which holds from `time` on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=0, description="Place in the ledger, from 0.")
    time: AwareDatetime = Field(description="When it was written, UTC; never before the entry before it.")
    model: str = Field(description="Name of the model.")
    kind: Kind = Field(description="What happened.")
    version: int = Field(description="The version that it happened to.")
    champion: int | None = Field(description="The version that has the role of champion from now on.")
    good: tuple[int, ...] = Field(default=(), description="Earlier champions to which one can go back, newest first.")
    weights: dict[int, int] = Field(description="Basis points of 10,000 for each version that runs.")
    shadow: int | None = Field(default=None, description="Version that gets mirrored traffic.")
    salt: str | None = Field(default=None, description="Of an experiment: spreads the keys of its units over the versions.")
    versions: dict[int, str] = Field(description="Content address of every version that is named here.")
    reason: str = Field(description="Why, as a sentence.")
    evidence: dict[str, Any] = Field(default_factory=dict, description="Figures behind the decision.")
    actor: str = Field(description="Who decided: `perennial` or a person.")
    previous: str = Field(description="Hash of the entry before.")
    hash: str = Field(description="SHA-256 of this entry without this field.")

    @property
    def candidate(self) -> int | None:
        """The version whose release is under way; None if none is."""
        return self.version if self.kind in UNDER_WAY else None

    @property
    def tried(self) -> int | None:
        """The version with which the champion shares an experiment that is under way; None if none is."""
        return self.version if self.kind in EXPERIMENT else None

    @property
    def lost(self) -> bool:
        """Whether its version lost an experiment: the champion was better."""
        shown = self.evidence.get("experiment")
        return self.kind == "experiment_ended" and isinstance(shown, Mapping) and shown.get("verdict") == "worse"

    @property
    def against(self) -> bool:
        """Whether its version is not released again by itself."""
        return self.kind in AGAINST or self.lost

    @property
    def serves(self) -> bool:
        """Whether any version is to run from now on."""
        return bool(self.weights) or self.candidate is not None

    @property
    def note(self) -> str:
        """What is recorded elsewhere too, so that the loss of this entry is noticed."""
        return f"{self.seq} {self.hash}"

    @property
    def last_good(self) -> int | None:
        """The version to go back to; None if there is none."""
        return self.good[0] if self.good else None


class Line(BaseModel):
    """What is read of all entries at once: which versions served from when on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int
    time: AwareDatetime
    kind: Kind
    version: int
    digest: str = Field(description="Content address of that version.")
    weights: dict[int, int] = Field(
        description="Basis points of 10,000 for each version with traffic; a first version that starts has all."
    )
    shadow: int | None


def known_models(store: Store) -> list[str]:
    """Every model that has a ledger, whether or not its folder is still there."""
    return list(store.folders("ledger"))


def retired_words(entry: Entry) -> str:
    """When, by whom and why a model was retired, and how it serves again."""
    return retirement_words(entry.model, entry.version, entry.time, entry.actor, entry.reason)


def retirement_words(model: str, version: int, time: datetime, actor: str, reason: str) -> str:
    """The same sentence for a retirement that is about to be written."""
    return (
        f"{model} was retired on {time:%Y-%m-%d %H:%M} UTC by {actor} ({reason.rstrip('.')}). "
        f"To serve it again: `perennial release --model {model} --version {version} --again --actor YOU`."
    )


class Ledger:
    """One model's ledger."""

    def __init__(self, store: Store, model: str) -> None:
        self._store, self.model = store, model
        self._folder, self._tip = f"ledger/{model}", f"views/ledger/{model}"

    def entries(self) -> list[Entry]:
        """All entries, oldest first. Raises StoredDataDamaged if one cannot be read."""
        return [self._read(number) for number in self._numbers()]

    def last(self) -> Entry | None:
        """The entry that holds now; None if the ledger is empty. Raises StoredDataDamaged if it cannot be read."""
        number = self._last_number()
        return None if number is None else self._read(number)

    def entry(self, seq: int) -> Entry:
        """One entry by its place. Raises StoredDataDamaged if it is not there or cannot be read."""
        return self._read(seq)

    def newest_first(self) -> Iterator[Entry]:
        """All entries, newest first, each read when it is asked for. Raises StoredDataDamaged at one that cannot be read."""
        number = self._last_number()
        return iter(()) if number is None else (self._read(seq) for seq in range(number, -1, -1))

    def newest(self, count: int) -> list[Entry]:
        """At most so many of the newest entries, newest first; the others are not read. Raises StoredDataDamaged as `newest_first` does."""
        return list(islice(self.newest_first(), count))

    def about(self, version: int) -> Iterator[Entry]:
        """The entries about a version, newest first, each read when it is asked for. Raises StoredDataDamaged as `lines` does."""
        return (self._read(line.seq) for line in self.lines() if line.version == version)

    def lines(self) -> list[Line]:
        """A line of each entry, newest first. Raises StoredDataDamaged at an entry that is not noted and cannot be read."""
        number = self._last_number()
        parts = [] if number is None else [self._lines(first).of(self._keys(first, number)) for first in range(0, number + 1, LINES)]
        lines = [line for part in reversed(parts) for line in reversed(part.values())]
        if number is not None and len(lines) <= number:
            known = {line.seq for line in lines}
            self._read(next(seq for seq in range(number + 1) if seq not in known))  # says that it is missing
        return lines

    def digests(self) -> dict[int, str]:
        """The content address of every version that an entry is about. Raises StoredDataDamaged as `lines` does."""
        return {line.version: line.digest for line in reversed(self.lines())}

    def last_move(self) -> Entry | None:
        """The newest entry that said where traffic goes: a rejection moves none."""
        return next((entry for entry in self.newest_first() if entry.kind != "rejected"), None)

    def retirement(self) -> Entry | None:
        """The entry by which the model was taken down, if no version has been released since; None if it was not."""
        moved = self.last_move()
        return moved if moved and moved.kind == RETIRED else None

    def append(
        self,
        kind: Kind,
        *,
        version: int,
        champion: int | None,
        weights: Mapping[int, int],
        versions: Mapping[int, str],
        reason: str,
        actor: str,
        after_seq: int | None,
        good: tuple[int, ...] = (),
        shadow: int | None = None,
        salt: str | None = None,
        evidence: Mapping[str, Any] | None = None,
        now: datetime | None = None,
    ) -> Entry:
        """Write the next entry.

        Args:
            after_seq: number of the entry on which this decision rests, None for an empty ledger.
            now: time of the entry, UTC; the clock's if absent. An entry is never dated before its predecessor.

        Raises:
            LedgerConflict: another entry stands there already; read the ledger again and decide again.
            ValueError: a version has no digest, or the evidence is no JSON.
        """
        last = self.last()
        if (last.seq if last else None) != after_seq:
            raise self._conflict(after_seq)
        good = tuple(number for number in good if number != champion)[:KEPT_GOOD]
        named = {version, *weights, *good} | {number for number in (champion, shadow) if number is not None}
        lacking = sorted(named - set(versions))
        if lacking:
            raise ValueError(f"version {lacking[0]} is named without its digest")
        moment = (now or datetime.now(timezone.utc)).astimezone(timezone.utc)
        body = {
            "seq": 0 if last is None else last.seq + 1,
            "time": (max(moment, last.time) if last else moment).isoformat(),
            "model": self.model,
            "kind": kind,
            "version": version,
            "champion": champion,
            "good": list(good),
            "weights": {str(number): weight for number, weight in weights.items()},
            "shadow": shadow,
            **({} if salt is None else {"salt": salt}),  # older entries have none, and no other hash for that
            "versions": {str(number): versions[number] for number in sorted(named)},
            "reason": reason,
            "evidence": json.loads(_canonical(dict(evidence or {}))),
            "actor": actor,
            "previous": last.hash if last else FIRST,
        }
        sealed = {**body, "hash": _digest(body)}
        if not self._store.put_if_absent(self._key(sealed["seq"]), _canonical(sealed)):
            raise self._conflict(after_seq)
        self._store.write(self._tip, str(sealed["seq"]).encode())
        first = sealed["seq"] - sealed["seq"] % LINES
        with contextlib.suppress(StoredDataDamaged):  # an older entry: what is not noted is read from the entries, and told then
            self._lines(first).keep(self._keys(first, sealed["seq"]))
        return Entry.model_validate_json(_canonical(sealed))

    def verify(self, noted: Mapping[int, str] | None = None) -> list[str]:
        """Recompute the whole chain; a sentence for each thing that is wrong, none if it is sound.

        Args:
            noted: version -> `Entry.note` as kept elsewhere, read before this call; without it a cut end does not show.
        """
        problems: list[str] = []
        hashes: dict[int, object] = {}
        before: dict[str, Any] | None = None
        wanted = 0
        for item in self._store.list(self._folder):
            name = item.key.rsplit("/", 1)[-1]
            match = NAME.fullmatch(name)
            if not match or item.key != f"{self._folder}/{name}":
                problems.append(f"{item.key} is no entry of this ledger")
                continue
            number = int(match[1])
            if number > wanted:
                missing = f"entry {wanted} is" if number == wanted + 1 else f"entries {wanted} to {number - 1} are"
                problems.append(f"{missing} missing")
                before = None
            data = self._store.read(item.key)
            document = _parsed(data)
            if document is None:
                problems.append(f"entry {number} is not readable")
            else:
                hashes[number] = document.get("hash")
                problems += [f"entry {number} {what}" for what in self._faults(document, data, number, before, follows=number == wanted)]
            before, wanted = document, number + 1
        return problems + [what for version, note in (noted or {}).items() if (what := _mismatch(version, note, hashes))]

    def served_at(self, time: datetime) -> Entry | None:
        """The entry that held at that time; None before the first. Reads few of them: none is dated before the one before it."""
        number = self._last_number()
        if number is None:
            return None
        later = bisect.bisect_right(range(number + 1), time, key=lambda seq: self._read(seq).time)
        return self._read(later - 1) if later else None

    def _faults(self, document: dict[str, Any], data: bytes, number: int, before: dict[str, Any] | None, *, follows: bool) -> list[str]:
        faults = []
        if document.get("hash") != _digest({k: v for k, v in document.items() if k != "hash"}):
            faults.append("was changed: its hash does not fit its content")
        elif data != _canonical(document):
            faults.append("was changed: it is not written as entries are")
        if document.get("seq") != number:
            faults.append(f"was moved: it calls itself {document.get('seq')}")
        if document.get("model") != self.model:
            faults.append(f"belongs to the model {document.get('model')}")
        previous = FIRST if number == 0 else before.get("hash") if before else None
        if previous is not None and document.get("previous") != previous:
            faults.append("does not follow the entry before it")
        if before and follows and _time(document) < _time(before):
            faults.append("is dated before the entry before it")
        try:
            Entry.model_validate_json(data)
        except ValidationError as error:
            faults.append(f"lacks or garbles {error.errors()[0]['loc'][0] if error.errors()[0]['loc'] else 'its content'}")
        return faults

    def _numbers(self) -> list[int]:
        names = (item.key.removeprefix(f"{self._folder}/") for item in self._store.list(self._folder))
        return [int(match[1]) for match in map(NAME.fullmatch, names) if match]

    def _last_number(self) -> int | None:
        """Number of the newest entry. The noted one is never newer; whoever wrote a later one may have been killed before the note."""
        try:
            noted = int(self._store.read(self._tip)) + 1
        except (KeyError, ValueError):  # from before it was noted, or no number
            noted = 0
        count = count_numbered(self._store, self._folder, noted)
        return count - 1 if count else None

    def _lines(self, first: int) -> Summaries[Line]:
        place = f"views/entries/{self.model}/{first // LINES:06d}.json"
        return Summaries(self._store, place, Line, lambda key, _: _line(self._read(int(key[-13:-5]))), fixed=True)

    def _keys(self, first: int, last: int) -> list[str]:
        return [self._key(seq) for seq in range(first, min(first + LINES, last + 1))]

    def _key(self, seq: int) -> str:
        return f"{self._folder}/{seq:08d}.json"

    def _read(self, seq: int) -> Entry:
        try:
            data = self._store.read(self._key(seq))
        except KeyError:
            raise StoredDataDamaged(
                f"Entry {seq} of the ledger of {self.model} is missing ({self._key(seq)}). Run `perennial ledger verify --model "
                f"{self.model}`, then restore it from a copy."
            ) from None
        try:
            entry, document = Entry.model_validate_json(data), _loaded(data)
        except ValueError as error:
            raise StoredDataDamaged(
                f"Entry {seq} of the ledger of {self.model} cannot be read ({self._key(seq)}). "
                f"Run `perennial ledger verify --model {self.model}`, then restore it from a copy."
            ) from error
        if entry.hash != _digest({k: v for k, v in document.items() if k != "hash"}):
            raise StoredDataDamaged(
                f"Entry {seq} of the ledger of {self.model} was changed ({self._key(seq)}). Run `perennial ledger verify --model "
                f"{self.model}`, then restore it from a copy."
            )
        return entry

    def _conflict(self, after_seq: int | None) -> LedgerConflict:
        place = 0 if after_seq is None else after_seq + 1
        return LedgerConflict(
            f"Another writer took place {place} in the ledger of {self.model}. Run the stage again: it decides on what holds now."
        )


def _line(entry: Entry) -> Line:
    serving = entry.weights or ({entry.version: WHOLE} if entry.serves else {})
    weights = {number: weight for number, weight in serving.items() if weight}
    digest = entry.versions[entry.version]
    return Line(seq=entry.seq, time=entry.time, kind=entry.kind, version=entry.version, digest=digest, weights=weights, shadow=entry.shadow)


def _mismatch(version: int, note: str, hashes: Mapping[int, object]) -> str:
    match = NOTE.fullmatch(note)
    if not match:
        return f"the note of version {version} is no number and hash of an entry: {note!r}"
    if int(match[1]) not in hashes:
        return f"entry {match[1]}, which was noted for version {version}, is not there"
    return "" if hashes[int(match[1])] == match[2] else f"entry {match[1]} is not the one that was noted for version {version}"


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(dict(body))).hexdigest()


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        document = _loaded(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _loaded(data: bytes) -> Any:
    """Raises ValueError for NaN and infinity too, which entries never hold and which have no canonical form."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(data, parse_constant=refuse)


def _time(document: Mapping[str, Any]) -> datetime:
    try:
        when = datetime.fromisoformat(str(document.get("time")))
        return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    except ValueError:
        return datetime.min.replace(tzinfo=timezone.utc) + timedelta(days=1)
