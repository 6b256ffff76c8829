"""What was really served as rows to learn from: inputs as they were logged, labels as the outcomes that were known by a moment.

A prediction takes the place of the dataset's row of the same thing, so that nothing is there twice: the row of its key, or, from the
day `served_since` of the spec on, every row. Answers that nobody saw (a shadow's) are none, nor are those that `perennial traffic`
asked for, nor scores that a batch gave to rows of tables: their rows are in the dataset.

>>> from datetime import timedelta
>>> day = datetime(2024, 1, 1, tzinfo=timezone.utc)
>>> told = pa.table({"prediction_id": ["a-0", "b-0", "a-0"], "outcome": [1.0, 1.0, 0.0],
...     "time": pa.array([day, day, day + timedelta(days=1)], pa.timestamp("us", "UTC")), "source": ["log"] * 3, "line": [1, 2, 3]})
>>> newest_outcomes(told).sort_by("prediction_id").to_pydict()
{'prediction_id': ['a-0', 'b-0'], 'outcome': [0.0, 1.0]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.clock import zone
from perennial.data.added_columns import table_schema
from perennial.data.commits import commit_info, missing
from perennial.data.hashes import digest_of
from perennial.data.merging import BATCH, without
from perennial.data.tables import Table
from perennial.errors import StoredDataDamaged
from perennial.served_tables import INPUT, SCORED_FILE, is_scored, outcomes_name, predictions_name

if TYPE_CHECKING:
    from perennial.data.snapshots import Snapshot

PREDICTION, OUTCOME = "_prediction_id", "_outcome"  # columns of a snapshot's rows: null in those of the dataset
_NEWEST_OUTCOMES = ["prediction_id", "outcome", "time", "source", "line"]
_AHEAD = timedelta(days=1)  # a caller may name any time; what happens later than so long after the moment is no row
_REPLAYED = r"^[0-9a-f]{24}-0$"  # what ids of `perennial traffic` look like
_ADDED = {PREDICTION: pa.string(), OUTCOME: pa.float64()}
_NO_BATCH = "served"  # what predictions have where rows have the label of their batch
_PLACE, _SERVED, _KNOWN = "_place", "_served_at", "_known"


@dataclass(frozen=True)
class KnownOutcomes:
    """The predictions of one version of a model's prediction table, with the outcomes that were known by a moment."""

    model: str
    own: Snapshot  # the dataset's rows alone
    predictions: int  # version of the table of predictions; 0 while there is none
    version: int  # version of the table of outcomes; 0 while there is none
    known_by: datetime  # UTC: outcomes of a later time do not count
    delay_days: float = 0  # outcomes of rows that are younger, at that moment, do not count yet
    since: date | None = None  # first day whose rows are predictions; if None, the key tells them from the dataset's rows

    @property
    def words(self) -> str:
        """What labels these are, for a sentence."""
        return f"outcomes {self.version} of predictions {self.predictions} of {self.model}, known by {self.known_by:%Y-%m-%d %H:%M} UTC"

    @property
    def kind(self) -> tuple[str, str]:
        """How labels come in, for a sentence: a verb and what comes."""
        return "report", "outcomes of served predictions"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that rows have besides the dataset's."""
        return PREDICTION, OUTCOME

    @property
    def tables(self) -> tuple[tuple[Table, int], ...]:
        """The tables that the labels are from, each with its version."""
        store = self.own.store
        pairs = ((predictions_name(self.model), self.predictions), (outcomes_name(self.model), self.version))
        return tuple((Table(store, name), version) for name, version in pairs if version)

    @property
    def identity(self) -> list[str | float | None]:
        """What tells these labels from others: the content of both tables, the moment, and how predictions are told from rows."""
        return [
            self.predictions_digest,
            self.digest,
            self.known_by.isoformat(),
            self.delay_days or 0,
            self.since.isoformat() if self.since else None,
        ]

    @property
    def predictions_digest(self) -> str:
        """Digest of the predictions; empty while there are none."""
        return self._digest(predictions_name(self.model), self.predictions)

    @property
    def digest(self) -> str:
        """Digest of the outcomes; empty while there are none."""
        return self._digest(outcomes_name(self.model), self.version)

    @property
    def wall(self) -> datetime:
        """The moment as wall time of the dataset."""
        return self.known_by.astimezone(zone(self.own.dataset.time_zone)).replace(tzinfo=None)

    @cached_property
    def latest(self) -> pa.Table:
        """The newest outcome of each prediction by the moment, `prediction_id` and `outcome`; read once."""
        if not self.version:
            return pa.table({"prediction_id": pa.array([], pa.string()), "outcome": pa.array([], pa.float64())})
        return newest_outcomes(Table(self.own.store, outcomes_name(self.model)).scan(_NEWEST_OUTCOMES, self._told_by_then, self.version))

    def refuse_gone(self) -> None:
        """Raises StoredDataDamaged where a table has no such version any more."""
        for table, version in self.tables:
            if (newest := table.version() or 0) < version:
                raise StoredDataDamaged(
                    f"Version {version} of the table {table.name} is gone, it has {newest or 'none'}: what was served and learned from "
                    f"is in it. Restore tables/{table.name}/ from a backup."
                )

    def rows(self, columns: Sequence[str], where: pc.Expression | None) -> pa.Table:
        """Rows of the dataset and predictions, each thing once, in no particular order.

        Args:
            columns: of the dataset, or `PREDICTION` and `OUTCOME`, or both.
            where: which rows, by event time.
        """
        dataset, key = self.own.dataset, list(self._key)
        own_columns = list(dict.fromkeys((*(name for name in columns if name not in self.columns), dataset.time_column, *key)))
        begin = None if self.since is None else pc.field(dataset.time_column) < pa.scalar(datetime.combine(self.since, time()))
        conditions = [condition for condition in (where, begin) if condition is not None]
        asked = None if not conditions else conditions[0] if len(conditions) == 1 else conditions[0] & conditions[1]
        own = self.own.read(own_columns, asked)
        served = self._served(own.schema)
        if key:
            known, waiting = served.filter(served[OUTCOME].is_valid()), served.filter(served[OUTCOME].is_null())
            own, served = without(own, known, key), pa.concat_tables([known, without(waiting, self._own_keys, key)])
        if where is not None:
            served = served.filter(where)
        for name, kind in _ADDED.items():
            own = own.append_column(name, pa.nulls(own.num_rows, kind))
        return pa.concat_tables([own, served], promote_options="default").select(list(columns))  # a column of rows may never be null

    def usual_delay_days(self, share: float = 0.9) -> int:
        """Days from the end of a prediction's day until its outcome was first known, for that share of the outcomes that are known."""
        if not self.version:
            return 0
        told = Table(self.own.store, outcomes_name(self.model)).scan(["prediction_id", "time"], self._told_by_then, self.version)
        first = told.group_by("prediction_id").aggregate([("time", "min")])
        schema = table_schema(self.own.dataset)
        served = self._served(pa.schema([schema.field(name) for name in dict.fromkeys((self.own.dataset.time_column, *self._key))]))
        place = pc.index_in(served[PREDICTION], value_set=first["prediction_id"].combine_chunks())
        known = pc.is_valid(place)
        when, happened = first["time_min"].take(place.filter(known)), served[self.own.dataset.time_column].filter(known)
        local = pc.local_timestamp(when.cast(pa.timestamp("us", self.own.dataset.time_zone)))
        days = [column.to_numpy().astype("datetime64[D]").astype(np.int64) for column in (local, happened)]
        return int(max(0, np.quantile(days[0] - days[1], share, method="inverted_cdf"))) if len(happened) else 0

    def _digest(self, name: str, version: int) -> str:
        return digest_of(Table(self.own.store, name).hashes(version).files.values()) if version else ""

    @property
    def _told_by_then(self) -> pc.Expression:
        """Which outcomes were told by the moment."""
        return pc.field("time") <= pa.scalar(self.known_by, pa.timestamp("us", "UTC"))

    @property
    def _key(self) -> tuple[str, ...]:
        return () if self.since else self.own.dataset.key_columns

    @cached_property
    def _own_keys(self) -> pa.Table:
        """The key of each of the dataset's rows."""
        return self.own.table.scan(list(self.own.dataset.key_columns), version=self.own.version)

    def _served(self, own: pa.Schema) -> pa.Table:
        """The predictions that count, with their outcomes: those columns of the dataset, then `PREDICTION` and `OUTCOME`."""
        dataset, columns = self.own.dataset, own.names
        if not self.predictions:
            return pa.schema([*own, *_ADDED.items()]).empty_table()
        table = Table(self.own.store, predictions_name(self.model))
        logged = set(table.dataset(self.predictions).schema.names)
        inputs = [name for name in columns if INPUT + name in logged]
        wanted = ["prediction_id", "served_at", "milliseconds", "event_time", *(INPUT + name for name in inputs)]
        of_own_rows = is_scored() & ~is_scored(SCORED_FILE)  # what was scored in a batch is in a table already, but for a file's rows
        told = table.scan(wanted, ~pc.field("shadow") & ~of_own_rows, self.predictions)
        told = last_of(told, ["prediction_id"], ["served_at", "milliseconds"])
        happened = told["event_time"].cast(own.field(dataset.time_column).type)
        if dataset.time_column in inputs:
            happened = pc.coalesce(told[INPUT + dataset.time_column].cast(happened.type), happened)
        named: dict[str, pa.ChunkedArray] = {PREDICTION: told["prediction_id"].cast(pa.string()), _SERVED: told["served_at"]}
        for field in own:
            values = told[INPUT + field.name].cast(field.type) if field.name in inputs else pa.nulls(told.num_rows, field.type)
            named[field.name] = happened if field.name == dataset.time_column else values
        if BATCH in named:  # profiles of landed batches know nothing of predictions: their days are counted from the rows
            named[BATCH] = pa.array([_NO_BATCH] * told.num_rows, own.field(BATCH).type)
        latest = self.latest
        place = pc.index_in(told["prediction_id"], value_set=latest["prediction_id"].combine_chunks())
        due = pc.less_equal(happened, pa.scalar(self.wall - timedelta(days=self.delay_days), happened.type))
        named[OUTCOME] = pc.if_else(due, latest["outcome"].take(place), pa.scalar(None, pa.float64()))
        served = pa.table(named)
        counts = pc.less_equal(happened, pa.scalar(self.wall + _AHEAD, happened.type))
        if self.since:
            counts = pc.and_(counts, pc.greater_equal(happened, pa.scalar(datetime.combine(self.since, time()), happened.type)))
        for name in self._key:
            counts = pc.and_(counts, pc.is_valid(served[name]))
        served = self._without_replayed(served.filter(counts))
        if self._key:
            served = last_of(served.append_column(_KNOWN, served[OUTCOME].is_valid()), self._key, [_KNOWN, _SERVED, PREDICTION])
        return served.select([*columns, *_ADDED])

    def _without_replayed(self, served: pa.Table) -> pa.Table:
        """The predictions but for those that `perennial traffic` asked for, whose rows are in the dataset."""
        if not pc.any(pc.match_substring_regex(served[PREDICTION], _REPLAYED)).as_py():
            return served
        keys = (tuple(row.values()) for row in self._own_keys.to_pylist())
        replayed = pa.array([f"{prediction_id(self.model, key)}-0" for key in keys], pa.string())
        return served.filter(pc.invert(pc.is_in(served[PREDICTION], value_set=replayed)))


