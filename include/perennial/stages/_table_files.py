"""What a look needs of all rows of a model's tables, counted once for each of their files and kept below `views/`.

A table's file is written once and never again, so what is counted of it holds for ever: a look reads only files that came since the last.
Whatever was removed, compacted or came late, the files of the newest version are what counts. What is kept may be deleted: it is made
again. Ids are known by 64 bits of their MD5, eight bytes each (`perennial.monitoring.waiting`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import FileSystemDataset

from perennial.data.tables import Table
from perennial.monitoring.performance import rows_by_day
from perennial.monitoring.waiting import Ids, Waiting, among, still_waiting
from perennial.store import Store

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_FORM = 1  # of what is kept: another one is made again
_ALL = pc.scalar(True)


@dataclass(frozen=True)
class DaysOfFile:
    """The predictions in a file that a caller saw an answer of."""

    days: Mapping[date, int] = field(default_factory=dict)  # by day of event time
    newest: datetime | None = None  # event time


class FileIds:
    """The ids in each file of a table, `views/<table>/ids/<file>`."""

    def __init__(self, table: Table) -> None:
        self.table, self.store = table, table.store
        self.rows = {str(file["path"]): int(file["num_records"]) for file in table.files()}

    def of(self, path: str) -> Ids:
        """The ids of a file, sorted; each as often as it is there."""
        try:
            if len(kept := np.frombuffer(self.store.read(self._key(path)), "<u8")) == self.rows[path]:
                return kept.astype(np.uint64)
        except (KeyError, ValueError):  # not made yet, or cut off
            pass
        ids = numbers_of(self.table.rows_of_files([path], _ALL, ["prediction_id"])["prediction_id"])
        self.store.write(self._key(path), ids.astype("<u8").tobytes())
        return ids

    def forget_gone(self) -> None:
        """Remove what is kept of files that are not in the newest version."""
        for stored in self.store.list(f"views/{self.table.name}/ids"):
            if stored.key.removeprefix(self._key("")) not in self.rows:
                self.store.delete(stored.key)

    def _key(self, path: str) -> str:
        return f"views/{self.table.name}/ids/{path}"


def numbers_of(ids: pa.ChunkedArray) -> Ids:
    """Ids as numbers of 64 bits, sorted."""
    import duckdb

    connection = duckdb.connect()
    connection.register("rows", pa.table({"id": ids}))
    numbers: Ids = connection.execute("select md5_number_lower(id) n from rows order by n").fetchnumpy()["n"]
    return np.asarray(numbers, np.uint64)


def outcomes_with(outcomes: Table, predictions: Iterable[pa.Table]) -> Dataset:
    """The files of a table of outcomes that have outcomes of some predictions: what is in no other is enough for a join."""
    wanted = np.unique(
        np.concatenate([np.zeros(0, np.uint64), *(numbers_of(rows["prediction_id"]) for rows in predictions if rows.num_rows)])
    )
    files, whole = FileIds(outcomes), outcomes.dataset()
    hit = {path for path in files.rows if among(wanted, files.of(path)).any()}
    files.forget_gone()
    assert isinstance(whole, FileSystemDataset)
    fragments = [fragment for fragment in whole.get_fragments() if fragment.path in hit]
    return FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)


def count_waiting(outcomes: Table, predictions: Table) -> int:
    """Outcomes whose prediction has not come. Reads the ids of files that are new, and those of all predictions for new outcomes."""
    key, store = f"views/{outcomes.name}/waiting", outcomes.store
    happened, predicted = FileIds(outcomes), FileIds(predictions)
    try:
        before = Waiting.decoded(store.read(key))
    except KeyError:
        before = None
    now = still_waiting(before or Waiting(), happened.rows, happened.of, predicted.rows, predicted.of)
    if now is not before:
        store.write(key, now.encoded())
        happened.forget_gone()
        predicted.forget_gone()
    return now.count


def days_and_newest(predictions: Table, latest: datetime) -> tuple[dict[date, int], datetime | None]:
    """Predictions by day of event time, and the newest event time; shadows' and what is later than `latest` count nowhere.

    Args:
        predictions: the table.
        latest: UTC. A file that has a later one is read again: how much of it counts depends on the moment.
    """
    kept, limit = _kept_days(predictions), latest.replace(tzinfo=None)
    days, newest = dict[date, int](), list[datetime]()
    late = [path for path, file in kept.items() if file.newest and file.newest > limit]
    again = pc.field("event_time") <= pa.scalar(latest, pa.timestamp("us", "UTC"))
    for path, file in kept.items():
        counted = _days_of(predictions, path, again) if path in late else file
        for day, rows in counted.days.items():
            days[day] = days.get(day, 0) + rows
        newest += [counted.newest] if counted.newest else []
    return dict(sorted(days.items())), max(newest, default=None)


def _kept_days(predictions: Table) -> dict[str, DaysOfFile]:
    """What each file of a table has, read from those that are new."""
    store, key = predictions.store, f"views/{predictions.name}/days.json"
    before = _days_kept(store, key)
    now = {str(file["path"]): before.get(str(file["path"])) for file in predictions.files()}
    made = {path: known or _days_of(predictions, path, _ALL) for path, known in now.items()}
    if made.keys() != before.keys():
        files = {
            path: [{day.isoformat(): rows for day, rows in file.days.items()}, file.newest.isoformat() if file.newest else None]
            for path, file in made.items()
        }
        store.write(key, json.dumps({"form": _FORM, "files": files}).encode())
    return made


def _days_kept(store: Store, key: str) -> dict[str, DaysOfFile]:
    try:
        said = json.loads(store.read(key))
        files = said["files"] if said["form"] == _FORM else {}
        return {
            path: DaysOfFile(
                {date.fromisoformat(day): int(rows) for day, rows in days.items()}, datetime.fromisoformat(last) if last else None
            )
            for path, (days, last) in files.items()
        }
    except (KeyError, ValueError, TypeError, AttributeError):  # not kept yet, or not as it was
        return {}


def _days_of(predictions: Table, path: str, where: pc.Expression) -> DaysOfFile:
    times = predictions.rows_of_files([path], where & ~pc.field("shadow"), ["event_time"])["event_time"].cast(pa.timestamp("us"))
    return DaysOfFile(rows_by_day(times), pc.max(times).as_py()) if len(times) else DaysOfFile()
