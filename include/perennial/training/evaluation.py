"""Evaluation of scores: metrics, losses of single rows, slices and intervals. Pure functions of labels and scores.

Shapes: labels [rows] are class numbers (0 or 1 for binary) or values of a regression; scores are [rows, classes], or [rows, 1]. Of an
anomaly model labels are 0, 1 or NaN, and scores are score and alarm, [rows, 2].

    >>> import numpy as np
    >>> labels, scores = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    >>> figures = metrics("binary", labels, scores)
    >>> figures["accuracy"], figures["precision"], figures["recall"], figures["roc_auc"]
    (0.75, 1.0, 0.5, 1.0)

Metrics are scikit-learn's. What it lacks, or gives too slowly for the two hundred resamples of an interval, is written here:
docs/decisions/0047-what-stays-hand-written.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from perennial.classes import answered_classes

Task = Literal["binary", "multiclass", "regression", "anomaly"]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

_SMALLEST = np.finfo(np.float64).eps  # scikit-learn's cut for log loss


def metrics(task: Task, labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> dict[str, float]:
    """Every metric of the task; those of several classes are macro averages. ROC AUC is left out where a class is absent.

    Classes: accuracy, precision, recall, f1, roc_auc (one class against the rest), log_loss, calibration_error. Regression: mse, rmse, mae.
    Anomaly: alarm_share of all rows; of those with a label average_precision and roc_auc of the scores, precision and recall of the alarms.
    """
    # Here and not above: what reads this module for its losses alone need not wait a second for scikit-learn.
    from sklearn.metrics import accuracy_score, mean_absolute_error, mean_squared_error, precision_recall_fscore_support

    if task == "anomaly":
        return _of_alarms(labels, scores)
    if task == "regression":
        values = scores[:, 0].astype(np.float64)
        if not np.isfinite(values).all():  # scikit-learn refuses them; here they are figures that the gate refuses with a sentence
            return dict.fromkeys(("mse", "rmse", "mae"), float(np.abs(values - labels).max()))
        mse = float(mean_squared_error(labels, values))
        return {"mse": mse, "rmse": mse**0.5, "mae": float(mean_absolute_error(labels, values))}
    labels = labels.astype(np.int64)
    predicted = predict(task, scores)
    # A class that neither happened nor was predicted has no part in the average; one with nothing to divide by counts as 0.
    averaged = [1] if task == "binary" else None
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=averaged, average="macro", zero_division=0)
    figures = {"accuracy": accuracy_score(labels, predicted), "precision": precision, "recall": recall, "f1": f1}
    against_the_rest = [1] if task == "binary" else range(scores.shape[1])
    areas = [area for place in against_the_rest if (area := roc_auc(labels == place, scores[:, place])) is not None]
    if len(areas) == len(against_the_rest):
        figures["roc_auc"] = np.mean(areas)
    figures["log_loss"] = np.mean(per_row_loss(task, labels, scores))
    figures["calibration_error"] = calibration_error(task, labels, scores, bins)
    return {name: float(figure) for name, figure in figures.items()}


def _of_alarms(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score

    figures, known = {"alarm_share": float(scores[:, 1].mean())}, np.isfinite(labels)
    unusual, alarms = labels[known] == 1, scores[known, 1] == 1
    if unusual.any() and not unusual.all():
        figures["average_precision"] = float(average_precision_score(unusual, scores[known, 0]))
        figures["roc_auc"] = float(roc_auc(unusual, scores[known, 0]) or 0.0)
    if known.any():  # one with nothing to divide by counts as 0, as of classes
        figures["precision"] = float(unusual[alarms].mean()) if alarms.any() else 0.0
        figures["recall"] = float(alarms[unusual].mean()) if unusual.any() else 0.0
    return figures


def predict(task: Task, scores: np.ndarray) -> npt.NDArray[np.int64]:
    """Class numbers, as the version answers them."""
    return answered_classes(task, scores)


def simple_rule(task: Task, labels: np.ndarray, classes: int) -> list[float]:
    """What a rule without inputs says of every row, [classes] or [1]: the mean of these labels, or each class's share of them."""
    if task == "regression":
        return [float(labels.mean())]
    shares: list[float] = (np.bincount(labels.astype(np.int64), minlength=classes) / len(labels)).tolist()
    return shares


