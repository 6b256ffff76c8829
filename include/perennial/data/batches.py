"""The landed files of a dataset, newest first, found without reading every receipt. Light: pages read it.

A note holds the receipts of one day. Whoever took files in makes it; whatever changed a receipt since has left a mark, and the receipt
itself is then read. Each note has a number and is put only if nobody else put that number, so that of two writers none loses what the
other noted. Notes may be deleted at any time: without them the receipts are read.

    views/batches/<dataset>/days/<day>/<number>.json    the receipts of a day, UTC
    views/batches/<dataset>/whole                       every receipt from before there were notes is in them

>>> import tempfile
>>> from perennial.data.receipts import Receipt, write_receipt
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> for name in ("monday.csv", "tuesday.csv"):
...     made = write_receipt(store, "rides", Receipt(id=name, name=name, size=9, outcome="appended", rows=3, sentence="It is in."))
>>> note_batches(store, "rides", "at")  # whoever takes files in does this at the end
>>> [receipt.name for receipt in Batches(store, "rides").newest_first()]
['tuesday.csv', 'monday.csv']
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from perennial.data.receipt_notes import Mark, day_of, owed
from perennial.data.receipts import Receipt, read_receipt
from perennial.errors import StoredDataDamaged
from perennial.store import Store

UNNOTED = 2_000  # receipts that are read one by one at most
KEPT = 2  # notes of a day: somebody may be reading the one before
_NOTE = TypeAdapter(list[Receipt])

Place = tuple[datetime, str]  # among the receipts of a dataset: time and identity


class Garbled(Exception):
    """A note cannot be read: the receipts say what it should."""


class Batches:
    """The landed files of one dataset, as of one moment.

    Args:
        store: has the receipts and their notes.
        dataset: name of the dataset.
        time_column: its event time; days of receipts from before there were notes are found by it, if it is given.
    """

    def __init__(self, store: Store, dataset: str, time_column: str = "") -> None:
        self.damage: list[str] = []  # sentences on receipts that cannot be read, as far as was read
        self.left_out = 0  # receipts that are neither noted nor among those read one by one
        self._store, self._dataset, self._log = store, dataset, Log(store, dataset, time_column)
        self._changed: dict[str, Receipt | None] = {}
        self._whole = store.exists(_whole(dataset))
        for mark in owed(store, dataset)[: UNNOTED if self._whole else 0]:
            self._changed[mark.id] = self._read(mark.id)

    def newest_first(self, before: Place | None = None) -> Iterator[Receipt]:
        """Every receipt, by the time at which it was written, newest first; notes are read as far as somebody asks.

        Args:
            before: only those that come after the one at this place.
        """
        given = set()
        try:
            for receipt in self._noted(before) if self._whole else ():
                given.add(receipt.id)
                if before is None or place_of(receipt) < before:
                    yield receipt
        except Garbled:
            self._whole = False
        if not self._whole:
            yield from (r for r in self._one_by_one() if r.id not in given and (before is None or place_of(r) < before))

    def one(self, id: str) -> Receipt | None:
        """The receipt of one file; None if it has none. Raises StoredDataDamaged if it cannot be read."""
        return read_receipt(self._store, self._dataset, id)

    def _noted(self, before: Place | None) -> Iterator[Receipt]:
        fresh = [receipt for receipt in self._changed.values() if receipt]
        noted = self._store.folders(_days(self._dataset))
        for day in sorted({*noted, *(day_of(receipt.time) for receipt in fresh)}, reverse=True):
            if before and day > day_of(before[0]):
                continue
            of_day = [receipt for receipt in fresh if day_of(receipt.time) == day]
            if day in noted:
                of_day += (receipt for id, receipt in _newest(self._store, self._dataset, day)[1].items() if id not in self._changed)
            yield from sorted(of_day, key=place_of, reverse=True)

    def _one_by_one(self) -> Iterator[Receipt]:
        stored = sorted(self._store.list(f"receipts/{self._dataset}"), key=lambda item: (item.modified, item.key), reverse=True)
        self.left_out = max(len(stored) - UNNOTED, 0)
        every = [receipt for item in stored[:UNNOTED] if (receipt := self._read(_id(item.key)))]
        yield from sorted(map(self._log.completed, every), key=place_of, reverse=True)

    def _read(self, id: str) -> Receipt | None:
        try:
            return read_receipt(self._store, self._dataset, id)
        except StoredDataDamaged as error:
            self.damage.append(str(error))
            return None


def place_of(receipt: Receipt) -> Place:
    """Where a receipt stands in the order of time; of two of one moment the greater identity is newer."""
    return receipt.time, receipt.id


def note_batches(store: Store, dataset: str, time_column: str) -> None:
    """Note what became of files since the last note; the first time every receipt that there is.

    Args:
        store: has the receipts and the notes.
        dataset: name of the dataset.
        time_column: its event time, from which the days of receipts from before these were kept are found in the table's log.
    """
    marks = owed(store, dataset)
    try:
        if not store.exists(_whole(dataset)):
            raise Garbled
        _note(store, dataset, _marked(marks))
    except Garbled:
        store.delete(_whole(dataset))
        every = {_id(item.key): set[str]() for item in store.list(f"receipts/{dataset}")}
        _note(store, dataset, every | _marked(marks), Log(store, dataset, time_column))
        store.write(_whole(dataset), b"")
    damaged = {id for id, readable in ((mark.id, _readable(store, dataset, mark.id)) for mark in marks) if not readable}
    for mark in marks:
        if mark.id not in damaged:  # every reader looks at it and says so, until somebody restores it
            store.delete(mark.key)


def _marked(marks: Iterable[Mark]) -> dict[str, set[str]]:
    """The marked receipts with the days that they had."""
    days: dict[str, set[str]] = {}
    for mark in marks:
        days.setdefault(mark.id, set()).update([mark.day] if mark.day else [])
    return days


def _note(store: Store, dataset: str, days: Mapping[str, set[str]], log: Log | None = None) -> None:
    """Note some receipts, given with the days in whose notes they may be: there they are no more, but on their own day."""
    by_day: dict[str, dict[str, Receipt | None]] = {}
    for id, marked in days.items():
        try:
            receipt = read_receipt(store, dataset, id)
        except StoredDataDamaged:
            continue
        if receipt and log:
            receipt = log.completed(receipt)
        for day in marked:
            by_day.setdefault(day, {})[id] = None
        if receipt:
            by_day.setdefault(day_of(receipt.time), {})[id] = receipt
    for day, changed in by_day.items():
        _put(store, dataset, day, changed, anew=log is not None)


def _put(store: Store, dataset: str, day: str, changed: Mapping[str, Receipt | None], *, anew: bool) -> None:
    while True:
        try:
            number, before = _newest(store, dataset, day)
        except Garbled:
            if not anew:
                raise
            number, before = _number(store, dataset, day), {}
        after = {id: _with_days(receipt, before.get(id)) for id, receipt in {**before, **changed}.items() if receipt}
        if after == before:
            return
        data = json.dumps([receipt.model_dump(mode="json", exclude_defaults=True) for receipt in after.values()], separators=(",", ":"))
        if store.put_if_absent(f"{_days(dataset)}/{day}/{number + 1:08d}.json", data.encode()):
            for item in list(store.list(f"{_days(dataset)}/{day}"))[:-KEPT]:
                store.delete(item.key)
            return


def _with_days(receipt: Receipt, before: Receipt | None) -> Receipt:
    """A receipt from before days were kept, with those that its note has from the table's log: a correction of it loses none."""
    if before is None or receipt.oldest or before.digest != receipt.digest:
        return receipt
    return receipt.model_copy(update={"oldest": before.oldest, "newest": before.newest, "since": receipt.since or before.since})


