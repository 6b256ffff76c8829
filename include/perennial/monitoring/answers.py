"""Counts the wrong predictions of each version of a release, from the outcomes that arrived since it began.

Light to import, since every look at a release asks for the mark; what counts is loaded where there is something to count.

    >>> from perennial.store import FolderStore
    >>> newest_mark(FolderStore("empty"), "flight_delays")  # nothing has happened yet
    ''
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from perennial.monitoring.prediction_table import Table, collect_predictions
from perennial.served_log import segments
from perennial.served_tables import INPUT, is_scored, outcomes_name, predictions_name
from perennial.specs import DatasetSpec, ModelSpec, SignalSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset

    from perennial.monitoring.signal_values import Groups

EARLIER = timedelta(days=7)  # before a release: of so much the champion's quantiles are read
COLUMNS = ["prediction_id", "model_version", "served_at", "event_time", "scores"]


class ReadableTable(Table, Protocol):
    """A table that takes rows exactly once and gives them back (`perennial.data.tables.Table`)."""

    def scan(self, columns: Sequence[str] | None = None, where: Any = None) -> pa.Table:
        """Rows of the newest version."""
        ...

    def dataset(self) -> Dataset:
        """The newest version, whose schema names its columns."""
        ...


@dataclass(frozen=True)
class WrongAnswers:
    """The number of answers whose outcome is known, and how many of them were wrong."""

    by_version: dict[int, tuple[int, int]] = field(default_factory=dict)  # version -> labelled predictions, wrong ones
    usual_error: float | None = None  # a regression that errs by more than this is wrong; None while it cannot be told
    values: Mapping[str, Groups] = field(default_factory=dict)  # by signal that a team added: candidate's and champion's
    edges: Mapping[str, float] = field(default_factory=dict)  # by signal of a quantile: that of the champion before the release


def newest_mark(store: Store, model: str, *, with_predictions: bool = False) -> str:
    """A mark that changes when new outcomes arrive, or predictions, too: it names the newest ones in the store; empty if there is none."""
    logs = {f"outcomes/{model}": outcomes_name(model), **({f"predictions/{model}": predictions_name(model)} if with_predictions else {})}
    marks = []
    for prefix, table in logs.items():
        marks.append(max((f"{one.name}@{one.etag}" for one in segments(store, prefix)), default=""))
        marks.append(max((item.key for item in store.list(f"tables/{table}/_delta_log")), default=""))
    return " ".join(marks).strip()


def wrong_since(
    store: Store,
    model: ModelSpec,
    dataset: DatasetSpec,
    open_table: Callable[[Store, str], ReadableTable],
    since: datetime,
    candidate: int,
    champion: int,
    usual_error: float | None = None,
    edges: Mapping[str, float] | None = None,
) -> WrongAnswers:
    """Take in what was logged; count the wrong predictions of each version since a time, and read what a team's own signals watch.

    Args:
        store: has the logs and the tables.
        model: with the inputs of every version that served since.
        dataset: has the types of these inputs.
        open_table: gives a table of the store by its name.
        since: predictions that were served before do not count.
        candidate: the version that wants traffic.
        champion: the version that it is compared with: its usual error is the measure of a regression.
        usual_error: that of a regression, where it is known; else it is read from the champion's outcomes.
        edges: by signal of a quantile, where it is known; else it is read from what the champion answered before.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from perennial.monitoring import arms
    from perennial.monitoring.signal_values import columns_of, edge_of, grouped

    signals = logged_signals(model)
    more = ["_batch", *columns_of(signals, model.inputs)] if signals else []
    labelled = answers_since(store, model, dataset, open_table, since, more)
    if model.task == "regression" and usual_error is None:
        usual_error = arms.usual_error(labelled, champion)
    by_version = arms.wrong_by_version(labelled, model.task, usual_error)
    if not signals:
        return WrongAnswers(by_version, usual_error)
    known = dict(edges or {})
    lacking = [one for one in signals if one.kind == "quantile" and one.name not in known]
    if lacking:
        before = answers_since(store, model, dataset, open_table, since - EARLIER, more)
        before = before.filter(pc.field("served_at") < pa.scalar(since, pa.timestamp("us", "UTC")))
        found = {one.name: edge_of(before, model.task, model.classes, one, champion) for one in lacking}
        known |= {name: edge for name, edge in found.items() if edge is not None}
    values = grouped(labelled, model.task, model.classes, signals, candidate=candidate, champion=champion, edges=known)
    return WrongAnswers(by_version, usual_error, values, known)


def why_split(
    store: Store,
    model: ModelSpec,
    dataset: DatasetSpec,
    open_table: Callable[[Store, str], ReadableTable],
    since: datetime,
    candidate: int,
    champion: int,
) -> str:
    """What the log says of traffic that is not split as wanted, in a sentence. The arguments are those of `wrong_since`."""
    from perennial.monitoring.split_reason import reason

    answers = answers_since(store, model, dataset, open_table, since, [INPUT + name for name in model.inputs])
    return reason(answers, candidate=candidate, champion=champion)


def logged_signals(model: ModelSpec) -> tuple[SignalSpec, ...]:
    """The signals of a model's releases that are read from its log."""
    return tuple(one for one in model.release.signals if one.source != "prometheus")


def answers_since(
    store: Store,
    model: ModelSpec,
    dataset: DatasetSpec,
    open_table: Callable[[Store, str], ReadableTable],
    since: datetime,
    more: Sequence[str] = (),
) -> pa.Table:
    """Take in what was logged; the predictions since a time with their outcomes (null while unknown), without shadows'.

    Without scores of batches, too: nobody sent these rows to one arm or the other by chance.

    The arguments are those of `wrong_since`. With `more` columns of the predictions there is `outcome_batch`, too: that by which an outcome
    came in. A column that no row has had yet is left out.
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
        there = set(predicted.dataset().schema.names) if more else set[str]()
        predictions = predicted.scan([*COLUMNS, *(name for name in more if name in there)], is_in_time & ~pc.field("shadow") & ~is_scored())
    known = ["prediction_id", "outcome", "time", "source", "line"]
    has_outcomes = happened.version() is not None
    outcomes = happened.scan([*known, *(["_batch"] if more else [])]) if has_outcomes else outcome_rows([], "")
    joined = join(predictions, outcomes.select(known))[0]
    if not more:
        return joined
    if not has_outcomes:
        return joined.append_column("outcome_batch", pa.nulls(joined.num_rows, pa.string()))
    came = outcomes.select(["prediction_id", "_batch"]).group_by("prediction_id").aggregate([("_batch", "min")])
    return joined.append_column("outcome_batch", came["_batch_min"].take(pc.index_in(joined["prediction_id"], came["prediction_id"])))
