"""The figures that monitoring gives of a window, as plain objects that need no numerical library. Light: the web UI reads them.

>>> from perennial.monitoring.figures import Performance
>>> Performance("log loss", predictions=200, labelled=50).coverage
0.25
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LEAST_RATIO = 1e-9  # of a loss to another one, so that a day without any error has a logarithm


@dataclass(frozen=True)
class DayPerformance:
    """The performance of one day of event time."""

    day: date
    predictions: int
    labelled: int
    realised: float | None  # mean loss over the labelled rows
    expected: float | None  # mean expected loss over the same rows
    version: int | None = None  # that answered
    evaluated: float | None = None  # mean loss at that version's evaluation, of a regression: its answers expect none

    @property
    def coverage(self) -> float:
        """Share of the predictions whose outcome is known."""
        return self.labelled / self.predictions

    @property
    def excess(self) -> float | None:
        """Realised minus expected loss."""
        return None if self.realised is None or self.expected is None else self.realised - self.expected

    @property
    def surprise(self) -> float | None:
        """How much worse it was than its version promised: the excess; of a regression the logarithm of realised over evaluated loss, 0.1
        for some 10 % more. Squared errors of days differ by factors, so that their logarithms are what is spread evenly."""
        if self.realised is None or self.expected is not None or not self.evaluated:
            return self.excess
        return math.log(max(self.realised / self.evaluated, LEAST_RATIO))


@dataclass(frozen=True)
class Performance:
    """The performance of a window or of a slice."""

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


@dataclass(frozen=True)
class Slice:
    """Performance where a column has one value."""

    column: str
    name: str
    performance: Performance


@dataclass(frozen=True)
class Estimate:
    """An estimate of a classifier's performance from its own scores, without outcomes."""

    rows: int
    loss: float  # mean log loss, nats
    accuracy: float
    roc_auc: float | None  # of a binary classifier


@dataclass(frozen=True)
class Jump:
    """The result of the test for a jump of the loss."""

    found: bool
    sentence: str
    worse: bool = False  # the last labelled days exceed the limit, though not beyond what is usual
    above: float | None = None  # excess loss from which on it counts as a jump; none where none can be told, and of a regression
    loss_above: float | None = None  # of a regression: mean loss from which on it counts as a jump


class Stored(BaseModel):
    """Base of figures that reports keep: immutable; what a later version of the platform adds is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Metric(Stored):
    """A metric and its 95 % interval."""

    value: float
    low: float | None = Field(default=None, description="Lower end; none where nothing shows how far chance moves it.")
    high: float | None = Field(default=None, description="Upper end.")


class ClassMetrics(Stored):
    """How well one class was told; a metric is none where there is nothing to divide by."""

    name: str
    rows: int = Field(description="Outcomes of this class.")
    predicted: int = Field(description="Answers of this class.")
    precision: Metric | None
    recall: Metric | None
    f1: Metric | None


class DayMetrics(Stored):
    """The metrics of one day of event time; their intervals take its rows as independent of each other."""

    day: date
    version: int = Field(description="Version that answered most of the day; its rows count.")
    labelled: int
    metrics: dict[str, Metric]


class LiveMetrics(Stored):
    """The metrics of answers whose outcomes are known: of a window, and of each day up to its end."""

    labelled: int = 0
    units: Literal["days", "rows", ""] = Field(default="", description="What the intervals take as independent of each other.")
    metrics: dict[str, Metric] = Field(
        default_factory=dict,
        description="accuracy, precision, recall and f1 of classes (of the positive class, or the mean over several) or of alarms; rmse "
        "and mae of a regression.",
    )
    classes: tuple[str, ...] = Field(default=(), description="Classes of the confusion matrix, the last one is the rest if there is one.")
    confusion: tuple[tuple[int, ...], ...] = Field(default=(), description="Rows by actual class, and in each by answered class.")
    each: tuple[ClassMetrics, ...] = Field(default=(), description="Of each class that is shown but the rest.")
    days: tuple[DayMetrics, ...] = Field(default=(), description="Days with outcomes, oldest first, of whichever version answered.")


class RuleFinding(Stored):
    """What a window says of one rule on the model's answers."""

    name: str
    state: Literal["broken", "kept", "open", "few"] = Field(
        description="Whether the interval lies beyond the limit, within it, on both sides, or there are too few answers."
    )
    rows: int = Field(description="Answers of the window.")
    value: float | None = Field(default=None, description="The measure.")
    low: float | None = Field(default=None, description="Lower end of its 95 % interval; none of a quantile, which is judged by a share.")
    high: float | None = Field(default=None, description="Upper end.")
    limit: float | None = None
    severity: Literal["info", "warning", "critical"]
    sentence: str


@dataclass(frozen=True)
class Service:
    """How the service answered in a window, from the predictions' own log."""

    predictions: int
    seconds: float  # from the first to the last answer
    per_second: float
    p50_ms: float | None
    p99_ms: float | None


class Anomaly(BaseModel):
    """One row over the threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction_id: str
    score: float
    columns: tuple[str, ...] = Field(description="Columns that made it so, the one that matters most first.")
    sentence: str


class Anomalies(BaseModel):
    """The anomalous requests of a window, compared with the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str
    alarms_per_day: float = Field(description="Rows a day that may be over the threshold while nothing is wrong.")
    achieved: float | None = Field(default=None, description="Rows a day that were, at this traffic, on held-out days of the reference.")
    highest: float | None = Field(default=None, description="The same on the worst of these days.")
    threshold: float | None = None
    held_out_days: int = 0
    scored: int = Field(default=0, description="Rows of the window.")
    days: int = Field(default=0, description="Days of the window that have rows.")
    found: int = Field(default=0, description="Rows over the threshold.")
    shown: tuple[Anomaly, ...] = Field(default=(), description="The strangest of them.")
    unusual: bool = Field(default=False, description="More a day than on any held-out day, and more than three times the budget.")
    sentence: str


@dataclass(frozen=True)
class Break:
    """A feed that seems broken."""

    key: str  # what tells it from other breaks
    column: str
    sentence: str
