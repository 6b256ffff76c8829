"""How snapshots are split, how a model is trained, and what a candidate must show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from perennial.specs.base import Spec
from perennial.specs.budget import TrainingBudget
from perennial.specs.limits import RequirementSpec

HIGHER_IS_BETTER = frozenset(
    {"accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "rank_agreement", "alarm_agreement"}
)  # of all metrics; of the others the lower
CLASSIFIER_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "calibration_error")


METRICS: dict[str, tuple[str, ...]] = {
    "binary": CLASSIFIER_METRICS,
    "multiclass": CLASSIFIER_METRICS,
    "regression": ("mse", "rmse", "mae"),
    "anomaly": ("alarm_share", "rank_agreement", "alarm_agreement", "average_precision", "roc_auc", "precision", "recall"),
}  # that an evaluation gives


class SplitSpec(Spec):
    """How a snapshot is split: by event time (... train | validation | test -> newest), by groups, or at random."""

    by: Literal["time", "group", "random"] = Field(
        default="time",
        description="`time`: whole days, the newest for test. `group`: all rows of a group are in one part. `random`: each row by itself, "
        "where times mean nothing. The last two assign by a hash, so that a row keeps its part when others come.",
    )
    group: tuple[str, ...] = Field(default=(), description="Columns that together name a group, with `by='group'`.")
    test_days: int = Field(default=7, ge=1, description="By time: newest labelled days, used for evaluation only.")
    validation_days: int = Field(default=7, ge=1, description="By time: days before the test days, for early stopping and calibration.")
    train_days: int | None = Field(default=None, ge=1, description="By time: days before the validation days; all of them if unset.")
    test_share: float = Field(default=0.2, gt=0, lt=1, description="By group or at random: share of the groups or rows for test.")
    validation_share: float = Field(default=0.1, gt=0, lt=1, description="By group or at random: share for early stopping and calibration.")
    seed: int = Field(default=2013, ge=0, description="By group or at random: another seed gives another assignment.")
    min_train_rows: int = Field(default=500, ge=1, description="Training is refused with fewer labelled training rows than this.")
    max_unknown_labels: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Largest accepted share of labels that are not a class of the model. Such rows are left out and reported; "
        "with a larger share training is refused.",
    )

    @model_validator(mode="after")
    def _says_what_it_means(self) -> SplitSpec:
        if (self.by == "group") != bool(self.group):
            raise ValueError("by='group' and group=(columns) belong together: name the columns that rows of one group share")
        if self.by != "time" and (days := sorted(self.model_fields_set & {"test_days", "validation_days", "train_days"})):
            raise ValueError(f"{', '.join(days)} cut by time, and the split is by {self.by}: give test_share and validation_share")
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share and validation_share leave nothing to train on: together they must be below 1")
        return self

    def parameters(self) -> dict[str, str | int | float | None]:
        """What decides which rows train, flat; a split by time has its days alone."""
        if self.by == "time":
            return {name: getattr(self, name) for name in ("test_days", "validation_days", "train_days", "min_train_rows")}
        shares = {name: getattr(self, name) for name in ("test_share", "validation_share", "min_train_rows")}
        return {"split_by": self.by, "split_group": ",".join(self.group), **shares, "split_seed": self.seed}


class TrainingSpec(Spec):
    """How the LightningModule is trained."""

    max_epochs: int = Field(default=30, ge=1, description="Maximum number of passes over the training split.")
    patience: int = Field(default=4, ge=1, description="Early stopping: epochs in which `monitor` became no better.")
    monitor: str = Field(
        default="validation_loss",
        description="Figure by which training stops early and the best epoch is kept: `validation_loss`, `train_loss`, or "
        "`validation_<name>` of what the model's `metrics` gives.",
    )
    mode: Literal["min", "max"] = Field(default="min", description="Whether the lower or the higher value of `monitor` is better.")
    batch_size: int = Field(default=1024, ge=1, description="Rows of one gradient step, over all devices and nodes together.")
    accumulate: int = Field(
        default=1, ge=1, description="Parts into which the rows of one gradient step are cut: so much less memory, the same step."
    )
    gradient_clip: float | None = Field(
        default=None, gt=0, description="Largest norm of a step's gradient. Unset: the hyperparameter `gradient_clip`, else no limit."
    )
    precision: Literal["32", "bf16-mixed", "16-mixed"] = Field(
        default="32", description="Numbers of the layers while they train; `16-mixed` needs a GPU. Weights and what serves have 32 bits."
    )
    compile: bool = Field(default=False, description="Let torch.compile make the training step faster; needs a C++ compiler.")
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        default=None,
        description="How much the rows of each class count in the loss, by class name; `balanced`: all classes together equally much. "
        "Calibration takes out again what this does to the scores.",
    )
    sample_weight: str = Field(
        default="", description="Numeric column of the dataset that says how much each training row counts in the loss; never an input."
    )
    warm_start: bool = Field(
        default=False,
        description="Begin with the weights of the champion, where their shapes fit, rather than with random ones. Its digest is then part "
        "of what a version is made of.",
    )
    seed: int = Field(default=2013, ge=0, description="Seed of every random choice.")
    stall_minutes: float | None = Field(
        default=60, gt=0, description="A training that makes no step for so long ends with a fault, and may be tried again; unset: never."
    )
    told_stall_minutes: float = Field(
        default=30,
        gt=0,
        le=525_600,
        description="People are told of a training that makes no step for so long (and for three times as long as its last epoch took), "
        "also where its process is stopped and cannot end by itself. Reading and encoding the rows counts as one step.",
    )
    budget: TrainingBudget = Field(default=TrainingBudget(), description="What a training may use before it is ended.")
    hyperparameters: dict[str, float | int | str | bool] = Field(default_factory=dict, description="Passed to the model's constructor.")

    @model_validator(mode="after")
    def _clips_once(self) -> TrainingSpec:
        if self.gradient_clip is not None and "gradient_clip" in self.hyperparameters:
            raise ValueError("gradient_clip is set twice: leave it out of the hyperparameters")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate={self.accumulate} cuts the {self.batch_size} rows of a step into parts without rows: lower it")
        return self

    @property
    def clip(self) -> float | None:
        """Largest norm of a step's gradient; None without a limit."""
        return self.gradient_clip or float(self.hyperparameters.get("gradient_clip", 0.0)) or None

    def parameters(self) -> dict[str, str | int | float]:
        """What shapes the weights besides epochs, batches and hyperparameters, flat; only what is not as it always was."""
        flat: dict[str, str | int | float] = {
            name: getattr(self, name)
            for name in ("monitor", "mode", "accumulate", "gradient_clip", "precision", "compile", "sample_weight")
            if getattr(self, name) != type(self).model_fields[name].default
        }
        if self.class_weights == "balanced":
            return {**flat, "class_weights": "balanced"}
        return flat | {f"class_weights.{name}": weight for name, weight in sorted((self.class_weights or {}).items())}


