"""What a dataset and a model are: frozen objects that check themselves. Light: DAG files import this.

>>> from perennial.specs import Column, DatasetSpec
>>> spec = DatasetSpec(
...     name="rides",
...     title="Rides",
...     owner="fleet",
...     columns=[Column(name="ride", type="string"), Column(name="start", type="timestamp"), Column(name="km", type="float")],
...     key=["ride"],
...     event_time="start",
... )
>>> spec.column("km").nullable
False
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from perennial.clock import UTC, zone

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
CRON_PART = re.compile(r"(\*|(\d+)(-(\d+))?)(/(\d+))?")

Cause = Literal["data", "drift", "schedule", "manual", "performance", "code", "recalibration"]
ColumnType = Literal["int", "float", "string", "timestamp", "bool"]
Verdict = Literal["real", "false alarm", "known"]
DriftKind = Literal["shift", "predictions", "nulls", "new category", "correlation", "joint"]
AnomalyDetector = Literal["univariate_sum", "univariate_max", "multivariate", "isolation_forest", "one_class_svm"]

CLASSIFIER_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "calibration_error")
METRICS: dict[str, tuple[str, ...]] = {
    "binary": CLASSIFIER_METRICS,
    "multiclass": CLASSIFIER_METRICS,
    "regression": ("mse", "rmse", "mae"),
}  # that an evaluation gives
CALENDAR_SLICES = ("month", "weekday", "hour")  # of the event time: slices that are no column of a dataset

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # what a person may make of an incident


def cron(line: str) -> str:
    """A cron line: five fields of numbers, ranges, steps and lists. Raises ValueError: a DAG with another one could not be made."""
    fields = line.split()
    if len(fields) != len(CRON_FIELDS):
        raise ValueError(f"{line!r} is no cron line: give minute, hour, day, month and weekday, such as '0 2 * * *'")
    for field, (name, least, most) in zip(fields, CRON_FIELDS, strict=True):
        for part in field.split(","):
            match = CRON_PART.fullmatch(part)
            first, last = (int(match[2] or least), int(match[4] or match[2] or most)) if match else (most, least)
            if not (match and least <= first <= last <= most and int(match[6] or 1) > 0):
                raise ValueError(
                    f"{part!r} in the cron line {line!r} is no {name}: numbers go from {least} to {most}, such as 5, 1-5, */15"
                )
    return line


CronLine = Annotated[str, AfterValidator(cron)]


class Spec(BaseModel):
    """Base of all specs: immutable, keyword-only, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(Spec):
    """A spec with a name and an owner."""

    name: str = Field(description="Lower-case word; file, folder, DAG and table are named after it.")
    title: str = Field(description="Name as people say it.")
    owner: str = Field(description="Person or team that answers for it.")

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name: use lower-case letters, digits and underscores, a letter first, at most 40")
        return name


class Column(Spec):
    """One column of a dataset."""

    name: str = Field(description="Column name: without blanks around it, and not beginning with `_`, as the columns that tables add do.")
    type: ColumnType = Field(description="Type in the table.")
    nullable: bool = Field(default=False, description="Whether a row may lack it.")
    meaning: str = Field(default="", description="What it says, with its unit.")

    @field_validator("name")
    @classmethod
    def _is_a_column_name(cls, name: str) -> str:
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise ValueError(
                f"{name!r} is no column name: give it at least one sign that can be seen, no blanks around it and no line breaks"
            )
        if name.startswith("_"):
            raise ValueError(f"{name!r} is no column name: names that begin with _ are those of columns that tables add")
        return name


