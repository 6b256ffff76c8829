"""Performance: the loss of predictions whose outcomes are known, and the latency and rate of the service.

>>> import numpy as np
>>> from perennial.monitoring.performance import losses
>>> realised, expected = losses("binary", np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1]))  # the second was a surprise
>>> realised.round(3).tolist(), expected.round(3).tolist()
([0.105, 2.303], [0.325, 0.325])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial.monitoring.figures import DayPerformance, Estimate, Jump, Performance, Service, Slice

if TYPE_CHECKING:
    import pyarrow as pa

    from perennial.specs import Cause

Task = Literal["binary", "multiclass", "regression", "anomaly"]
Floats = NDArray[np.float64]

LOSS = {"binary": "log loss", "multiclass": "log loss", "regression": "squared error", "anomaly": "share of wrong alarms"}
SMALLEST = 1e-7  # of a probability, so that one certain mistake has a finite loss
LARGEST = 1e70  # of an error, so that the squares of absurd outcomes have a finite mean and variance
RESAMPLES = 2000
SLICE_RESAMPLES, MAX_SLICES = 400, 20  # of one slice; slices of a column, the largest
MIN_SLICE = 30  # labelled rows of a slice that is shown
MIN_BLOCKS = 3  # days below which an interval over days says nothing
JUMP_DAYS = 3
PRIOR_DAYS = 4  # labelled days before a jump that tell what is usual
JUMP_ERRORS = 3.3  # standard errors, which are exceeded once in two thousand
NORMAL_MAD = 1.4826  # standard deviation of normal values over their median absolute deviation
MIN_LABELLED, MIN_COVERAGE = 30, 0.5  # of a day that may be judged


def losses(task: Task, scores: Floats, outcomes: Floats) -> tuple[Floats, Floats | None]:
    """Realised and expected loss of each row.

    Realised: minus the logarithm of the score of what happened, the squared error, or 1 for an alarm that was wrong or missing.
    Expected: what that is on average if the scores are true probabilities, which is their entropy; scores of a regression or an anomaly
    model say nothing of it.

    Args:
        task: what is predicted.
        scores: [rows, classes], [rows, 1] of a regression, or score and alarm, [rows, 2].
        outcomes: [rows], class numbers or values; NaN where unknown gives NaN.
    """
    if task == "regression":
        with np.errstate(over="ignore"):
            return np.clip(scores[:, 0] - outcomes, -LARGEST, LARGEST) ** 2, None
    if task == "anomaly":
        return np.where(np.isfinite(outcomes), (scores[:, 1] != outcomes).astype(float), np.nan), None
    clipped = np.clip(scores, SMALLEST, 1.0)
    known = np.isfinite(outcomes)
    realised = np.full(len(outcomes), np.nan)
    realised[known] = -np.log(clipped[np.flatnonzero(known), outcomes[known].astype(int)])
    return realised, -(clipped * np.log(clipped)).sum(axis=1)


def by_day(task: Task, joined: pa.Table, evaluated: Mapping[int, float] = MappingProxyType({})) -> list[DayPerformance]:
    """Performance of each day of event time, in order, from predictions with their outcomes (`outcomes.join`).

    Of a day that several versions answered, the rows of the one that answered most of it count.

    Args:
        task: what is predicted.
        joined: predictions with their outcomes.
        evaluated: of a regression: mean loss of each version at its evaluation, as far as it is known.
    """
    if not joined.num_rows:
        return []
    _, realised, expected = _columns(task, joined)
    known = np.isfinite(realised)
    performances = []
    for day, version, rows in by_most_of_a_day(joined):
        labelled = rows & known
        n = int(labelled.sum())
        mean_expected = float(expected[labelled].mean()) if n and expected is not None else None
        mean = float(realised[labelled].mean()) if n else None
        performances.append(DayPerformance(day, int(rows.sum()), n, mean, mean_expected, version, evaluated.get(version)))
    return performances


def by_most_of_a_day(joined: pa.Table) -> Iterator[tuple[date, int, NDArray[np.bool_]]]:
    """Each day of event time, the version that answered most of it, and which rows are that version's."""
    days, versions = event_days(joined["event_time"]), joined["model_version"].to_numpy()
    for day in np.unique(days):
        names, counts = np.unique(versions[days == day], return_counts=True)
        version = int(names[counts.argmax()])
        yield day.astype(object), version, (days == day) & (versions == version)


