"""The metrics that people know, of answers whose outcomes have come: accuracy, precision, recall, F1, confusion; RMSE and MAE.

Each has a 95 % interval. Rows of one day are not independent of each other, so the days are what is left out in turn: the jackknife of
whole days with Student's t (Efron, "The jackknife, the bootstrap and other resampling plans", 1982), which fits from three days on; the
bootstrap of three days would be too narrow. With fewer days the rows are left out instead, and `units` says so: too narrow, where rows of
a day are alike. A share (of accuracy, precision, recall; F1 by way of the share of hits in hits and misses) is never said to be surer than
Wilson's interval of as many independent rows: where nothing was wrong yet, days do not differ, and that is no certainty.

>>> import numpy as np
>>> day = np.array(["2013-02-01"] * 50 + ["2013-02-02"] * 50 + ["2013-02-03"] * 50, "datetime64[D]")
>>> right = np.tile([0, 0, 0, 1, 1], 30), np.tile([0, 0, 1, 1, 1], 30)  # outcomes, answers
>>> found = of_classes(("fine", "bad"), *right, day, positive=1)
>>> found.metrics["accuracy"].value, found.confusion, found.units
(0.8, ((60, 30), (0, 60)), 'days')
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perennial.answer_names import outcome_names
from perennial.classes import answered_classes, shown_classes
from perennial.counted import wilson
from perennial.monitoring.figures import ClassMetrics, DayMetrics, LiveMetrics, Metric
from perennial.monitoring.performance import LARGEST, MIN_BLOCKS, Floats, Task, by_most_of_a_day, event_days, logged_scores

if TYPE_CHECKING:
    import pyarrow as pa

Counts = NDArray[np.float64]
REST = "the rest"


def live_metrics(task: Task, classes: Sequence[str], window: pa.Table, history: pa.Table) -> LiveMetrics:
    """The metrics of a window, and of each day of the days up to its end.

    Args:
        task: what is predicted. A class is answered as the version serves it: from a probability of one half, or the likeliest one.
        classes: of the model, in the order of its scores.
        window: its answers with their outcomes (`outcomes.join`), of the versions that are judged.
        history: all answers up to its end, with their outcomes; of a day those of the version that answered most of it count.
    """
    found = _metrics(task, classes, window)
    days = []
    for day, version, rows in by_most_of_a_day(history) if history.num_rows else ():
        of_day = _metrics(task, classes, history.filter(rows))
        if of_day.labelled:
            days.append(DayMetrics(day=day, version=version, labelled=of_day.labelled, metrics=of_day.metrics))
    return found.model_copy(update={"days": tuple(days)})


def _metrics(task: Task, classes: Sequence[str], joined: pa.Table) -> LiveMetrics:
    outcomes = np.asarray(joined["outcome"].to_numpy(), dtype=float) if joined.num_rows else np.zeros(0)
    known = np.isfinite(outcomes)
    if not known.any():
        return LiveMetrics()
    outcomes, scores, days = outcomes[known], logged_scores(joined)[known], event_days(joined["event_time"])[known]
    if task == "regression":
        return of_values(outcomes, scores[:, 0], days)
    names = outcome_names(task, classes)
    positive = None if task == "multiclass" else 1
    return of_classes(names, outcomes.astype(np.int64), answered_classes(task, scores), days, positive)


def of_values(outcomes: Floats, answers: Floats, days: NDArray[np.datetime64]) -> LiveMetrics:
    """RMSE and MAE of a regression.

    Args:
        outcomes: [rows], finite.
        answers: [rows].
        days: day of each row.
    """
    with np.errstate(over="ignore"):
        errors = np.clip(np.abs(answers - outcomes), 0, LARGEST)
    sums = np.column_stack([np.ones(len(errors)), errors**2, errors])
    units, parts = _by_day(days, sums)

    def figures(sums: Counts) -> dict[str, Counts]:
        return {"rmse": np.sqrt(sums[..., 1] / sums[..., 0]), "mae": sums[..., 2] / sums[..., 0]}

    metrics = _with_intervals(figures, _Parts(parts, np.ones(len(parts))), {})
    return LiveMetrics(
        labelled=len(errors), units=units, metrics={n: m.model_copy(update={"low": _from_0(m.low)}) for n, m in metrics.items()}
    )


def of_classes(
    names: Sequence[str], outcomes: NDArray[np.int64], answers: NDArray[np.int64], days: NDArray[np.datetime64], positive: int | None
) -> LiveMetrics:
    """Accuracy, precision, recall, F1, the confusion matrix and each class.

    Args:
        names: of all classes.
        outcomes: class numbers [rows].
        answers: class numbers [rows].
        days: day of each row.
        positive: the class of which precision, recall and F1 are; the mean over the classes that happened or were answered if None.
    """
    size = len(names)
    cells = outcomes * size + answers
    kinds, kind_of, rows_of = np.unique(cells, return_inverse=True, return_counts=True)
    each = np.zeros((len(kinds), 3, size))  # what one row of a kind adds: right, actual, answered
    actual, answered = np.divmod(kinds, size)
    place = np.arange(len(kinds))
    each[place, 0, actual] = actual == answered
    each[place, 1, actual] = each[place, 2, answered] = 1
    known, of_day = np.unique(days, return_inverse=True)
    if len(known) >= MIN_BLOCKS:
        of_kinds = np.bincount(of_day * len(kinds) + kind_of, minlength=len(known) * len(kinds)).reshape(len(known), len(kinds))
        parts = _Parts(np.tensordot(of_kinds, each, 1), np.ones(len(known)))
    else:
        parts = _Parts(each, rows_of.astype(float))
    total = parts.total
    shown, rest = shown_classes(total[1].tolist())

    def figures(counts: Counts) -> dict[str, Counts]:
        rates = _rates(counts)
        of_shown = {f"{rate} {place}": values[..., place] for rate, values in rates.items() for place in shown}
        return {
            "accuracy": counts[..., 0, :].sum(axis=-1) / counts[..., 1, :].sum(axis=-1),
            **_summary(rates, counts, positive),
            **of_shown,
        }

    metrics = _with_intervals(figures, parts, _least(total, shown, positive))
    return LiveMetrics(
        labelled=len(outcomes),
        units="days" if len(known) >= MIN_BLOCKS else "rows",
        metrics={name: metrics[name] for name in ("accuracy", "precision", "recall", "f1") if name in metrics},
        classes=(*(names[place] for place in shown), *([REST] if rest else [])),
        confusion=_confusion(outcomes, answers, shown, size, bool(rest)),
        each=tuple(
            ClassMetrics(
                name=names[place],
                rows=int(total[1, place]),
                predicted=int(total[2, place]),
                **{rate: metrics.get(f"{rate} {place}") for rate in ("precision", "recall", "f1")},
            )
            for place in shown
        ),
    )


def mean_of(values: Floats, days: NDArray[np.datetime64], *, share: bool) -> tuple[Metric, str]:
    """The mean of some values with its interval by the same rule, and what that takes as independent of each other.

    Args:
        values: [rows].
        days: day of each row.
        share: whether each is 0 or 1.
    """
    units, parts = _by_day(days, np.column_stack([np.ones(len(values)), values]))
    least = {"mean": wilson(float(values.sum()), len(values))} if share else {}
    found = _with_intervals(lambda sums: {"mean": sums[..., 1] / sums[..., 0]}, _Parts(parts, np.ones(len(parts))), least)
    return found["mean"], units


def _rates(counts: Counts) -> dict[str, Counts]:
    """Precision, recall and F1 of each class, each [..., classes]; NaN where there is nothing to divide by.

    Args:
        counts: right, actual and answered rows of each class [..., 3, classes].
    """
    right, actual, answered = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"precision": right / answered, "recall": right / actual, "f1": 2 * right / (actual + answered)}


def _summary(rates: Mapping[str, Counts], counts: Counts, positive: int | None) -> dict[str, Counts]:
    """Precision, recall and F1 of the positive class, or their mean over the classes that happened or were answered. In the mean, a class
    with nothing to divide by counts as 0, as in an evaluation."""
    if positive is not None:
        return {name: values[..., positive] for name, values in rates.items()}
    there = counts[..., 1, :] + counts[..., 2, :] > 0
    return {name: np.where(there, np.nan_to_num(values), 0).sum(axis=-1) / there.sum(axis=-1) for name, values in rates.items()}


def _least(total: Counts, shown: Sequence[int], positive: int | None) -> dict[str, tuple[float, float]]:
    """Wilson's intervals of the shares: none is surer."""
    least = {"accuracy": wilson(total[0].sum(), total[1].sum())}
    for place in shown:
        right, actual, answered = (float(row[place]) for row in total)
        of_class = {"precision": wilson(right, answered), "recall": wilson(right, actual)}
        of_class["f1"] = _of_hits(*wilson(right, actual + answered - right))
        least |= {f"{rate} {place}": interval for rate, interval in of_class.items()}
        least |= of_class if place == positive else {}
    return least


