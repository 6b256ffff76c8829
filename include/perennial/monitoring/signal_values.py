"""The values of the signals that a team adds to a release: read from predictions and their outcomes, of both versions.

Of a request with several rows the first counts: they went to one version together, so they are one event. Values that came in together
(one batch of the log) make a group, in order of time. So a value is in the same group however often it is read, and what comes late joins a
later one.

    >>> import datetime, pyarrow as pa
    >>> from perennial.specs import SignalSpec
    >>> noon = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)
    >>> rows = {"prediction_id": ["a-0", "a-1", "b-0"], "model_version": [2, 2, 1], "served_at": [noon] * 3, "_batch": ["1"] * 3}
    >>> answers = pa.table({**rows, "scores": [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], "outcome": [None] * 3, "outcome_batch": [None] * 3})
    >>> sure = SignalSpec(name="sure", column="score", event="> 0.8")
    >>> grouped(answers, "binary", ("no", "yes"), (sure,), candidate=2, champion=1)
    {'sure': [([1.0], [0.0])]}
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from perennial.served_tables import INPUT
from perennial.specs import SignalSpec

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

ENOUGH = 200  # values of the champion from before the release that tell its quantile
COMPARED: Mapping[str, Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.bool_]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

Groups: TypeAlias = list[tuple[list[float], list[float]]]  # values of candidate and champion that came together


def columns_of(signals: Sequence[SignalSpec], inputs: Sequence[str]) -> list[str]:
    """Columns of the table of predictions that these signals need, besides those of every prediction."""
    wanted = {one.column for one in signals if one.source == "predictions"}
    return [*(["milliseconds"] if "milliseconds" in wanted else []), *(INPUT + name for name in inputs if name in wanted)]


def grouped(
    answers: pa.Table,
    task: str,
    classes: Sequence[str],
    signals: Sequence[SignalSpec],
    *,
    candidate: int,
    champion: int,
    edges: Mapping[str, float] | None = None,
) -> dict[str, Groups]:
    """The values of each signal; of an event and a quantile 1 where it was so, else 0. A signal without a value is left out.

    Args:
        answers: predictions with the columns `outcome` and `outcome_batch`.
        task: of the model.
        classes: of the model, in the order of the scores.
        signals: those of predictions and outcomes.
        candidate: the version that wants traffic.
        champion: the version that it is compared with.
        edges: by signal of a quantile: that of the champion's values. One that is not known has no values.
    """
    rows = _first_rows(answers)
    versions = rows["model_version"].to_numpy().astype(np.int64)
    found = dict[str, Groups]()
    for one in signals:
        batches = np.array(rows["outcome_batch" if one.source == "outcomes" else "_batch"].fill_null("").to_pylist())
        values = _counted(one, _values(one, rows, task, classes), classes, edges or {})
        known = np.isfinite(values) & np.isin(versions, (candidate, champion)) & (batches != "")
        if known.any():
            found[one.name] = _by_batch(values[known], versions[known] == candidate, batches[known])
    return found


def values_of(answers: pa.Table, task: str, classes: Sequence[str], metric: SignalSpec) -> tuple[pa.Table, npt.NDArray[np.float64]]:
    """The first row of each request, and its value: of an event 1 where it was so, else 0; of a mean as far as low and high allow; NaN
    where it has none.

    Args:
        answers: predictions with the column `outcome`.
        task: of the model.
        classes: of the model, in the order of the scores.
        metric: of predictions or outcomes; no quantile.
    """
    rows = _first_rows(answers)
    values = _counted(metric, _values(metric, rows, task, classes), classes, {})
    return rows, values if metric.low is None else np.clip(values, metric.low, metric.high)


def _by_batch(
    values: npt.NDArray[np.float64], is_candidates: npt.NDArray[np.bool_], batches: npt.NDArray[np.str_]
) -> list[tuple[list[float], list[float]]]:
    """The values of candidate and champion, by batch."""
    _, place = np.unique(batches, return_inverse=True)
    order = np.argsort(place, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(place[order])) + 1)
    return [(values[part[is_candidates[part]]].tolist(), values[part[~is_candidates[part]]].tolist()) for part in parts]


def edge_of(answers: pa.Table, task: str, classes: Sequence[str], signal: SignalSpec, champion: int) -> float | None:
    """The quantile of a champion's values; None while it has fewer than 200."""
    assert signal.quantile is not None
    rows = _first_rows(answers)
    values = _values(signal, rows, task, classes)
    values = values[np.isfinite(values) & (rows["model_version"].to_numpy() == champion)]
    if len(values) < ENOUGH:
        return None
    return float(np.quantile(values, signal.quantile))


def _first_rows(answers: pa.Table) -> pa.Table:
    """The first row of each request, in order of time."""
    import pyarrow.compute as pc

    is_later = pc.match_substring_regex(answers["prediction_id"], r"-0*[1-9]\d*$")
    return answers.filter(pc.invert(is_later)).sort_by([("served_at", "ascending"), ("prediction_id", "ascending")])


def _values(signal: SignalSpec, rows: pa.Table, task: str, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """The value of each row; NaN where it has none."""
    name = signal.column
    if signal.source == "outcomes":
        outcomes = _floats(rows, "outcome")
        return outcomes if name == "outcome" else _error(rows, outcomes, task)
    if name == "milliseconds":
        return _floats(rows, name)
    if name not in ("score", "class", *classes):
        return _floats(rows, INPUT + name)
    scores = _scores(rows)
    if name == "score":
        return scores[:, 0 if task == "anomaly" else -1]  # what follows an anomaly's score is whether it is an alarm
    return _said(scores, task) if name == "class" else scores[:, classes.index(name)]


def _error(rows: pa.Table, outcomes: npt.NDArray[np.float64], task: str) -> npt.NDArray[np.float64]:
    if task == "regression":
        return np.abs(_scores(rows)[:, 0] - outcomes)
    return np.where(np.isfinite(outcomes), np.where(_said(_scores(rows), task) == outcomes, 0.0, 1.0), np.nan)


def _scores(rows: pa.Table) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.array(rows["scores"].to_pylist() or np.zeros((0, 2)))
    return found


def _said(scores: npt.NDArray[np.float64], task: str) -> npt.NDArray[np.float64]:
    """The place of the class that each answer names."""
    found: npt.NDArray[np.float64] = np.where(scores[:, 1] >= 0.5, 1.0, 0.0) if task in ("binary", "anomaly") else scores.argmax(axis=1)
    return found


def _floats(rows: pa.Table, column: str) -> npt.NDArray[np.float64]:
    """A column as floats; all NaN where the table has no such column yet."""
    import pyarrow as pa

    if column not in rows.column_names:
        return np.full(rows.num_rows, np.nan)
    found: npt.NDArray[np.float64] = rows[column].cast(pa.float64()).to_numpy()
    return found


def _counted(
    signal: SignalSpec, values: npt.NDArray[np.float64], classes: Sequence[str], edges: Mapping[str, float]
) -> npt.NDArray[np.float64]:
    """Values as the signal counts them."""
    if signal.kind == "mean":
        return values
    if signal.kind == "quantile":
        edge = edges.get(signal.name, np.nan)
        beyond = values > edge if signal.direction == "lower" else values < edge
        return np.where(np.isfinite(values) & np.isfinite(edge), np.where(beyond, 1.0, 0.0), np.nan)
    comparison, bound = signal.condition
    met = COMPARED[comparison](values, float(classes.index(bound) if signal.column == "class" else float(bound)))
    return np.where(np.isfinite(values), np.where(met, 1.0, 0.0), np.nan)