def over_window(task: Task, joined: pa.Table, seed: int) -> Performance:
    """Performance of a window; its interval comes from resampling whole days, since rows of one day are not independent.

    With fewer than three labelled days it comes from resampling rows, which makes it too narrow; `blocks` says which.
    """
    if not joined.num_rows:
        return Performance(LOSS[task], 0, 0)
    return _over(task, _columns(task, joined), seed, RESAMPLES)


def by_slice(task: Task, joined: pa.Table, groups: Mapping[str, NDArray[Any]], seed: int) -> list[Slice]:
    """Performance of each value of some columns: at most 20 values of a column, the most frequent ones, with 30 labelled rows at least.

    Args:
        task: what is predicted.
        joined: predictions with their outcomes (`outcomes.join`).
        groups: by column, the name of each row's slice [rows], in the order of `joined`.
        seed: of the intervals.
    """
    if not joined.num_rows:
        return []
    days, realised, expected = _columns(task, joined)
    slices = []
    for column, group in groups.items():
        names, place, counts = np.unique(group, return_inverse=True, return_counts=True)
        for number in sorted(range(len(names)), key=lambda i: (-counts[i], str(names[i])))[:MAX_SLICES]:
            rows = place == number
            if int(np.isfinite(realised[rows]).sum()) >= MIN_SLICE:
                part = days[rows], realised[rows], None if expected is None else expected[rows]
                slices.append(Slice(column, str(names[number]), _over(task, part, seed, SLICE_RESAMPLES)))
    return slices


def _over(task: Task, columns: tuple[NDArray[np.datetime64], Floats, Floats | None], seed: int, resamples: int) -> Performance:
    days, realised, expected = columns
    known = np.isfinite(realised)
    if not known.any():
        return Performance(LOSS[task], len(days), 0)
    rng = np.random.default_rng(seed)
    values, (names, block) = realised[known], np.unique(days[known], return_inverse=True)
    by_days = len(names) >= MIN_BLOCKS
    if by_days:
        sums, sizes = np.bincount(block, values), np.bincount(block)
        drawn = rng.integers(len(names), size=(resamples, len(names)))
        means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    else:
        means = _row_means(
            np.sort(values), rng, resamples
        )  # sorted: the rows come in no particular order, and the figures must not depend on it
    low, high = np.quantile(means, [0.025, 0.975])
    mean = float(values.mean())
    mean_expected = None if expected is None else float(expected[known].mean())
    excess = None if mean_expected is None else mean - mean_expected
    return Performance(
        LOSS[task], len(days), len(values), mean, float(low), float(high), mean_expected, excess, "days" if by_days else "rows"
    )


def _row_means(values: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    if len(values) > 10_000:  # so many rows that the bootstrap and the normal distribution agree to the third digit
        normal: Floats = rng.normal(values.mean(), values.std() / np.sqrt(len(values)), resamples)
        return normal
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)])


def estimate(task: Task, joined: pa.Table) -> Estimate | None:
    """Performance to be expected if the scores are true probabilities; None for a regression, an anomaly model and without rows.

    Every row counts as each class with that class's score: confidence-based performance estimation (Białek et al., "Estimating
    Model Performance Under Covariate Shift Without Labels", 2024). It follows inputs that move to where the model is less sure.
    It is blind to a changed concept: where the same inputs lead to other outcomes the scores do not know.

    Args:
        task: what is predicted.
        joined: predictions; only `scores` is read.
    """
    if task in ("regression", "anomaly") or not joined.num_rows:
        return None
    scores = logged_scores(joined)
    _, expected = losses(task, scores, np.full(len(scores), np.nan))
    assert expected is not None
    area = expected_roc_auc(scores[:, 1]) if task == "binary" else None
    return Estimate(len(scores), float(expected.mean()), float(scores.max(axis=1).mean()), area)