def moment_of(own: Snapshot, versions: Iterable[tuple[Table, int]]) -> datetime:
    """When the newest of these table versions was made, UTC; if there are none, when the newest row of the dataset happened.

    It depends on the versions alone: the same versions give the same snapshot at any time.
    """
    times = [_made(table, version) for table, version in versions]
    if times:
        return max(times)
    ends = own.span()
    return (ends[1] if ends else datetime.min).replace(tzinfo=timezone.utc)


def newest_outcomes(outcomes: pa.Table) -> pa.Table:
    """Of several outcomes of a prediction the last one by its own time: `prediction_id` and `outcome`, one row for each prediction.

    Of equal times the last one of its source counts, as where monitoring joins them.
    """
    return last_of(outcomes, ["prediction_id"], ["time", "source", "line"]).select(["prediction_id", "outcome"])


def last_of(rows: pa.Table, key: Sequence[str], order: Sequence[str]) -> pa.Table:
    """Of rows that share a key the last one in that order."""
    ordered = rows.sort_by([(name, "ascending") for name in (*order, *key)])
    numbered = ordered.append_column(_PLACE, pa.array(np.arange(ordered.num_rows)))
    return ordered.take(numbered.group_by(list(key)).aggregate([(_PLACE, "max")])[f"{_PLACE}_max"])


def prediction_id(model: str, key: Iterable[object]) -> str:
    """The id under which `perennial traffic` asks for the prediction of a row; an outcome that is known by the row's key finds it again."""
    values = [value.replace(microsecond=0).isoformat() if isinstance(value, datetime) else str(value) for value in key]
    return hashlib.sha256("|".join([model, *values]).encode()).hexdigest()[:24]


def _made(table: Table, version: int) -> datetime:
    milliseconds = commit_info(table.store, table.name, version).get("timestamp")
    if not isinstance(milliseconds, int):
        raise StoredDataDamaged(missing(table.name, version))
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
