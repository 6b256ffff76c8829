"""What monitoring looks at, and when a training starts by itself."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from pydantic import Field, model_validator

from perennial.specs.base import CronLine, Spec
from perennial.specs.rules import AnswerRule

Cause = Literal["data", "drift", "schedule", "manual", "performance", "code", "recalibration"]


Verdict = Literal["real", "false alarm", "known"]
IncidentKind = Literal[
    "drift", "performance", "data quality", "anomaly", "answers", "deadline", "service", "contract", "release", "pipeline", "spec"
]


DriftKind = Literal["shift", "predictions", "nulls", "new category", "correlation", "joint"]


AnomalyDetector = Literal["univariate_sum", "univariate_max", "multivariate", "isolation_forest", "one_class_svm"]


INCIDENT_KINDS: tuple[IncidentKind, ...] = get_args(IncidentKind)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # what a person may make of an incident


class RetrainSpec(Spec):
    """When training and recalibration start automatically."""

    schedule: CronLine = Field(default="0 2 * * *", description="Cron line of the nightly check for something new to train on (UTC).")
    on_drift: Literal["confirmed", "with_performance", "never"] = Field(
        default="confirmed",
        description="Whether confirmed drift requests retraining: always, only together with a jump of the loss, or never.",
    )
    drift_windows: int = Field(default=2, ge=1, description="Drift is confirmed after this many windows in a row that show it.")
    max_age_days: float | None = Field(
        default=30, gt=0, description="Retraining is requested when the champion's snapshot is older than this, by event time."
    )
    cooldown_days: float = Field(
        default=7, ge=0, description="Minimum number of days, by event time, between the last training and an automatic request."
    )
    on_new_snapshot: Literal["always", "when_due"] = Field(
        default="when_due", description="Whether every new snapshot starts a training, or only if age, drift or performance call for one."
    )
    cost: float = Field(
        default=0.0005,
        ge=0,
        description="Cost of one retraining, in units of the mean loss over the whole history. `perennial replay` adds it for each "
        "retraining, so that policies that train more often can be compared with those that train less.",
    )
    recalibrate: bool = Field(
        default=True,
        description="Whether the champion's scores are recalibrated on newly labelled days: other scale and shift, same weights.",
    )
    recalibrate_schedule: CronLine = Field(default="30 3 * * *", description="Cron line of the daily recalibration (UTC).")
    recalibrate_days: int = Field(default=14, ge=1, description="Maximum number of labelled days to which scale and shift are fitted.")
    recalibrate_judged_days: int = Field(
        default=5,
        ge=5,
        description="Newest labelled days, held out from the fit. On them the recalibrated version must be shown to be better "
        "than the champion. At least five, since fewer do not show how days differ.",
    )
    recalibrate_alpha: float = Field(
        default=0.35,
        gt=0,
        lt=0.5,
        description="Chance of registering a recalibrated version that is no better than the champion. Larger than the gate's: "
        "with two parameters there is little to lose, and a strict test would be too late for a season.",
    )
    recalibrate_weight: float = Field(
        default=0.1,
        ge=0,
        description="Regularisation of the recalibration towards no change: weight of its squared distance from no change, relative to "
        "the mean loss over `recalibrate_days` days; proportionally larger if there are fewer days.",
    )
    recalibrate_min_labels: int = Field(default=500, ge=1, description="Minimum number of labelled predictions for a recalibration.")


class EffectLimits(NamedTuple):
    """Limits from which a statistically significant change counts as drift, and as an alarm."""

    drift: float  # from here on it is drift
    alarm: float  # from here on it alarms as well


class MonitoringSpec(Spec):
    """What monitoring compares, how often, and from which size a change matters."""

    schedule: CronLine = Field(default="*/30 * * * *", description="Cron line of the monitoring DAG (UTC).")
    window_days: int = Field(default=1, ge=1, description="Days of event time in one window.")
    reference_days: int = Field(default=90, ge=2, description="Newest days of the champion's snapshot: the reference for drift.")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="False-alarm rate of the drift test over all columns together.")
    min_shift: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="A change of an input counts as drift if at least this share of rows moved; for numbers, only moves farther than "
        "`tolerance_sd` count.",
    )
    tolerance_sd: float = Field(
        default=0.03, ge=0, description="Tolerance: moves of a number up to this many standard deviations of the reference are ignored."
    )
    min_nulls: float = Field(default=0.001, ge=0, le=1, description="Drift: smallest change in the share of missing values.")
    min_new_category: float = Field(
        default=0.0, ge=0, le=1, description="Drift: smallest share of rows with a category that is not in the reference."
    )
    min_correlation: float = Field(default=0.1, ge=0, le=2, description="Drift: smallest change of a correlation between two columns.")
    min_joint: float = Field(
        default=0.02,
        ge=0,
        description="Drift: smallest distance of all columns together (maximum mean discrepancy: 0 identical, 1 nothing in common).",
    )
    min_predictions: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Drift: smallest share of predictions that moved to another score or class.",
    )
    alarm_shift: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Alarm: smallest share of rows that moved, for drift of an input or of the predictions. Such drift also requests "
        "retraining once it lasts. Smaller drift is only reported.",
    )
    alarm_nulls: float = Field(default=0.01, ge=0, le=1, description="Alarm: smallest change in the share of missing values.")
    alarm_new_category: float = Field(default=0.01, ge=0, le=1, description="Alarm: smallest share of rows with a new category.")
    alarm_correlation: float = Field(default=0.2, ge=0, le=2, description="Alarm: smallest change of a correlation.")
    alarm_joint: float = Field(default=0.1, ge=0, description="Alarm: smallest distance of all columns together.")
    excess_loss: float = Field(default=0.01, gt=0, description="Jump of the loss: smallest excess of the realised over the expected loss.")
    anomaly_detector: AnomalyDetector = Field(
        default="multivariate",
        description="How anomalous requests are detected: by a Gaussian of each column (`univariate_sum`, `univariate_max`), "
        "a Gaussian of all columns (`multivariate`), an isolation forest or a one-class SVM.",
    )
    alarms_per_day: float = Field(
        default=3, gt=0, description="Budget of false alarms: anomalous requests a day while nothing is wrong. It determines the threshold."
    )

    rules: tuple[AnswerRule, ...] = Field(
        default=(),
        description="Limits of what the model answers: its owner is told where a share of a class or the level of a score is beyond.",
    )

    @model_validator(mode="after")
    def _rules_are_told_apart(self) -> MonitoringSpec:
        names = [rule.name for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called {twice[0]!r}: each needs a name of its own, by which its incident is known")
        return self

    def limits(self, kind: DriftKind) -> EffectLimits:
        """The drift limit and the alarm limit for this kind of finding."""
        limits: dict[DriftKind, EffectLimits] = {
            "shift": EffectLimits(self.min_shift, self.alarm_shift),
            "predictions": EffectLimits(self.min_predictions, self.alarm_shift),
            "nulls": EffectLimits(self.min_nulls, self.alarm_nulls),
            "new category": EffectLimits(self.min_new_category, self.alarm_new_category),
            "correlation": EffectLimits(self.min_correlation, self.alarm_correlation),
            "joint": EffectLimits(self.min_joint, self.alarm_joint),
        }
        return limits[kind]