def expected_roc_auc(positive: Floats) -> float | None:
    """ROC AUC if each row is positive with the chance of its own score; None where no pair of a positive and a negative can be.

    Over all pairs of two different rows: the chance that the first is positive and the second negative, counted whole where
    the first scores higher and half where they tie, over the same sum without that condition.

    Args:
        positive: [rows], probability of the positive class.
    """
    values, place = np.unique(positive, return_inverse=True)
    yes, no = np.bincount(place, positive), np.bincount(place, 1 - positive)
    below = np.cumsum(no) - no
    itself = float((positive * (1 - positive)).sum())  # a row is no pair with itself; such a pair would be a tie
    pairs = float(positive.sum() * (1 - positive).sum()) - itself
    return (float((yes * (below + no / 2)).sum()) - itself / 2) / pairs if pairs > 1e-12 * len(values) else None


def _columns(task: Task, joined: pa.Table) -> tuple[NDArray[np.datetime64], Floats, Floats | None]:
    outcomes = np.asarray(joined["outcome"].to_numpy(), dtype=float)
    return event_days(joined["event_time"]), *losses(task, logged_scores(joined), outcomes)


def event_days(times: pa.ChunkedArray) -> NDArray[np.datetime64]:
    """Day of each time, none of them unknown: datetime64[D] [rows]."""
    days: NDArray[np.datetime64] = times.cast("timestamp[us]").to_numpy().astype("datetime64[D]")
    return days


def rows_by_day(times: pa.ChunkedArray) -> dict[date, int]:
    """Rows of each day, in order of the days; none of the times is unknown."""
    days, counts = np.unique(event_days(times), return_counts=True)
    return dict(zip(days.astype(object).tolist(), counts.tolist(), strict=True))


def logged_scores(rows: pa.Table) -> Floats:
    """Scores of predictions as they were logged (column `scores`, a list in each row): [rows, classes], or [rows, 1] of a regression."""
    import pyarrow.compute as pc

    flat = pc.list_flatten(rows["scores"].combine_chunks()).to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=float).reshape(rows.num_rows, -1)


def is_labelled(predictions: int, labelled: int) -> bool:
    """Whether a day may be judged by its labels: half of its outcomes are known, and at least thirty."""
    return labelled >= MIN_LABELLED and labelled >= MIN_COVERAGE * predictions


def up_to_training(days: Sequence[DayPerformance], family: Collection[int]) -> list[DayPerformance]:
    """The days that the versions of a training answered, or those of trainings before it: what a later one answered was taken back.

    Args:
        days: days, each by the version that answered most of it.
        family: the training's versions.
    """
    return [d for d in days if d.version is None or d.version in family or d.version < min(family)]


def first_unseen(cause: Cause, trained_to: date, first_answer: date) -> date:
    """First day that may show that a training has been overtaken by a jump of the loss.

    That is the first day whose labels it has not seen, whichever version answered it: a training that began before the labels came
    is as surprised as the one before it. Where a jump asked for the training itself, its own answers count alone: they show whether
    it has helped.

    Args:
        cause: of the training.
        trained_to: newest day whose labels it has seen.
        first_answer: first day that it answered.
    """
    return first_answer if cause == "performance" else trained_to + timedelta(days=1)


