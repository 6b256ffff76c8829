"""A model: what it predicts from which dataset, and all that is set for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from perennial.specs.anomaly import AnomalySpec
from perennial.specs.base import Spec
from perennial.specs.budget import BudgetSpec
from perennial.specs.columns import NO_SCALARS
from perennial.specs.compute import ComputeSpec
from perennial.specs.datasets import DatasetSpec
from perennial.specs.joins import JoinSpec, brought_by
from perennial.specs.monitoring import MonitoringSpec, RetrainSpec
from perennial.specs.named import Named
from perennial.specs.release import ReleaseSpec, ServingSpec
from perennial.specs.scoring import ScoringSpec
from perennial.specs.signals import OF_ANSWERS, OF_OUTCOMES
from perennial.specs.training import METRICS, GateSpec, SplitSpec, TrainingSpec

BOOSTED = {"max_epochs": 500, "patience": 30}  # rounds at most, and without a better loss, unless the spec says so
_OF_NETWORKS = {"monitor", "mode", "accumulate", "gradient_clip", "precision", "compile", "warm_start"}
_WEIGHTS = {"class_weights", "sample_weight"}
Learner = Literal["lightning", "boosted", "sklearn", "onnx"]
_UNCLASSED = ("regression", "anomaly")  # tasks without classes
_GATE_METRICS = {"regression": ("rmse", "mse"), "anomaly": ("alarm_share",)}  # of the others log_loss
CALENDAR_SLICES = ("month", "weekday", "hour")  # of the event time: slices that are no column of a dataset


class LabelSpec(Spec):
    """Labels that come after the rows: a dataset of their own, the label feed, joined to the rows as of the snapshot."""

    dataset: str = Field(
        description="The label feed: a dataset with the key, the label columns and the time at which each label became known. "
        "Several rows of one key are several labels: the latest one known counts, and an empty one takes the label back."
    )
    key: tuple[str, ...] = Field(
        min_length=1, description="Columns that join a label to its row, of the same name and type in both datasets."
    )
    columns: tuple[str, ...] = Field(
        min_length=1, description="Label columns that the feed brings. One of the same name in the model's dataset is not read."
    )
    known_at: str = Field(
        description="Timestamp column of the feed: when the label became known. A snapshot has only labels that were known by its moment, "
        "which is the newest time in rows and feed."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> LabelSpec:
        names = [*self.key, *self.columns, self.known_at]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"key, columns and known_at name {', '.join(twice)} twice: each is a column of its own")
        return self


class ModelSpec(Named):
    """One model: what it predicts from which dataset, and how it is trained, released, watched and served."""

    dataset: str = Field(description="Dataset that the model learns from.")
    task: Literal["binary", "multiclass", "regression", "anomaly"] = Field(
        description="Kind of prediction. `anomaly`: how unusual a row is, learned from rows without labels."
    )
    inputs: tuple[str, ...] = Field(min_length=1, description="Columns in a prediction request; all must be known at prediction time.")
    label: str = Field(
        default="",
        description="Column of the dataset, or of the label feed, from which the label is made (`features.label`). An anomaly model needs "
        "none: where some rows have one (1 for an anomaly, else 0), it measures and never trains.",
    )
    labels: LabelSpec | Literal["outcomes"] | None = Field(
        default=None,
        description="Label feed, where labels come after the rows. `outcomes`: the model learns from what was served, too: the inputs of "
        "its predictions as they were logged, with the outcomes that were reported. If unset, rows have their label.",
    )
    served_since: date | None = Field(
        default=None,
        description="With `labels` `outcomes`: the first day of event time whose rows are the predictions that were served; before it they "
        "are those of the dataset. If unset, the key tells them apart (all its columns must be inputs): of a row and a prediction of one "
        "key the prediction counts once its outcome is known, else the row.",
    )
    joins: tuple[JoinSpec, ...] = Field(
        default=(),
        description="Columns of other datasets, as they were known at the moment of each row (docs/joins.md). Training, evaluation, "
        "scores in batches and servers take them by one definition.",
    )
    classes: tuple[str, ...] = Field(default=(), description="Class names of a classifier, in the order of the scores.")
    slices: tuple[str, ...] = Field(default=(), description="Columns by which evaluation is broken down.")
    split: SplitSpec = Field(default=SplitSpec(), description="How snapshots are split.")
    learner: Learner = Field(
        default="lightning",
        description="What makes the model. `lightning`: the network of its `model.py`. `boosted`: LightGBM's trees on the encoded columns; "
        "there is no `model.py`. `sklearn`: the estimator of its `model.py`. `onnx`: a `model.onnx` in its folder, made elsewhere.",
    )
    compute: ComputeSpec = Field(default=ComputeSpec(), description="Resources for training.")
    training: TrainingSpec = Field(default=TrainingSpec(), description="How it is trained.")
    gate: GateSpec = Field(description="What a candidate must show.")
    anomaly: AnomalySpec | None = Field(default=None, description="With the task `anomaly`: how many alarms it may raise.")
    release: ReleaseSpec = Field(default=ReleaseSpec(), description="How traffic moves to a candidate.")
    retrain: RetrainSpec = Field(default=RetrainSpec(), description="When training starts automatically.")
    monitoring: MonitoringSpec = Field(default=MonitoringSpec(), description="What monitoring looks at.")
    serving: ServingSpec = Field(default=ServingSpec(), description="How it is served.")
    scoring: ScoringSpec = Field(default=ScoringSpec(), description="When rows are scored in batches, and how many at once.")
    review: Literal["weekly", "monthly", "never"] = Field(
        default="monthly",
        description="How often its review is sent to those who are told of its incidents: on Mondays, or on the first of the month.",
    )
    budget: BudgetSpec = Field(default=BudgetSpec(), description="How long the way of new data into traffic may take.")

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> ModelSpec:
        if (self.task in _UNCLASSED) == bool(self.classes):
            raise ValueError(f"{self._kind} model has {'no classes' if self.task in _UNCLASSED else 'classes'}")
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError("a binary model has two classes, the positive one last")
        return self

    @model_validator(mode="after")
    def _labels_fit_the_task(self) -> ModelSpec:
        if self.task != "anomaly":
            if self.anomaly is not None:
                raise ValueError(f'anomaly is for the task "anomaly", and this is {self.task}: leave it out')
            if "label" not in self.model_fields_set:
                raise ValueError('label is missing: name the column from which the label is made; only the task "anomaly" needs none')
            return self
        if self.anomaly is None:
            object.__setattr__(self, "anomaly", AnomalySpec())
        if self.learner == "boosted":
            raise ValueError("the learner boosted learns from labels, and an anomaly model has none: take sklearn, lightning or onnx")
        if self.labels is not None:
            raise ValueError(
                "an anomaly model learns from rows without labels: leave out labels; outcomes that are reported measure it anyway"
            )
        if self.label in self.inputs:
            raise ValueError(f"inputs name the label {self.label}: an anomaly model is measured by it and must not see it")
        if self.compute.nodes > 1 or self.compute.gpus > 1:
            raise ValueError(
                "an anomaly model is trained and refitted in one process: set compute.nodes to 1 and compute.gpus to 1 at most"
            )
        return self

    @model_validator(mode="after")
    def _training_fits_the_learner(self) -> ModelSpec:
        if self.learner != "lightning" and (self.compute.gpus or self.compute.nodes > 1):
            raise ValueError(f"the learner {self.learner} trains on the CPUs of one node: leave out compute.gpus and compute.nodes")
        given = self.training.model_fields_set & (set() if self.learner == "lightning" else _OF_NETWORKS)
        given |= self.training.model_fields_set & (_WEIGHTS if self.learner in ("sklearn", "onnx") else set())
        if given:
            raise ValueError(f"training.{', training.'.join(sorted(given))} mean nothing to the learner {self.learner}: leave them out")
        if self.learner == "boosted":  # rounds are more than epochs, and cheaper
            usual = {name: value for name, value in BOOSTED.items() if name not in self.training.model_fields_set}
            object.__setattr__(self, "training", self.training.model_copy(update=usual))
        return self

    @property
    def _kind(self) -> str:
        return f"an {self.task}" if self.task == "anomaly" else f"a {self.task}"

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that a training reads: the model's own, its label feed if it has one, and those that it joins."""
        return tuple(dict.fromkeys((*self.awaited, *(join.dataset for join in self.joins))))

    @property
    def awaited(self) -> tuple[str, ...]:
        """The datasets whose new rows start a training: its own, and its label feed. What joins find of the rows that there are stays as it
        is when more of the joined rows come."""
        return (self.dataset, *((self.feed.dataset,) if self.feed else ()))

    @property
    def feed(self) -> LabelSpec | None:
        """Its label feed, if it has one."""
        return self.labels if isinstance(self.labels, LabelSpec) else None

    @property
    def learns_from_outcomes(self) -> bool:
        """Whether it learns from its own predictions, with the outcomes that were reported."""
        return self.labels == "outcomes"

    def misfit(
        self, dataset: DatasetSpec, feed: DatasetSpec | None = None, joined: Mapping[str, DatasetSpec] | None = None
    ) -> tuple[str, str] | None:
        """The first name in this spec that the datasets do not have, with a clause that says so; None if the model fits them.

        Args:
            dataset: that the model learns from.
            feed: its label feed, if it has one.
            joined: the datasets that it joins, by name.
        """
        own, others = dataset, joined or {}
        of_joins = (wrong for join in self.joins if (wrong := join.misfit(own, others[join.dataset])))
        if wrong := next(of_joins, None) or (self._feed_misfit(self.feed, own, feed) if self.feed and feed else None):
            return wrong
        dataset = own.joined_with(brought_by(self.joins, others))
        columns, later = {column.name for column in own.columns}, set(self.feed.columns if self.feed else ())
        brought = {name for join in self.joins for name in join.names}
        if early := [name for name in self.inputs if name in later]:
            return early[0], f"its inputs name {', '.join(early)}, which its label feed brings: at prediction time it is not known"
        for names, wanted, known in (
            ("inputs name", self.inputs, columns | brought),
            ("label is", self._label_named, columns | later),
            ("slices name", self.slices, columns | later | brought | set(CALENDAR_SLICES)),
            ("split.group names", self.split.group, columns),
        ):
            if missing := [name for name in wanted if name not in known]:
                return missing[0], f"its {names} {', '.join(missing)}, which the dataset {dataset.name} does not have{self._nor_joins}"
        if wrong := self._weight_misfit(own) or self._signal_misfit(dataset):
            return wrong
        for names, wanted in (("label is", self._label_named), ("slices name", self.slices), ("split.group names", self.split.group)):
            for column in (*dataset.columns, *(feed.columns if self.feed and feed else ())):
                if column.name in wanted and column.type in NO_SCALARS:
                    return column.name, f"its {names} {column.name}, which is a {column.type}: it must be a number, a word or a time"
        return self._served_misfit(dataset) if self.learns_from_outcomes else None

    @property
    def _nor_joins(self) -> str:
        return ", and no join brings" if self.joins else ""

    @property
    def _label_named(self) -> tuple[str, ...]:
        return (self.label,) if self.label else ()

    def _weight_misfit(self, dataset: DatasetSpec) -> tuple[str, str] | None:
        """The column that says how much each row counts, and why it cannot."""
        name = self.training.sample_weight
        kind = next((column.type for column in dataset.columns if column.name == name), None)
        if not name or kind in ("int", "float"):
            return None
        if kind is None:
            return name, f"its training.sample_weight names {name}, which the dataset {dataset.name} does not have"
        return name, f"its training.sample_weight names {name}, which is a {kind}: it must be a number"

    def _signal_misfit(self, dataset: DatasetSpec) -> tuple[str, str] | None:
        """The first column of which a signal of the release watches nothing, and why."""
        numbers = tuple(column.name for column in dataset.columns if column.name in self.inputs and column.type in ("int", "float", "bool"))
        known = {
            "predictions": (*(name for name in OF_ANSWERS if self.classes or name != "class"), *self.classes, *numbers),
            "outcomes": OF_OUTCOMES,
        }
        for one in self.release.signals:
            if one.source != "prometheus" and one.column not in known[one.source]:
                return one.column, (
                    f"its signal {one.name} watches {one.column}, which {one.source} do not have as a number: "
                    f"it can watch {', '.join(known[one.source])}"
                )
            if one.column == "class" and one.condition[1] not in self.classes:
                return (
                    one.name,
                    f"its signal {one.name} watches for the class {one.condition[1]}; its classes are {', '.join(self.classes)}",
                )
        return None

    def _served_misfit(self, dataset: DatasetSpec) -> tuple[str, str] | None:
        """The first name for which predictions cannot stand among the rows of the dataset, and why."""
        if self.label in self.inputs:
            return self.label, f"its inputs name its label {self.label}: an outcome is not known at prediction time"
        if self.served_since is None and (unknown := [name for name in dataset.key_columns if name not in self.inputs]):
            return "labels", (
                f'its labels are "outcomes", and a prediction cannot be told from a row of {dataset.name}: its inputs lack '
                f"{', '.join(unknown)} of the key. Say from which day on the predictions count in place of the rows, such as "
                'served_since="2026-01-01", or add the key to the inputs'
            )
        decides = {"time": (), "group": self.split.group, "random": dataset.key_columns}[self.split.by]
        if unknown := [name for name in decides if name not in self.inputs]:
            return unknown[0], (
                f"its split by {self.split.by} goes by {', '.join(unknown)}, which is no input, so that its predictions have none: "
                'split by "time", or add it to the inputs'
            )
        return None

    def _feed_misfit(self, labels: LabelSpec, dataset: DatasetSpec, feed: DatasetSpec) -> tuple[str, str] | None:
        """The first name for which labels cannot be joined to the rows, and why."""
        for field, wanted, source in (
            ("key", labels.key, dataset),
            ("key", labels.key, feed),
            ("columns", labels.columns, feed),
            ("known_at", (labels.known_at,), feed),
        ):
            names = {column.name for column in source.columns}
            if missing := [name for name in wanted if name not in names]:
                return missing[0], f"its labels.{field} names {', '.join(missing)}, which the dataset {source.name} does not have"
        for name in labels.key:
            if dataset.column(name).type in NO_SCALARS:
                return name, f"its labels.key {name} is a {dataset.column(name).type}: it must be a number, a word or a time"
            types = [source.column(name).type for source in (dataset, feed)]
            if types[0] != types[1]:
                return name, f"its labels.key {name} is {types[0]} in {dataset.name} and {types[1]} in {feed.name}: they must be the same"
        known_at, of_feed = feed.column(labels.known_at), f"its label feed {feed.name} has"
        takes_corrections = feed.key and set(feed.key) <= {*labels.key, labels.known_at}
        checks = (
            (self.label, self.label in labels.columns, f"its label is {self.label}, which labels.columns does not name"),
            (
                known_at.name,
                known_at.type == "timestamp" and not known_at.nullable,
                f"its labels.known_at {known_at.name} must be a timestamp column of {feed.name} that is never missing",
            ),
            (
                feed.name,
                takes_corrections,
                f"{of_feed} the key {', '.join(feed.key) or '(none)'}: it must be {', '.join((*labels.key, labels.known_at))}, "
                "so that a later label of the same row can land",
            ),
            (
                feed.name,
                feed.time_zone == dataset.time_zone,
                f"{of_feed} the time zone {feed.time_zone} and its dataset {dataset.name} {dataset.time_zone}: give them the same",
            ),
        )
        return next(((word, why) for word, holds, why in checks if not holds), None)

    @model_validator(mode="after")
    def _joins_bring_names_once(self) -> ModelSpec:
        names = [name.casefold() for join in self.joins for name in join.names]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"joins bring {', '.join(twice)} twice: set prefix in one of them")
        if self.feed and (both := sorted(set(names) & {name.casefold() for name in self.feed.columns})):
            raise ValueError(f"joins and the label feed both bring {', '.join(both)}: set prefix in the join")
        return self

    @model_validator(mode="after")
    def _served_since_fits(self) -> ModelSpec:
        if self.served_since and not self.learns_from_outcomes:
            raise ValueError('served_since says which predictions a model learns from: set labels="outcomes", or leave it out')
        return self

    @model_validator(mode="after")
    def _training_fits(self) -> ModelSpec:
        training = self.training
        if training.precision == "16-mixed" and not self.compute.gpus:
            raise ValueError("precision '16-mixed' needs a GPU: set compute.gpus, or take 'bf16-mixed', which CPUs know too")
        if training.class_weights is not None and not self.classes:
            whose = "an anomaly model" if self.anomaly else "a regression"
            raise ValueError(f"class_weights need classes, and {whose} has none: leave them out, or weigh rows by sample_weight")
        named = set(training.class_weights) if isinstance(training.class_weights, dict) else set(self.classes)
        if wrong := sorted(named ^ set(self.classes)):
            raise ValueError(f"class_weights must name every class and nothing else; {', '.join(wrong)} is not in both")
        if training.sample_weight and training.sample_weight in (*self.inputs, self.label):
            raise ValueError(f"sample_weight names {training.sample_weight}, which is an input or the label: take a column of its own")
        if training.sample_weight and self.learns_from_outcomes:
            raise ValueError('sample_weight is a column of the dataset, and served predictions (labels="outcomes") have none: leave it out')
        return self

    @model_validator(mode="after")
    def _names_fit_the_task(self) -> ModelSpec:
        names = self.classes or {"regression": ("value",), "anomaly": ("score", "alarm")}[self.task]
        if self.serving.fallback_scores and set(self.serving.fallback_scores) != set(names):
            raise ValueError(f"serving.fallback_scores must name {', '.join(names)} and nothing else")
        shares = self.serving.fallback_scores.values() if self.classes else ()
        if shares and not (min(shares) >= 0 and math.isclose(sum(shares), 1, abs_tol=1e-6)):
            raise ValueError(f"serving.fallback_scores add up to {sum(shares):g}: those of classes are shares of 1, none below 0")
        fitting = _GATE_METRICS.get(self.task, ("log_loss",))
        if self.gate.metric not in fitting:
            raise ValueError(f"the gate of {self._kind} model has the metric {' or '.join(fitting)}, not {self.gate.metric}")
        if unknown := sorted(set(self.gate.floors) - set(METRICS[self.task])):
            raise ValueError(
                f"the gate's floors name {', '.join(unknown)}, which is no metric of {self._kind} model: {', '.join(METRICS[self.task])}"
            )
        return self

    @model_validator(mode="after")
    def _rules_fit_the_task(self) -> ModelSpec:
        for rule in self.monitoring.rules:
            if self.classes and rule.of not in self.classes:
                said = f"is about {rule.of!r}, which is no class" if rule.of else "does not say of which class"
                raise ValueError(f"the rule {rule.name!r} {said}: set of to one of {', '.join(self.classes)}")
            if not self.classes and rule.of:
                raise ValueError(f"the rule {rule.name!r} is about {rule.of!r}, and {self._kind} model has no classes: leave out of")
            if self.task == "regression" and rule.measure == "share":
                raise ValueError(f"the rule {rule.name!r} is of a share, and a regression answers values: take mean or quantile")
            if self.classes and rule.measure != "share" and not 0 < rule.limit < 1:
                raise ValueError(f"the rule {rule.name!r} has the limit {rule.limit:g}: scores of a class are between 0 and 1")
        return self


def stand_in(name: str) -> ModelSpec:
    """A substitute for a spec that is broken or gone, for uses that need only the name and the serving settings.

    It names no dataset and has the default serving settings."""
    gate = GateSpec(metric="rmse", floors={})
    return ModelSpec(name=name, title=name, owner="perennial", dataset="", task="regression", inputs=("",), label="", gate=gate)