class GateSpec(Spec):
    """The gate: what a candidate must show before it is registered."""

    metric: Literal["log_loss", "rmse", "mse", "alarm_share"] = Field(
        default="log_loss",
        description="Metric in which the margins are measured: `log_loss` for a classifier, `rmse` or `mse` for a regression. "
        "Candidate and champion are compared row by row, by log loss or squared error. `alarm_share` for a model without labels, whose "
        "alarms are held against its budget.",
    )
    floors: dict[str, float] = Field(description="Worst acceptable value of each metric on the test split.")
    requirements: dict[str, RequirementSpec] = Field(
        default={},
        description="By floor: the system requirement that it serves, and who answers for it. `perennial requirements` lists them.",
    )
    margin: float = Field(
        default=0.05,
        ge=0,
        description="How much worse than the champion a candidate may be, as a share of the champion's `metric` on the same rows. "
        "For `rmse` this is a larger share of the squared errors compared: 0.05 allows 1.05² of them. "
        "With 0 only a candidate that is shown to be better passes.",
    )
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Chance of registering a candidate that is worse by `margin` or more.")
    old_context_margin: float = Field(
        default=0.05,
        ge=0,
        description="How much worse a candidate may be on a slice of older data, as a share of the champion's `metric` there.",
    )
    told_refusals: int = Field(
        default=3,
        ge=1,
        description="Candidates that the gate refuses one after the other until people are told; one that passes ends it.",
    )
    resamples: int = Field(default=2000, ge=200, description="Number of bootstrap resamples.")

    @model_validator(mode="after")
    def _requirements_are_of_floors(self) -> GateSpec:
        if unknown := sorted(set(self.requirements) - set(self.floors)):
            raise ValueError(
                f"gate.requirements name {', '.join(unknown)}, which is no floor: give the floor, or leave the requirement out"
            )
        return self
