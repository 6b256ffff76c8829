"""How good the predictions were, once their outcomes are known, and how well the service answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Task = Literal["binary", "multiclass", "regression"]
Floats = NDArray[np.float64]

LOSS = {"binary": "log loss", "multiclass": "log loss", "regression": "squared error"}
SMALLEST = 1e-7  # of a probability, so that one certain mistake has a finite loss
RESAMPLES = 2000
SLICE_RESAMPLES, MAX_SLICES = 400, 20  # of one slice; slices of a column, the largest
MIN_SLICE = 30  # labelled rows of a slice that is shown
MIN_BLOCKS = 3  # days below which an interval over days says nothing
JUMP_DAYS = 3
PRIOR_DAYS = 4  # labelled days before a jump that tell what is usual
MIN_LABELLED, MIN_COVERAGE = 30, 0.5  # of a day that may take part in the judgement of a jump


def losses(task: Task, scores: Floats, outcomes: Floats) -> tuple[Floats, Floats | None]:
    """Realised and expected loss of each row.

    Realised: minus the logarithm of the score of what happened, or the squared error. Expected: what that is on average if
    the scores are true probabilities, which is their entropy; a regression's scores say nothing of it.

    Args:
        task: what is predicted.
        scores: [rows, classes], or [rows, 1] of a regression.
        outcomes: [rows], class numbers or values; NaN where unknown gives NaN.
    """
    if task == "regression":
        return (scores[:, 0] - outcomes) ** 2, None
    clipped = np.clip(scores, SMALLEST, 1.0)
    known = np.isfinite(outcomes)
    realised = np.full(len(outcomes), np.nan)
    realised[known] = -np.log(clipped[np.flatnonzero(known), outcomes[known].astype(int)])
    return realised, -(clipped * np.log(clipped)).sum(axis=1)


@dataclass(frozen=True)
class DayPerformance:
    """One day of event time."""

    day: date
    predictions: int
    labelled: int
    realised: float | None  # mean loss over the labelled rows
    expected: float | None  # mean expected loss over the same rows

    @property
    def coverage(self) -> float:
        """Share of the predictions whose outcome is known."""
        return self.labelled / self.predictions

    @property
    def excess(self) -> float | None:
        """Realised minus expected loss."""
        return None if self.realised is None or self.expected is None else self.realised - self.expected


@dataclass(frozen=True)
class Performance:
    """A window's performance."""

    loss: str  # name of the loss
    predictions: int
    labelled: int
    realised: float | None = None
    low: float | None = None  # 95 % interval of the realised loss
    high: float | None = None
    expected: float | None = None
    excess: float | None = None
    blocks: str = ""  # what was resampled: "days" or "rows"

    @property
    def coverage(self) -> float:
        """Share of the predictions whose outcome is known."""
        return self.labelled / self.predictions if self.predictions else 0.0


def by_day(task: Task, joined: pa.Table) -> list[DayPerformance]:
    """Performance of each day of event time, in order, from predictions with their outcomes (`outcomes.join`)."""
    if not joined.num_rows:
        return []
    days, realised, expected = _columns(task, joined)
    known = np.isfinite(realised)
    found = []
    for day in np.unique(days):
        rows = days == day
        some = rows & known
        n = int(some.sum())
        mean_expected = float(expected[some].mean()) if n and expected is not None else None
        found.append(DayPerformance(day.astype(object), int(rows.sum()), n, float(realised[some].mean()) if n else None, mean_expected))
    return found


def over_window(task: Task, joined: pa.Table, seed: int) -> Performance:
    """Performance of a window; its interval comes from resampling whole days, since rows of one day are not independent.

    With fewer than three labelled days it comes from resampling rows, which makes it too narrow; `blocks` says which.
    """
    if not joined.num_rows:
        return Performance(LOSS[task], 0, 0)
    return _over(task, _columns(task, joined), seed, RESAMPLES)


@dataclass(frozen=True)
class Slice:
    """Performance where a column has one value."""

    column: str
    name: str
    performance: Performance


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
    found = []
    for column, group in groups.items():
        names, place, counts = np.unique(group, return_inverse=True, return_counts=True)
        for number in sorted(range(len(names)), key=lambda i: (-counts[i], str(names[i])))[:MAX_SLICES]:
            rows = place == number
            if int(np.isfinite(realised[rows]).sum()) >= MIN_SLICE:
                part = days[rows], realised[rows], None if expected is None else expected[rows]
                found.append(Slice(column, str(names[number]), _over(task, part, seed, SLICE_RESAMPLES)))
    return found


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