def per_row_loss(task: Task, labels: np.ndarray, scores: np.ndarray) -> Floats:
    """-log of the probability given to what happened, in nats; the squared error of a regression; 1 for an alarm, which costs, else 0."""
    if task == "anomaly":
        alarms: Floats = scores[:, 1].astype(np.float64)
        return alarms
    if task == "regression":
        squared: Floats = (scores[:, 0].astype(np.float64) - labels) ** 2
        return squared
    scores = np.clip(scores.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    losses: Floats = -np.log(scores[np.arange(len(labels)), labels.astype(np.int64)] / scores.sum(axis=1))
    return losses


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Chance that a positive row scores above a negative one, ties counted half (Mann-Whitney U); None if either kind is absent."""
    import pandas

    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    ranks = pandas.Series(scores).rank().to_numpy()  # the mean of their ranks for equal scores
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_error(task: Task, labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: sum over bins of (rows of the bin / all rows) * |share that came true - mean score|.

    Bins are `bins` equal widths of the positive class's probability (binary), or of the likeliest class's (multiclass).
    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (2015).
    """
    return float(sum(share * abs(observed - mean) for mean, observed, share in calibration_curve(task, labels, scores, bins)))


def calibration_curve(task: Task, labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> list[tuple[float, float, float]]:
    """For each bin that has rows: mean score, share that came true, share of all rows."""
    if task == "binary":
        claimed, true = scores[:, 1].astype(np.float64), labels == 1
    else:
        claimed, true = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == labels
    places = np.minimum((claimed * bins).astype(np.int64), bins - 1)
    curve = []
    for place in np.unique(places):
        rows = places == place
        curve.append((float(claimed[rows].mean()), float(true[rows].mean()), float(rows.mean())))
    return curve


def slice_metrics(task: Task, labels: np.ndarray, scores: np.ndarray, names: np.ndarray, min_rows: int = 30) -> dict[str, dict[str, float]]:
    """Metrics and `rows` for each value of a column; values with fewer than `min_rows` rows are left out."""
    slices = {}
    for name in sorted(set(names.tolist())):
        rows = names == name
        if int(rows.sum()) >= min_rows:
            slices[str(name)] = {"rows": float(rows.sum()), **metrics(task, labels[rows], scores[rows])}
    return slices


def intervals(
    task: Task, labels: np.ndarray, scores: np.ndarray, days: np.ndarray, *, seed: int = 0, resamples: int = 200, level: float = 0.95
) -> dict[str, Interval]:
    """Percentile bootstrap interval of every metric. Whole days are drawn, since rows of one day are not independent.

    With one day only, rows are drawn: such an interval is too narrow, and all that can be had.
    """
    return {name: interval_of(values, level) for name, values in resampled(task, labels, scores, days, seed, resamples).items()}


def difference_intervals(ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]) -> dict[str, Interval]:
    """95 % interval of every metric of one version less another's, both as `resampled` gives them for the same rows and the same seed."""
    together = (name for name in ours if len(ours[name]) == len(theirs.get(name, ())))
    return {name: interval_of(np.array(ours[name]) - np.array(theirs[name])) for name in together}


def resampled(
    task: Task, labels: np.ndarray, scores: np.ndarray, days: np.ndarray, seed: int = 0, resamples: int = 200
) -> dict[str, list[float]]:
    """What each metric was in the resamples; those that a resample cannot give, such as ROC AUC of one class, are left out of it."""
    drawn: dict[str, list[float]] = {}
    for rows in redrawn(days, len(labels), seed=seed, resamples=resamples):
        for name, value in metrics(task, labels[rows], scores[rows]).items():
            drawn.setdefault(name, []).append(value)
    return drawn


def redrawn(units: np.ndarray, rows: int, *, seed: int = 0, resamples: int = 200) -> Iterator[npt.NDArray[np.int64]]:
    """Places of rows, drawn with replacement, for each resample: whole units (equal numbers) where there are several, else rows."""
    rng = np.random.default_rng(seed)
    draw = _draw_days(units, rng) if len(np.unique(units)) > 1 else lambda: rng.integers(0, rows, rows)
    for _ in range(resamples):
        yield draw()


def interval_of(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """The middle share `level` of what a figure was in the resamples."""
    tail = (1 - level) / 2
    return float(np.quantile(values, tail)), float(np.quantile(values, 1 - tail))


def _draw_days(days: np.ndarray, rng: np.random.Generator) -> Callable[[], np.ndarray]:
    rows_of_day = [np.flatnonzero(days == day) for day in np.unique(days)]
    return lambda: np.concatenate([rows_of_day[place] for place in rng.integers(0, len(rows_of_day), len(rows_of_day))])
