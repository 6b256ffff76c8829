"""A model's live traffic: the tables of predictions and outcomes, collected from its servers' logs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import Dataset
from pyarrow.dataset import dataset as arrow_dataset

from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.monitoring.outcomes import outcome_rows
from perennial.monitoring.prediction_table import SetAside, set_aside
from perennial.monitoring.windows import Window
from perennial.served_tables import outcomes_name, predictions_name
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages._logs import take_in
from perennial.stages._references import References
from perennial.stages._table_files import count_waiting, days_and_newest, outcomes_with
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.lineage.ledger import Entry

log = logging.getLogger("perennial.monitor")

MICROSECONDS = pa.timestamp("us")
UTC = pa.timestamp("us", "UTC")
AHEAD = timedelta(days=1)  # farther in the future no prediction counts


@dataclass
class Traffic:
    """The traffic of one model, as its tables and its ledger know it."""

    store: Store
    spec: ModelSpec
    dataset: DatasetSpec

    def __post_init__(self) -> None:
        self.predicted = Table(self.store, predictions_name(self.spec.name))
        self.happened = Table(self.store, outcomes_name(self.spec.name))
        ledger = Ledger(self.store, self.spec.name)
        self.last: Entry | None = ledger.last()
        self.digests = ledger.digests()
        self.days: dict[date, int] = {}  # predictions of each day of event time
        self.newest = datetime.min  # newest event time
        self.damaged: tuple[SetAside, ...] = ()

    @cached_property
    def references(self) -> References:
        """The references that the model's windows are compared with."""
        return References(self.store, self.spec, self.dataset, self.digests)

    def collect(self) -> None:
        """Take the finished segments of the logs into the tables."""
        predictions, outcomes = take_in(self.store, self.spec, self.dataset)
        for what, taken in (("predictions", predictions), ("outcomes", outcomes)):
            if taken.segments:
                log.info("Took in %d %s from %d segments.", taken.rows, what, taken.segments)
        lines = (set_aside(self.store, f"{what}/{self.spec.name}") for what in ("predictions", "outcomes"))
        self.damaged = tuple(unread for unread in lines if unread is not None)
        # A caller may name any time. One in the future would make its window the newest, and the champion old, for ever.
        latest = datetime.now(timezone.utc) + AHEAD
        self.days, newest = days_and_newest(self.predicted, latest)
        self.newest = newest or datetime.min

    def predictions(self, window: Window, columns: list[str] | None = None) -> pa.Table:
        """The predictions of a window, without a shadow's."""
        when = pc.field("event_time")
        inside = (when >= pa.scalar(window.first, UTC)) & (when < pa.scalar(window.last, UTC))
        return self._scan(columns, inside & ~pc.field("shadow"))

    def first_after(self, moment: datetime) -> datetime | None:
        """The first event time of a prediction after a moment; None if there is none."""
        rows = self._scan(["event_time"], ~pc.field("shadow") & (pc.field("event_time") > pa.scalar(moment, UTC)))
        return pc.min(rows["event_time"].cast(MICROSECONDS)).as_py().replace(tzinfo=timezone.utc) if rows.num_rows else None

    def outcomes(self, predictions: Sequence[pa.Table] | None = None) -> Dataset:
        """All outcomes that are known; if predictions are given, the files alone that have outcomes of them."""
        if self.happened.version() is None:
            return arrow_dataset(outcome_rows([], ""))
        return self.happened.dataset() if predictions is None else outcomes_with(self.happened, predictions)

    def waiting_outcomes(self) -> int:
        """Outcomes whose prediction has not come."""
        return count_waiting(self.happened, self.predicted)

    def _scan(self, columns: list[str] | None, where: pc.Expression) -> pa.Table:
        return self.predicted.scan(columns, where) if self.predicted.version() is not None else pa.table({})


def newest_time(rows: pa.Table) -> datetime:
    """The newest event time of some predictions."""
    newest: datetime = pc.max(rows["event_time"].cast(MICROSECONDS)).as_py()
    return newest