def _number(store: Store, dataset: str, day: str) -> int:
    """Number of the newest note of a day; 0 if there is none."""
    keys = [item.key for item in store.list(f"{_days(dataset)}/{day}")]
    try:
        return int(_id(keys[-1])) if keys else 0
    except ValueError:
        raise Garbled from None


def _newest(store: Store, dataset: str, day: str) -> tuple[int, dict[str, Receipt]]:
    """The newest note of a day, by the files' ids, with its number. Raises Garbled if it cannot be read."""
    while number := _number(store, dataset, day):
        try:
            receipts = _NOTE.validate_json(store.read(f"{_days(dataset)}/{day}/{number:08d}.json"))
        except KeyError:  # two newer ones were put since it was listed
            continue
        except ValidationError:
            raise Garbled from None
        return number, {receipt.id: receipt for receipt in receipts}
    return 0, {}


class Log:
    """What a table's log tells of batches whose receipts are from before days and versions were kept in them; read once, if at all."""

    def __init__(self, store: Store, dataset: str, time_column: str) -> None:
        self._store, self._dataset, self._time = store, dataset, time_column
        self._told: dict[str, dict[str, Any]] | None = None

    def completed(self, receipt: Receipt) -> Receipt:
        """A receipt of rows that are or were in the table, with its first version and its days, where the log tells them."""
        if receipt.outcome not in ("appended", "removed") or (receipt.since is not None and receipt.oldest is not None):
            return receipt
        if self._told is None:
            self._told = dict(self._batches())
        return receipt.model_copy(update=self._told.get(receipt.digest, {}))

    def _batches(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for item in self._store.list(f"tables/{self._dataset}/_delta_log"):
            number, ending = _id(item.key), item.key.endswith(".json")
            if not (ending and number.isdecimal()):
                continue
            try:
                actions = [json.loads(line) for line in self._store.read(item.key).splitlines()]
                info: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
                stats = [json.loads(action["add"].get("stats") or "{}") for action in actions if "add" in action]
                batch = info.get("perennial.batch", "")
                own = [told for told in stats if _both(told, "_batch") == {info.get("perennial.label")}] or stats
                times = sorted(time for told in own for time in _times(_both(told, self._time)))
            except (KeyError, TypeError, ValueError, AttributeError):  # `verify` tells of it
                continue
            if batch:
                yield batch, {"since": int(number), **({"oldest": times[0], "newest": times[-1]} if times else {})}


def _both(stats: Mapping[str, Any], column: str) -> set[Any]:
    """The least and the greatest value of a column of a file, as far as they are told."""
    values = (stats.get(end, {}).get(column) for end in ("minValues", "maxValues"))
    return {value for value in values if value is not None}


def _times(values: Iterable[Any]) -> Iterator[datetime]:
    for value in values:
        try:
            yield datetime.fromisoformat(str(value)).replace(tzinfo=None)
        except ValueError:
            continue


def _readable(store: Store, dataset: str, id: str) -> bool:
    try:
        read_receipt(store, dataset, id)
    except StoredDataDamaged:
        return False
    return True


def _id(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def _days(dataset: str) -> str:
    return f"views/batches/{dataset}/days"


def _whole(dataset: str) -> str:
    return f"views/batches/{dataset}/whole"