class Toleration(Spec):
    """A taint of nodes that a stage's pod puts up with (Kubernetes)."""

    key: str = Field(default="", description="Taint's key; every key if empty, with `operator` `Exists`.")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="Whether the taint's value must be `value`.")
    value: str = Field(default="", description="Taint's value.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(default="", description="Taint's effect; all if empty.")


class ComputeSpec(Spec):
    """What a stage may use. On one machine only the CPU threads, GPUs and nodes count; a pod is held to all of it."""

    cpus: int = Field(default=2, ge=1, description="CPU threads of training, CPUs of a stage's pod.")
    memory_gb: float = Field(default=4, gt=0, description="Memory of the stage, GB.")
    gpus: int = Field(default=0, ge=0, description="GPUs of each node; 0 trains on the CPU.")
    nodes: int = Field(default=1, ge=1, description="Machines that train together.")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Kubernetes resource that a GPU is asked for by.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels that the nodes of a stage's pod must have.")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints of nodes that a stage's pod puts up with.")
    runtime_class: str = Field(default="", description="Kubernetes runtime class of a stage's pod; the cluster's default if empty.")
    queue: str = Field(default="", description="Kueue queue in which a stage's pod waits for room; none if empty.")


class DatasetSpec(Named):
    """One dataset: what a batch must look like and how its rows are told apart."""

    columns: tuple[Column, ...] = Field(min_length=1, description="All columns, in table order.")
    key: tuple[str, ...] = Field(min_length=1, description="Columns that name a row uniquely, over all batches.")
    event_time: str = Field(description="Timestamp column by which rows are ordered, split and windowed.")
    time_zone: str = Field(
        default=UTC,
        description="IANA name of the zone whose wall time the dataset's times are. A time without an offset is taken as it stands, "
        "one with an offset or Z is converted, in files and requests alike.",
    )
    label_delay_days: float = Field(
        default=0,
        ge=0,
        description="Days after event time until the label is known: what ages, splits and replays count with. "
        "A row must have its label when it lands; one that came without it is never trained on, even if the label is known later.",
    )
    max_batch_bytes: int = Field(default=1 << 30, gt=0, description="Largest file taken (also unpacked); a larger one is refused whole.")
    freshness_days: float | None = Field(
        default=None, description="Oldest event time accepted, in days before the newest in the table; none if unset."
    )
    compute: ComputeSpec = Field(default=ComputeSpec(), description="What ingestion may use.")

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        zone(name)
        return name

    @model_validator(mode="after")
    def _columns_exist(self) -> DatasetSpec:
        names = [c.name for c in self.columns]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise ValueError(f"columns named twice: {', '.join(sorted(twice))}")
        alike = [n for n in names if [other.casefold() for other in names].count(n.casefold()) > 1]
        if alike:
            raise ValueError(
                f"columns that differ by upper and lower case alone: {', '.join(sorted(alike))}; tables cannot tell them apart"
            )
        if "event_time" in names and self.event_time != "event_time":
            raise ValueError(f"the column event_time is not the event time, which is {self.event_time}: give it another name")
        for role, wanted in (("key", self.key), ("event_time", (self.event_time,))):
            missing = [n for n in wanted if n not in names]
            if missing:
                raise ValueError(f"{role} names {', '.join(missing)}, which is no column")
        if next(c for c in self.columns if c.name == self.event_time).type != "timestamp":
            raise ValueError(f"event_time {self.event_time} must be a timestamp column")
        return self

    def column(self, name: str) -> Column:
        """The column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


class SplitSpec(Spec):
    """How a snapshot is cut by event time: ... train | validation | test -> newest."""

    test_days: int = Field(default=7, ge=1, description="Newest labelled days, kept for evaluation alone.")
    validation_days: int = Field(default=7, ge=1, description="Days before the test days: early stopping and calibration.")
    train_days: int | None = Field(default=None, ge=1, description="Days before the validation days; all there are if unset.")
    min_train_rows: int = Field(default=500, ge=1, description="Fewer labelled training rows than this are refused.")
    max_unknown_labels: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the labels that may be no class (a value from which `features.label` makes none): these rows are left out, "
        "counted and said; more is refused.",
    )


class TrainingSpec(Spec):
    """How the LightningModule is trained."""

    max_epochs: int = Field(default=30, ge=1, description="Passes over the training split at most.")
    patience: int = Field(default=4, ge=1, description="Epochs without a better validation loss before stopping.")
    batch_size: int = Field(default=1024, ge=1, description="Rows of one gradient step.")
    seed: int = Field(default=2013, ge=0, description="Seed of every random choice.")
    hyperparameters: dict[str, float | int | str | bool] = Field(default_factory=dict, description="Passed to the model's constructor.")


class GateSpec(Spec):
    """What a candidate must show before it is registered."""

    metric: Literal["log_loss", "rmse", "mse"] = Field(
        default="log_loss",
        description="What the margins are a share of: `log_loss` of a classifier, `rmse` or `mse` of a regression. "
        "Candidate and champion are compared row by row, by log loss or squared error.",
    )
    floors: dict[str, float] = Field(description="Worst acceptable value of each metric on the test split.")
    margin: float = Field(
        default=0.05,
        ge=0,
        description="How much worse than the champion still passes, as a share of the champion's `metric` on the same rows. "
        "For `rmse` that is a larger share of the squared errors compared: 0.05 allows 1.05² of them. "
        "At 0 only a candidate that is shown to be better passes.",
    )
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Chance of registering a candidate that is worse by `margin` or more.")
    old_context_margin: float = Field(
        default=0.05, ge=0, description="How much worse on a slice of older data still passes, as a share of the champion's `metric` there."
    )
    resamples: int = Field(default=2000, ge=200, description="Bootstrap resamples.")


class ReleaseSpec(Spec):
    """How a candidate takes traffic."""

    mode: Literal["automatic", "approval", "manual"] = Field(
        default="automatic",
        description="Who lets a candidate take traffic: the evidence, a person's approval first, or only a person who starts the release.",
    )
    shadow: bool = Field(default=False, description="Begin with mirrored traffic whose answers nobody sees.")
    steps: tuple[int, ...] = Field(default=(5, 25, 50, 100), description="Percent of traffic at each step.")
    min_requests: int = Field(default=100, ge=1, description="Requests the candidate must have answered in a step before it may advance.")
    min_seconds: float = Field(default=10, ge=0, description="Shortest stay on a step, seconds.")
    max_seconds: float = Field(default=3600, gt=0, description="After this long on a step without a verdict a person is asked, seconds.")
    observe_seconds: float = Field(default=3, gt=0, description="Time between two looks at the evidence, seconds.")
    alpha: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Chance of rolling back a candidate that is as good as the champion, over the whole release.",
    )
    max_error_ratio: float = Field(
        default=2.0, gt=1, description="Promotion needs evidence that the error rate is below this multiple of the champion's."
    )
    max_error_rate: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Where errors are too rare to compare (fewer than 10 in both arms): "
        "promotion needs evidence that the rate is below this.",
    )
    promotion_alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="Chance of promoting a candidate whose error rate is at these limits."
    )
    max_latency_ratio: float = Field(
        default=2.0,
        ge=1,
        description="How many times as many requests as the champion's may be slower than its 95th percentile before "
        "that speaks against the candidate.",
    )

    @model_validator(mode="after")
    def _steps_rise_to_all(self) -> ReleaseSpec:
        if list(self.steps) != sorted(set(self.steps)) or not self.steps or self.steps[-1] != 100 or self.steps[0] < 1:
            raise ValueError(f"steps are {self.steps}: they must rise and end at 100")
        return self


class RetrainSpec(Spec):
    """When training starts without a person."""

    schedule: CronLine = Field(default="0 2 * * *", description="Cron line of the nightly look for something new (UTC).")
    on_drift: Literal["confirmed", "with_performance", "never"] = Field(
        default="confirmed", description="Whether confirmed drift asks for retraining."
    )
    drift_windows: int = Field(default=2, ge=1, description="Windows in a row that must show drift before it counts as confirmed.")
    max_age_days: float | None = Field(
        default=30, gt=0, description="Age of the champion's snapshot, by event time, that asks for retraining."
    )
    cooldown_days: float = Field(
        default=7, ge=0, description="No automatic request within this many days, by event time, of the last training."
    )
    on_new_snapshot: Literal["always", "when_due"] = Field(
        default="when_due", description="Whether every new snapshot trains, or only when age, drift or performance ask."
    )
    cost: float = Field(
        default=0.0005,
        ge=0,
        description="What one retraining is worth, as mean loss over the whole history: `perennial replay` adds it for each, "
        "so that policies that train more can be compared with those that train less.",
    )
    recalibrate: bool = Field(
        default=True,
        description="Whether newly labelled days may give a recalibrated version of the champion: other scale and shift, same weights.",
    )
    recalibrate_schedule: CronLine = Field(default="30 3 * * *", description="Cron line of the daily look for newly labelled days (UTC).")
    recalibrate_days: int = Field(default=14, ge=1, description="Labelled days at most that scale and shift are fitted to.")
    recalibrate_judged_days: int = Field(
        default=5,
        ge=5,
        description="Newest labelled days, held out from the fit (fewer than five do not tell how days differ): "
        "on them the recalibrated version must be shown to be better than the champion.",
    )
    recalibrate_alpha: float = Field(
        default=0.35,
        gt=0,
        lt=0.5,
        description="Chance of registering a recalibrated version that is no better than the champion. Larger than that of the gate: "
        "with two parameters there is little to lose, and a strict test comes too late for a season.",
    )
    recalibrate_weight: float = Field(
        default=0.1,
        ge=0,
        description="How strongly a recalibration is held to no change: its squared distance from no change counts so much beside the mean "
        "loss over `recalibrate_days` days, and in proportion more where there are fewer.",
    )
    recalibrate_min_labels: int = Field(default=500, ge=1, description="Fewer labelled predictions than this are not fitted to.")


class EffectLimits(NamedTuple):
    """How far something must have moved for a significant change of it to matter."""

    drift: float  # from here on it is drift
    alarm: float  # from here on it alarms as well


class MonitoringSpec(Spec):
    """What the monitoring DAG looks at."""

    schedule: CronLine = Field(default="*/30 * * * *", description="Cron line of the monitoring DAG (UTC).")
    window_days: int = Field(default=1, ge=1, description="Days of event time in one window.")
    reference_days: int = Field(default=90, ge=2, description="Newest days of the champion's snapshot, which drift is measured against.")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="False-alarm rate of the drift test over all columns together.")
    min_shift: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Smallest share of rows that must have moved for a change of an input to count as drift; of numbers, "
        "only what moved farther than `tolerance_sd`.",
    )
    tolerance_sd: float = Field(
        default=0.03, ge=0, description="How far a number may move, in standard deviations of the reference, without counting as moved."
    )
    min_nulls: float = Field(default=0.001, ge=0, le=1, description="Smallest change of the share of missing values that counts as drift.")
    min_new_category: float = Field(
        default=0.0, ge=0, le=1, description="Smallest share of rows with a category that the reference never had that counts as drift."
    )
    min_correlation: float = Field(
        default=0.1, ge=0, le=2, description="Smallest change of a correlation between two columns that counts as drift."
    )
    min_joint: float = Field(
        default=0.02,
        ge=0,
        description="Smallest distance of all columns together that counts as drift (maximum mean discrepancy: 0 the same, "
        "1 nothing in common).",
    )
    min_predictions: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Smallest share of predictions that must have moved to another score or class to count as drift.",
    )
    alarm_shift: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of rows that must have moved for drift of an input or of the predictions to alarm, "
        "and to ask for retraining once it lasts. Less is drift that the report tells of and nobody is called for.",
    )
    alarm_nulls: float = Field(default=0.01, ge=0, le=1, description="Change of the share of missing values from which on it alarms.")
    alarm_new_category: float = Field(default=0.01, ge=0, le=1, description="Share of rows with a new category from which on it alarms.")
    alarm_correlation: float = Field(default=0.2, ge=0, le=2, description="Change of a correlation from which on it alarms.")
    alarm_joint: float = Field(default=0.1, ge=0, description="Distance of all columns together from which on it alarms.")
    excess_loss: float = Field(default=0.01, gt=0, description="Excess of realised over expected loss that counts as a performance jump.")
    anomaly_detector: AnomalyDetector = Field(
        default="multivariate",
        description="What tells a strange request: a Gaussian of each column (`univariate_sum`, `univariate_max`) or of all together "
        "(`multivariate`), an isolation forest or a one-class SVM.",
    )
    alarms_per_day: float = Field(
        default=3, gt=0, description="Requests a day that may be called strange while nothing is wrong; the threshold follows from it."
    )

    def limits(self, kind: DriftKind) -> EffectLimits:
        """Effects from which on a significant finding of that kind is drift, and alarms."""
        limits: dict[DriftKind, EffectLimits] = {
            "shift": EffectLimits(self.min_shift, self.alarm_shift),
            "predictions": EffectLimits(self.min_predictions, self.alarm_shift),
            "nulls": EffectLimits(self.min_nulls, self.alarm_nulls),
            "new category": EffectLimits(self.min_new_category, self.alarm_new_category),
            "correlation": EffectLimits(self.min_correlation, self.alarm_correlation),
            "joint": EffectLimits(self.min_joint, self.alarm_joint),
        }
        return limits[kind]


class ServingSpec(Spec):
    """How a version is served."""

    threads: int = Field(default=4, ge=1, description="Threads of the serving process.")
    start_seconds: float = Field(default=60, gt=0, description="Longest wait for a new version to be ready.")
    timeout_seconds: float = Field(default=10, gt=0, description="Longest a request may take.")
    strict: bool = Field(
        default=False,
        description="Whether a request with a field that the version does not know is refused. Otherwise the field is "
        "ignored and named in the answer.",
    )
    cpus: float = Field(default=1, gt=0, description="CPUs of each replica (Kubernetes).")
    memory_gb: float = Field(default=1, gt=0, description="Memory of each replica, GB (Kubernetes).")
    replicas: int = Field(default=1, ge=1, description="Replicas of the champion at least (Kubernetes; on one machine it is one process).")
    max_replicas: int = Field(default=1, ge=1, description="Replicas of a version at most, by CPU load (Kubernetes).")

    @model_validator(mode="after")
    def _replicas_rise(self) -> ServingSpec:
        if self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, less than replicas, {self.replicas}")
        return self


class ModelSpec(Named):
    """One model: all that a DAG must know of it."""

    dataset: str = Field(description="Dataset it learns from.")
    task: Literal["binary", "multiclass", "regression"] = Field(description="What is predicted.")
    inputs: tuple[str, ...] = Field(min_length=1, description="Columns a prediction request carries; all known at prediction time.")
    label: str = Field(description="Column of the dataset from which the label is made (`features.label`).")
    classes: tuple[str, ...] = Field(default=(), description="Class names of a classifier, in score order.")
    slices: tuple[str, ...] = Field(default=(), description="Columns by which evaluation is broken down.")
    split: SplitSpec = Field(default=SplitSpec(), description="How snapshots are cut.")
    compute: ComputeSpec = Field(default=ComputeSpec(), description="What training may use.")
    training: TrainingSpec = Field(default=TrainingSpec(), description="How it is trained.")
    gate: GateSpec = Field(description="What a candidate must show.")
    release: ReleaseSpec = Field(default=ReleaseSpec(), description="How a candidate takes traffic.")
    retrain: RetrainSpec = Field(default=RetrainSpec(), description="When training starts by itself.")
    monitoring: MonitoringSpec = Field(default=MonitoringSpec(), description="What is watched.")
    serving: ServingSpec = Field(default=ServingSpec(), description="How it is served.")

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> ModelSpec:
        if (self.task == "regression") == bool(self.classes):
            raise ValueError(f"a {self.task} model has {'no classes' if self.task == 'regression' else 'classes'}")
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError("a binary model has two classes, the positive one last")
        return self

    def misfit(self, dataset: DatasetSpec) -> tuple[str, str] | None:
        """The first name here that the dataset does not know, and a sentence's part on it; None if the model can learn from it."""
        columns = {column.name for column in dataset.columns}
        for names, wanted, known in (
            ("inputs name", self.inputs, columns),
            ("label is", (self.label,), columns),
            ("slices name", self.slices, columns | set(CALENDAR_SLICES)),
        ):
            if missing := [name for name in wanted if name not in known]:
                return missing[0], f"its {names} {', '.join(missing)}, which the dataset {dataset.name} does not have"
        return None

    @model_validator(mode="after")
    def _metric_fits_the_task(self) -> ModelSpec:
        if (self.task == "regression") == (self.gate.metric == "log_loss"):
            fitting = "rmse or mse" if self.task == "regression" else "log_loss"
            raise ValueError(f"the gate of a {self.task} model has the metric {fitting}, not {self.gate.metric}")
        if unknown := sorted(set(self.gate.floors) - set(METRICS[self.task])):
            raise ValueError(
                f"the gate's floors name {', '.join(unknown)}, which is no metric of a {self.task} model: {', '.join(METRICS[self.task])}"
            )
        return self


def stand_in(name: str) -> ModelSpec:
    """What stands for a model whose spec is broken or gone, where only its name and how it is served matter:
    it names no dataset, and has the defaults of serving."""
    gate = GateSpec(metric="rmse", floors={})
    return ModelSpec(name=name, title=name, owner="perennial", dataset="", task="regression", inputs=("",), label="", gate=gate)
