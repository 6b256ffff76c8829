"""Labels that come after their rows: what a label feed knew by a moment, and its join to the rows.

A feed is a dataset of its own. A correction is a further row of the same key with a later time: of those known by the moment the
latest counts, so a label that comes later changes no older snapshot.

>>> from perennial.data.label_feed import latest_of
>>> told = pa.table({"id": [7, 7, 8], "known": [datetime(2024, 1, day) for day in (5, 9, 6)], "y": [True, False, True]})
>>> latest_of(told, LabelSpec(dataset="verdicts", key=["id"], columns=["y"], known_at="known")).sort_by("id").to_pydict()
{'id': [7, 8], 'y': [False, True]}
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.specs import LabelSpec

if TYPE_CHECKING:
    from perennial.data.snapshots import Snapshot
    from perennial.data.tables import Table

_PLACE, _ROW, _FIRST = "_place", "_row", "_first"


@dataclass(frozen=True)
class KnownLabels:
    """The labels of one version of a feed that were known by a moment."""

    spec: LabelSpec
    feed: Snapshot
    known_by: datetime  # labels that became known later do not count
    delay_days: float = 0  # labels of rows that are younger, at that moment, do not count yet

    @property
    def words(self) -> str:
        """What labels these are, for a sentence."""
        return f"labels {self.feed.version} of {self.feed.dataset.name}, known by {self.known_by:%Y-%m-%d %H:%M}"

    @property
    def kind(self) -> tuple[str, str]:
        """How labels come in, for a sentence: a verb and what comes."""
        return "ingest", "labels"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the feed brings."""
        return self.spec.columns

    @property
    def version(self) -> int:
        """Version of the feed's table."""
        return self.feed.version

    @property
    def tables(self) -> tuple[tuple[Table, int], ...]:
        """The table that the labels are from, with its version."""
        return ((self.feed.table, self.feed.version),)

    @property
    def identity(self) -> list[str | float | None]:
        """What tells these labels from others: the content of the feed and the moment."""
        no_delay_is_whole = self.delay_days or 0  # a spec that sets none has 0, a manifest reads 0.0
        return [self.feed.digest, self.known_by.isoformat(), no_delay_is_whole]

    @cached_property
    def latest(self) -> pa.Table:
        """Key and label columns of the latest label of each key; read once."""
        names = (*self.spec.key, self.spec.known_at, *self.spec.columns)
        return latest_of(self.feed.table.scan(names, pc.field(self.spec.known_at) <= self.known_by, self.feed.version), self.spec)

    def join(self, rows: pa.Table, event_time: str) -> pa.Table:
        """The rows, in their order, with the label columns in place of their own of that name; null where no label counts."""
        key = list(self.spec.key)
        labels = self.latest.select(key).append_column(_PLACE, pa.array(np.arange(self.latest.num_rows)))
        joined = rows.select(key).append_column(_ROW, pa.array(np.arange(rows.num_rows))).join(labels, key, join_type="left outer")
        place = joined.sort_by(_ROW)[_PLACE]
        if self.delay_days:
            is_due = pc.less_equal(rows[event_time], pa.scalar(self.known_by - timedelta(days=self.delay_days), rows[event_time].type))
            place = pc.if_else(is_due, place, pa.scalar(None, place.type))
        rows = rows.drop_columns([name for name in self.spec.columns if name in rows.column_names])
        for name in self.spec.columns:
            rows = rows.append_column(name, self.latest[name].take(place))
        return rows

    def usual_delay_days(self, rows: pa.Table, event_time: str, share: float = 0.9) -> int:
        """Days from the end of a row's day until its label was first known, for that share of the labels that are known.

        Args:
            rows: key and event time of all rows.
            event_time: name of that column.
            share: of the labelled rows.
        """
        key, known_at = list(self.spec.key), self.spec.known_at
        told = self.feed.table.scan([*key, known_at], pc.field(known_at) <= self.known_by, self.feed.version)
        first = told.group_by(key).aggregate([(known_at, "min")]).rename_columns([*key, _FIRST])
        joined = rows.select([*key, event_time]).join(first, key, join_type="inner")
        days = [joined[name].to_numpy().astype("datetime64[D]").astype(np.int64) for name in (_FIRST, event_time)]
        return int(max(0, np.quantile(days[0] - days[1], share, method="inverted_cdf"))) if joined.num_rows else 0


def latest_of(told: pa.Table, spec: LabelSpec) -> pa.Table:
    """Of several labels of one key the one that became known last: key and label columns, one row for each key."""
    ordered = told.sort_by(spec.known_at)
    numbered = ordered.append_column(_PLACE, pa.array(np.arange(ordered.num_rows)))
    last = numbered.group_by(list(spec.key)).aggregate([(_PLACE, "max")])[f"{_PLACE}_max"]
    return ordered.select([*spec.key, *spec.columns]).take(last)
