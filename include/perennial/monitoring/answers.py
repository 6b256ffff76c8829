"""Counts the wrong predictions of each version of a release, from the outcomes that arrived since it began.

Light to import, since every look at a release asks for the mark; what counts is loaded where there is something to count.

    >>> from perennial.store import FolderStore
    >>> newest_mark(FolderStore("empty"), "flight_delays")  # nothing has happened yet
    ''
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from perennial.monitoring.prediction_table import Table, collect_predictions
from perennial.served_tables import is_scored, outcomes_name, predictions_name
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ["prediction_id", "model_version", "served_at", "event_time", "scores"]


class ReadableTable(Table, Protocol):
    """A table that takes rows exactly once and gives them back (`perennial.data.tables.Table`)."""

    def scan(self, columns: Sequence[str] | None = None, where: Any = None) -> pa.Table:
        """Rows of the newest version."""
        ...


@dataclass(frozen=True)
class WrongAnswers:
    """The number of answers whose outcome is known, and how many of them were wrong."""

    by_version: dict[int, tuple[int, int]] = field(default_factory=dict)  # version -> labelled predictions, wrong ones
    usual_error: float | None = None  # a regression that errs by more than this is wrong; None while it cannot be told


def newest_mark(store: Store, model: str) -> str:
    """A mark that changes when new outcomes arrive: it names the newest one in the store; empty if there is none."""
    listings = (f"outcomes/{model}", f"tables/{model}_outcomes/_delta_log")
    return " ".join(max((item.key for item in store.list(listing)), default="") for listing in listings).strip()


def wrong_since(
    store: Store,
    model: ModelSpec,
    dataset: DatasetSpec,
    open_table: Callable[[Store, str], ReadableTable],
    since: datetime,
    champion: int,
    usual_error: float | None = None,
) -> WrongAnswers:
    """Take in what was logged, and count the wrong predictions of each version since a time.

    Args:
        store: has the logs and the tables.
        model: with the inputs of every version that served since.
        dataset: has the types of these inputs.
        open_table: gives a table of the store by its name.
        since: predictions that were served before do not count.
        champion: the version whose usual error is the measure of a regression.
        usual_error: that of a regression, where it is known; else it is read from the champion's outcomes.
    """
    from perennial.monitoring import arms

    labelled = answers_since(store, model, dataset, open_table, since)
    if model.task == "regression" and usual_error is None:
        usual_error = arms.usual_error(labelled, champion)
    return WrongAnswers(arms.wrong_by_version(labelled, model.task, usual_error), usual_error)


def answers_since(
    store: Store, model: ModelSpec, dataset: DatasetSpec, open_table: Callable[[Store, str], ReadableTable], since: datetime
) -> pa.Table:
    """Take in what was logged; the predictions since a time with their outcomes (null while unknown), without shadows'.

    Without scores of batches, too: nobody sent these rows to one arm or the other by chance.

    The arguments are those of `wrong_since`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from perennial.monitoring.outcomes import collect_outcomes, join, outcome_rows

    predicted, happened = open_table(store, predictions_name(model.name)), open_table(store, outcomes_name(model.name))
    collect_predictions(store, model, dataset, predicted)
    collect_outcomes(store, model, happened)
    if predicted.version() is None:
        kinds = (pa.string(), pa.int64(), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC"), pa.list_(pa.float64()))
        predictions = pa.schema(list(zip(COLUMNS, kinds, strict=True))).empty_table()
    else:
        is_in_time = pc.field("served_at") >= pa.scalar(since, pa.timestamp("us", "UTC"))
        predictions = predicted.scan(COLUMNS, is_in_time & ~pc.field("shadow") & ~is_scored())
    known = ["prediction_id", "outcome", "time", "source", "line"]
    outcomes = happened.scan(known) if happened.version() is not None else outcome_rows([], "")
    return join(predictions, outcomes)[0]
