"""How snapshots are split, how a model is trained, and what a candidate must show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from perennial.specs.base import Spec

HIGHER_IS_BETTER = frozenset({"accuracy", "precision", "recall", "f1", "roc_auc"})  # of all metrics; of the others the lower
CLASSIFIER_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "calibration_error")


METRICS: dict[str, tuple[str, ...]] = {
    "binary": CLASSIFIER_METRICS,
    "multiclass": CLASSIFIER_METRICS,
    "regression": ("mse", "rmse", "mae"),
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
    patience: int = Field(default=4, ge=1, description="Early stopping: epochs without a better validation loss.")
    batch_size: int = Field(default=1024, ge=1, description="Rows of one gradient step, over all devices and nodes together.")
    seed: int = Field(default=2013, ge=0, description="Seed of every random choice.")
    hyperparameters: dict[str, float | int | str | bool] = Field(default_factory=dict, description="Passed to the model's constructor.")


class GateSpec(Spec):
    """The gate: what a candidate must show before it is registered."""

    metric: Literal["log_loss", "rmse", "mse"] = Field(
        default="log_loss",
        description="Metric in which the margins are measured: `log_loss` for a classifier, `rmse` or `mse` for a regression. "
        "Candidate and champion are compared row by row, by log loss or squared error.",
    )
    floors: dict[str, float] = Field(description="Worst acceptable value of each metric on the test split.")
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
    resamples: int = Field(default=2000, ge=200, description="Number of bootstrap resamples.")