@dataclass(frozen=True)
class Estimate:
    """What a classifier's own scores say of its performance, without any outcome."""

    rows: int
    loss: float  # mean log loss, nats
    accuracy: float
    roc_auc: float | None  # of a binary classifier


def estimate(task: Task, joined: pa.Table) -> Estimate | None:
    """Performance to be expected if the scores are true probabilities; None for a regression and without rows.

    Every row counts as each class with that class's score: confidence-based performance estimation (Białek et al., "Estimating
    Model Performance Under Covariate Shift Without Labels", 2024). It follows inputs that move to where the model is less sure.
    It is blind to a changed concept: where the same inputs lead to other outcomes the scores do not know.

    Args:
        task: what is predicted.
        joined: predictions; only `scores` is read.
    """
    if task == "regression" or not joined.num_rows:
        return None
    scores = _scores(joined)
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
    days = joined["event_time"].cast("timestamp[us]").to_numpy().astype("datetime64[D]")
    outcomes = np.asarray(joined["outcome"].to_numpy(), dtype=float)
    return days, *losses(task, _scores(joined), outcomes)


def _scores(rows: pa.Table) -> Floats:
    import pyarrow.compute as pc

    flat = pc.list_flatten(rows["scores"].combine_chunks()).to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=float).reshape(rows.num_rows, -1)


@dataclass(frozen=True)
class Jump:
    """Whether the loss jumped."""

    found: bool
    sentence: str
    worse: bool = False  # the last labelled days exceed the limit, though not beyond what is usual


def find_jump(days: Sequence[DayPerformance], limit: float) -> Jump:
    """Has the loss left what the model itself expects?

    The last three labelled days' excess loss must exceed `limit` on each day, and their mean must exceed the mean of the
    labelled days before by more than three standard errors of that difference (standard deviation over the days before,
    times the root of 1/3 + 1/days). A day counts as labelled with half of its outcomes and at least thirty.

    Args:
        days: days of one version, in order.
        limit: the spec's `monitoring.excess_loss`.
    """
    usable = [d.excess for d in days if d.excess is not None and d.labelled >= MIN_LABELLED and d.coverage >= MIN_COVERAGE]
    if not usable:
        return Jump(False, "No labelled day allows a judgement of the loss.")
    last, before = usable[-JUMP_DAYS:], usable[:-JUMP_DAYS]
    worse = len(last) == JUMP_DAYS and min(last) > limit
    if not worse:
        return Jump(
            False, f"The last {len(last)} labelled days' excess loss is {_listed(last)}; a jump needs {JUMP_DAYS} days above {limit:g}."
        )
    if len(before) < PRIOR_DAYS:
        return Jump(
            False,
            f"The last {JUMP_DAYS} labelled days' excess loss is {_listed(last)}, above {limit:g}, but {PRIOR_DAYS} labelled days before them are needed and there are {len(before)}.",
            worse,
        )
    error = float(np.std(before, ddof=1)) * float(np.sqrt(1 / JUMP_DAYS + 1 / len(before)))
    usual = float(np.mean(before))
    found = float(np.mean(last)) > usual + 3 * error
    sentence = f"The last {JUMP_DAYS} labelled days' excess loss is {_listed(last)}; over {len(before)} days before it was {usual:.3f}, three standard errors above are {usual + 3 * error:.3f}."
    return Jump(found, sentence, worse)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.3f}" for v in values)


@dataclass(frozen=True)
class Service:
    """How the service answered in a window, from the predictions' own log."""

    predictions: int
    seconds: float  # from the first to the last answer
    per_second: float
    p50_ms: float | None
    p99_ms: float | None


def service_figures(predictions: pa.Table) -> Service:
    """Rate and answer times of a window's predictions (columns served_at and milliseconds)."""
    if not predictions.num_rows:
        return Service(0, 0.0, 0.0, None, None)
    served = predictions["served_at"].cast("timestamp[us]").to_numpy()
    seconds = float((served.max() - served.min()) / np.timedelta64(1, "s"))
    took = np.asarray(predictions["milliseconds"].to_numpy(), dtype=float)
    took = took[np.isfinite(took)]
    p50, p99 = (float(q) for q in np.quantile(took, [0.5, 0.99])) if len(took) else (None, None)
    return Service(predictions.num_rows, seconds, predictions.num_rows / max(seconds, 1.0), p50, p99)


def latency_quantile(cumulative: Sequence[tuple[float, int]], share: float) -> float | None:
    """Upper bound in ms of the histogram cell that holds a quantile; None if nothing was counted or it lies beyond the last finite bound."""
    total = cumulative[-1][1] if cumulative else 0
    bound: Any = next((b for b, n in cumulative if total and n >= share * total), None)
    return None if bound is None or not np.isfinite(bound) else float(bound)