def _of_hits(low: float, high: float) -> tuple[float, float]:
    """F1 of a share of hits in hits and misses, which it rises with."""
    return 2 * low / (1 + low), 2 * high / (1 + high)


@dataclass(frozen=True)
class _Parts:
    """What is left out in turn: days, or rows; `times` says how often each of these is there."""

    sums: Counts  # [parts, ...]
    times: Counts  # [parts]

    @property
    def total(self) -> Counts:
        """The sums of all."""
        total: Counts = np.tensordot(self.times, self.sums, 1)
        return total


def _with_intervals(
    figures: Callable[[Counts], dict[str, Counts]], parts: _Parts, least: Mapping[str, tuple[float, float]]
) -> dict[str, Metric]:
    """Each figure that there is, with its interval."""
    values = figures(parts.total)
    without = figures(parts.total - parts.sums) if parts.times.sum() > 1 else {}
    return {
        name: _metric(float(value), without.get(name), parts.times, least.get(name)) for name, value in values.items() if np.isfinite(value)
    }


def _metric(value: float, without: Counts | None, times: Counts, least: tuple[float, float] | None) -> Metric:
    from scipy import special  # not its `stats`, which takes two seconds to load

    units, low, high = float(times.sum()), None, None
    if without is not None and np.isfinite(without).all():
        spread = np.sqrt((units - 1) / units * (times * (without - (times * without).sum() / units) ** 2).sum())
        reach = float(-special.stdtrit(units - 1, 0.025) * spread)
        low, high = (value - reach, value + reach) if reach else (None, None)
    if least is not None:  # a share: between 0 and 1, and never surer than that
        low, high = max(min(least[0], value if low is None else low), 0.0), min(max(least[1], value if high is None else high), 1.0)
    return Metric(value=value, low=low, high=high)


def _from_0(low: float | None) -> float | None:
    return None if low is None else max(low, 0.0)


def _by_day(days: NDArray[np.datetime64], sums: Counts) -> tuple[str, Counts]:
    """Sums of each day, or of each row where the days are too few."""
    known, of_day = np.unique(days, return_inverse=True)
    if len(known) < MIN_BLOCKS:
        return "rows", sums
    return "days", np.column_stack([np.bincount(of_day, column) for column in sums.T])


def _confusion(
    outcomes: NDArray[np.int64], answers: NDArray[np.int64], shown: Sequence[int], size: int, rest: bool
) -> tuple[tuple[int, ...], ...]:
    place_of = np.full(size, len(shown))
    place_of[list(shown)] = np.arange(len(shown))
    width = len(shown) + rest
    counts = np.bincount(place_of[outcomes] * width + place_of[answers], minlength=width * width).reshape(width, width)
    return tuple(tuple(row) for row in counts.tolist())