def find_jump(days: Sequence[DayPerformance], limit: float, since: date) -> Jump:
    """Test for a jump of the loss above what the versions promised: by their own scores or, of a regression, at their evaluation.

    The last three labelled days must lie at `since` or later, the excess loss of each must exceed `limit`, and their mean must
    exceed the median of the labelled days before by more than `limit` and by more than t standard errors of that difference. The
    standard error is 1.4826 times the median absolute deviation of the days before, which is their standard deviation if they are
    normal (Hampel, "The influence curve and its role in robust estimation", 1974), times the root of 1/3 + 1/days; how many of them
    says `jump_errors`. So neither a storm nor the first days of the jump itself raise what is usual, and few days before ask for more.

    Values of a regression expect no loss. There the logarithm of a day's squared error over that of its version's evaluation takes the
    place of the excess, in all of this: a day is a block, and losses of days differ by factors.

    Args:
        days: days in order, each by the version that answered most of it; excess is measured by that version's own expectation.
        limit: the spec's `monitoring.excess_loss`.
        since: first day that may show a jump (`first_unseen`).
    """
    usable = [(d, d.surprise) for d in days if d.surprise is not None and is_labelled(d.predictions, d.labelled)]
    if not usable and any(d.realised is not None and d.expected is None for d in days):
        return Jump(
            False,
            "The answers of this model do not say which loss they expect, and no evaluation does, so no jump can be told from bad days: "
            "drift and age ask alone.",
        )
    if not usable:
        return Jump(False, "No labelled day allows a judgement of the loss.")
    last, before = usable[-JUMP_DAYS:], usable[:-JUMP_DAYS]
    values, earlier = [more for _, more in last], [more for _, more in before]
    words = _EXCESS if last[-1][0].expected is not None else _RATIO
    evaluated = last[-1][0].evaluated if words is _RATIO else None

    def jump(found: bool, sentence: str, *, worse: bool = False, above: float) -> Jump:
        if evaluated is None:
            return Jump(found, sentence, worse, above)
        return Jump(found, sentence, worse, loss_above=evaluated * math.exp(above))

    worse = len(last) == JUMP_DAYS and min(values) > limit
    excess = words.said.format(days=f"{len(last)} labelled days ({_which(last)})", values=", ".join(map(words.figure, values)))
    if not worse:
        return jump(False, f"{excess}; a jump needs {JUMP_DAYS} days above {words.limit(limit)}.", above=limit)
    if last[0][0].day < since:
        return jump(
            False,
            f"{excess}, above {words.limit(limit)}, but days from {since} on show whether the training in service is overtaken by it.",
            worse=worse,
            above=limit,
        )
    if len(before) < PRIOR_DAYS:
        return jump(
            False,
            f"{excess}, above {words.limit(limit)}, but {PRIOR_DAYS} labelled days before them are needed and there are {len(before)}.",
            worse=worse,
            above=limit,
        )
    usual = float(np.median(earlier))
    spread = NORMAL_MAD * float(np.median(np.abs(np.array(earlier) - usual)))
    bound = usual + max(limit, jump_errors(len(before)) * spread * float(np.sqrt(1 / JUMP_DAYS + 1 / len(before))))
    sentence = (
        f"{excess}; over the {len(before)} labelled days before ({_which(before)}) its median was {words.figure(usual)}, "
        f"and a {words.mean} above {words.figure(bound)} is a jump."
    )
    return jump(float(np.mean(values)) > bound, sentence, worse=worse, above=bound)


@dataclass(frozen=True)
class _Words:
    """How a sentence tells by how much days were worse."""

    said: str
    figure: Callable[[float], str]
    limit: Callable[[float], str]
    mean: str


_EXCESS = _Words("The excess loss of the last {days} is {values}", "{:.3f}".format, "{:g}".format, "mean")
_RATIO = _Words(
    "The squared error of the last {days} is {values} times that of the evaluation",
    lambda value: f"{math.exp(value):.3g}",
    lambda value: f"{math.exp(value):.3g}",
    "geometric mean",
)


def jump_errors(days_before: int) -> float:
    """Standard errors that a jump lies beyond: with few days before it as many more as are exceeded equally seldom (Student's t).

    Args:
        days_before: labelled days before the jump, at least two.
    """
    from scipy import special  # not its `stats`, which takes two seconds to load

    return float(-special.stdtrit(days_before - 1, special.ndtr(-JUMP_ERRORS)))


def _which(days: Sequence[tuple[DayPerformance, float]]) -> str:
    """Which days, and which versions answered them."""
    numbers = sorted({d.version for d, _ in days if d.version is not None})
    by = f", answered by version{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}" if numbers else ""
    return f"{days[0][0].day} to {days[-1][0].day}{by}"


def service_figures(predictions: pa.Table) -> Service:
    """Rate and answer times of a window's predictions (columns served_at and milliseconds), without those that no request waited for:
    scores of batches have no answer time."""
    predictions = predictions.filter(predictions["milliseconds"].is_valid())
    if not predictions.num_rows:
        return Service(0, 0.0, 0.0, None, None)
    served = predictions["served_at"].cast("timestamp[us]").to_numpy()
    seconds = float((served.max() - served.min()) / np.timedelta64(1, "s"))
    took = np.asarray(predictions["milliseconds"].to_numpy(), dtype=float)
    took = took[np.isfinite(took)]
    p50, p99 = (float(q) for q in np.quantile(took, [0.5, 0.99])) if len(took) else (None, None)
    return Service(predictions.num_rows, seconds, predictions.num_rows / max(seconds, 1.0), p50, p99)
