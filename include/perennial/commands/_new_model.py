"""Generates the files of a new model from its dataset and a sample: spec, features, network, model card and test."""

from __future__ import annotations

import math
import textwrap
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial import discovery, encoding
from perennial.commands import _sample
from perennial.commands._feed_of_model import feeds_with
from perennial.commands._model_code import (
    autoencoder_of,
    derive_of,
    encoder_of,
    estimator_of,
    features_of,
    label_of,
    network_of,
    shapes_of,
)
from perennial.commands._sample import LeftOut, Sample
from perennial.commands._template import fill, listed, quoted, titled
from perennial.commands._wrongs import Wrongs
from perennial.counted import counted
from perennial.encoding import Columns
from perennial.errors import UnknownName
from perennial.pictures import as_png
from perennial.specs import NO_SCALARS, AnomalySpec, Column, DatasetSpec, LabelSpec, Learner, SplitSpec, TrainingSpec

if TYPE_CHECKING:
    import pandas

MOST_CLASSES = 50
LEAST_DAYS = 3  # one for each part of a split by time
TESTED_ROWS = 300  # of the newest days at least, where the sample has so many: of fewer, figures are rough
LEAF = 20  # rows of a tree's leaf at least, where there are so many
_MODEL: dict[Learner, str] = {"lightning": "model.py", "sklearn": "estimator.py"}  # templates of model.py, by learner; the others have none
_MADE_BY: dict[Learner, str] = {
    "lightning": "the network of `model.py` (learner `lightning`).",
    "boosted": "trees of LightGBM (learner `boosted`), whose hyperparameters are in `spec.py`.",
    "sklearn": "the estimator of `model.py` (learner `sklearn`).",
    "onnx": "a file that was made elsewhere (learner `onnx`): put `model.onnx` into this folder, beside `features.py`.",
}
LEAST_ALARMS = 5  # of the validation rows, whose scores the threshold is chosen by
MOST_BUDGET = 0.25  # share of the rows: what comes more often is not unusual
CHANCE = 0.5  # ROC AUC of scores that mean nothing
_NEEDS_FILE = '@pytest.mark.skipif(not Path(features.__file__).with_name("model.onnx").is_file(), reason="model.onnx is yet to come")\n'


@dataclass(frozen=True)
class Plan:
    """The properties of a new model that follow from its dataset and a sample."""

    name: str
    learner: Learner
    dataset: DatasetSpec
    label: Column | None  # None of an anomaly model that is measured by none
    task: str
    classes: tuple[str, ...]
    inputs: tuple[Column, ...]
    clock: str  # the event time, where its hour or weekday is a feature
    cycles: tuple[tuple[str, int], ...]  # `hour` or `weekday` -> period
    left_out: tuple[LeftOut, ...]
    split: SplitSpec
    training: TrainingSpec
    floor: float | None
    centre: tuple[float, float] | None  # mean and standard deviation of a regression's label
    read_from: str  # the sample, or the snapshot
    labels: LabelSpec | None = None  # where the label comes after the rows
    told: tuple[str, str] | None = None  # of an anomaly model: what its label says of usual rows and of anomalies
    budget: float | None = None  # of an anomaly model: share of the rows that may raise an alarm
    suspicious: tuple[LeftOut, ...] = ()  # of an anomaly model: inputs that may be known only after the label

    @property
    def numbers(self) -> list[str]:
        """Inputs that are numbers."""
        return [c.name for c in self.inputs if c.type in ("int", "float", "bool")]

    @property
    def texts(self) -> list[str]:
        """Inputs that are free text, or lists of words."""
        return [c.name for c in self.inputs if c.type == "text" or c.of == "string"]

    @property
    def series(self) -> list[str]:
        """Inputs that are lists of numbers."""
        return [c.name for c in self.inputs if c.type == "list" and c.of in ("int", "float")]

    @property
    def grids(self) -> list[Column]:
        """Inputs that are arrays or pictures."""
        return [c for c in self.inputs if c.type in ("array", "image")]

    @property
    def categories(self) -> list[str]:
        """Inputs that are words."""
        return [c.name for c in self.inputs if c.type == "string"]


def model_files(
    name: str,
    dataset: str | None,
    label: str | None,
    task: str | None,
    sample: Sample | None,
    inputs: Sequence[str] = (),
    labels: LabelSpec | None = None,
    learner: Learner = "lightning",
) -> tuple[dict[Path, str], list[str]]:
    """The files of a new model, and a line for each thing that was left out or decided. Raises UnknownName: something must be said.

    It learns from the columns `inputs`, or from all that are fit for it, by that learner; its label is of the feed that `labels` names,
    if it is given: the sample has it then.
    """
    spec = asked_dataset(dataset, label, task, labels.dataset if labels else None, learner)
    if sample is None:
        raise UnknownName(
            f"Give a sample file of {dataset}, `--sample FILE`, or ingest one first (perennial land FILE --dataset {dataset}): "
            "classes, splits and floors are read from the rows, and what is better no input."
        )
    missing = [c.name for c in spec.columns if c.name not in sample.names]
    if missing:
        raise UnknownName(
            f"{sample.path} has no column {' and no column '.join(missing)}: give a sample of {dataset}; its columns are "
            f"{', '.join(sample.names)}."
        )
    column = (discovery.dataset(labels.dataset) if labels else spec).column(label) if label else None
    plan = replace(_plan(name, learner, spec, column, task, sample, inputs), labels=labels)
    metric = {"regression": "rmse", "anomaly": "alarm_share"}.get(plan.task, "log_loss")
    time = [plan.clock] if plan.clock else []
    row = {c.name: _value_of(c) for c in plan.inputs} | dict.fromkeys(time, "2024-01-01T10:00:00")
    values = {
        "name": name,
        "title": titled(name),
        "owner": spec.owner,
        "dataset": spec.name,
        "task": plan.task,
        "predicts": f"`{label}`" if plan.task != "anomaly" else "how unusual a row is" + (f", measured by `{label}`" if label else ""),
        "metric": metric,
        "inputs": listed([*time, *(c.name for c in plan.inputs)]),
        "row": repr(row),
        "not_inputs": "".join(f"{line}\n" for one in plan.left_out for line in _comment(f"No input: {quoted(one.column)}, {one.why}.")),
        "left_out": "; ".join(f"`{one.column}` ({one.why})" for one in plan.left_out) or "nothing",
        **_gate_parts(plan, metric),
        **_spec_parts(plan),
        **_label_parts(plan),
        **_code(plan, sample),
    }
    folder, tests = Path("include/perennial_models", name), Path("tests/unit/perennial_models", name)
    files = {
        folder / "__init__.py": f'"""{values["title"]}."""\n',
        **{folder / f: fill(f"model/{f}", values) for f in ("spec.py", "features.py", "README.md")},
        tests / f"test_{name}_features.py": fill("model/test_features.py", values),
    }
    model = "autoencoder.py" if (plan.task, learner) == ("anomaly", "lightning") else _MODEL.get(learner)
    cycles = [f"features of the time {plan.clock}: {' and '.join(what for what, _ in plan.cycles)}"] if plan.clock else []
    if model:
        files[folder / "model.py"] = fill(f"model/{model}", values)
    return files, [
        *([] if learner == "lightning" else [f"made by {values['made_by']}"]),
        *_task_words(plan, task),
        *_sample.named(plan.left_out),
        *cycles,
        _limit_words(plan, metric),
        _split_words(plan),
    ]


def asked_dataset(
    dataset: str | None, label: str | None, task: str | None, labels: str | None = None, learner: Learner = "lightning"
) -> DatasetSpec:
    """The dataset of a model that a person asks for, whose label is its own or of the label feed that `labels` names; an anomaly model
    needs none.

    Raises UnknownName, with a line for each thing that is wrong.
    """
    wrongs, spec, feed = Wrongs(), None, None
    with wrongs:
        if task == "anomaly" and dataset is None:
            raise UnknownName("Say what the model learns from: --dataset NAME.")
        if dataset is None or (label is None and task != "anomaly"):
            raise UnknownName(
                "Say what the model learns from and what it predicts: --dataset NAME --label COLUMN; only --task anomaly needs no label."
            )
    with wrongs:
        if task == "anomaly" and labels is not None:
            raise UnknownName(
                "An anomaly model learns from rows without labels: leave out --labels; outcomes that are reported measure it."
            )
    with wrongs:
        if task == "anomaly" and learner == "boosted":
            raise UnknownName("--learner boosted learns from labels, and an anomaly model has none: take lightning, sklearn or onnx.")
    with wrongs:
        spec = discovery.dataset(dataset) if dataset is not None else None
    with wrongs:
        feed = discovery.dataset(labels) if labels is not None else None
    with wrongs:
        if spec and label is not None and not labels and label not in [c.name for c in spec.columns]:
            later = "".join(f", or take it from the label feed {name}: --labels {name}" for name in feeds_with(spec, label))
            raise UnknownName(
                f"The dataset {dataset} has no column {label}: choose the label among {', '.join(c.name for c in spec.columns)}{later}."
            )
        if spec and not labels and label in spec.key:
            raise UnknownName(f"{label} names the rows of {dataset} (its key), so there is nothing to predict: choose another label.")
        source = feed if labels else spec
        kind = next((c.type for c in source.columns if c.name == label), "") if source else ""
        if kind in NO_SCALARS:
            raise UnknownName(f"{label} is a column of type {kind}, and a model predicts a class or a number: choose another label.")
        if task == "regression" and kind not in ("int", "float", ""):
            raise UnknownName(f"{label} is a {kind}, and a regression predicts a number: leave out --task, or choose another label.")
    wrongs.refuse()
    assert spec is not None
    return spec


def _plan(
    name: str, learner: Learner, spec: DatasetSpec, label: Column | None, task: str | None, sample: Sample, chosen: Sequence[str] = ()
) -> Plan:
    if task == "anomaly":
        return _plan_of_anomalies(name, learner, spec, label, sample)
    assert label is not None
    task = task or ("regression" if _is_amount(label, sample) else "multiclass")
    classes = () if task == "regression" else _classes(sample, label.name)
    if task != "regression":
        task = "binary" if len(classes) == 2 else "multiclass"
    out = _not_chosen(spec, label.name, chosen) if chosen else _sample.left_out(sample, spec, label.name, task)
    inputs, cycles = _inputs_of(spec, label, sample, out)
    known = sample.rows[sample.rows[label.name].notna()]
    if known.empty:
        raise UnknownName(f"{label.name} is known in no row of {sample.path}: give a sample that has outcomes.")
    split, training = _split_and_training(known, spec.event_time)
    values = known[label.name]
    spread = _sample.simple_rule_loss(values, task)
    if not math.isfinite(spread):
        raise UnknownName(
            f"The values of {label.name} in {sample.path} are too large for their spread to be a number: give it another unit."
        )
    if task == "regression" and not spread:
        raise UnknownName(f"{label.name} is the same in all rows of {sample.path}: give a sample in which it varies.")
    return Plan(
        name=name,
        learner=learner,
        dataset=spec,
        label=label,
        task=task,
        classes=classes,
        inputs=inputs,
        clock=spec.event_time if cycles else "",
        cycles=cycles,
        left_out=tuple(out),
        split=split,
        training=training,
        floor=_sample.rounded_up(spread),
        centre=(float(values.mean()), spread) if task == "regression" else None,
        read_from=sample.called,
    )


def _plan_of_anomalies(name: str, learner: Learner, spec: DatasetSpec, label: Column | None, sample: Sample) -> Plan:
    """The plan of a model without labels; where rows have one, it says which of them were anomalies."""
    told = _told_apart(sample, label.name) if label else None
    out = _sample.left_out(sample, spec, None, "anomaly")  # what tells all of a label is welcome, as the label trains nothing
    gone = {label.name if label else "", *(one.column for one in out)}
    words = [column.name for column in spec.columns if column.name not in gone and (column.type == "text" or column.of == "string")]
    out += [LeftOut(name, "its words would drown all other columns; features.py is yours to count some of them") for name in words]
    inputs, cycles = _inputs_of(spec, label, sample, out)
    split, training = _split_and_training(sample.rows, spec.event_time)
    validation, test = _held_out(sample.rows, spec.event_time, split)
    share = float((sample.rows[label.name].map(encoding.text) == told[1]).mean()) if label and told else 0.0
    return Plan(
        name=name,
        learner=learner,
        dataset=spec,
        label=label,
        task="anomaly",
        classes=(),
        inputs=inputs,
        clock=spec.event_time if cycles else "",
        cycles=cycles,
        left_out=tuple(out),
        split=split,
        training=training,
        floor=CHANCE if share * test >= LEAST_ALARMS else None,
        centre=None,
        read_from=sample.called,
        told=told,
        suspicious=tuple(
            LeftOut(column.name, why)
            for column in inputs
            if label and (why := _sample.too_good(column, sample.rows, spec, label.name, "binary"))
        ),
        budget=min(MOST_BUDGET, _sample.rounded_up(max(AnomalySpec().budget, share, LEAST_ALARMS / validation), 2)),
    )


def _inputs_of(
    spec: DatasetSpec, label: Column | None, sample: Sample, out: Sequence[LeftOut]
) -> tuple[tuple[Column, ...], tuple[tuple[str, int], ...]]:
    """The columns that a new model learns from, and the parts of the event time. Raises UnknownName: there are none."""
    gone = {*([label.name] if label else []), *(one.column for one in out)}
    inputs = tuple(c for c in spec.columns if c.name not in gone and c.type != "timestamp")
    cycles = _cycles(sample.rows[spec.event_time]) if spec.event_time and spec.event_time not in gone else ()
    if not inputs and not cycles:
        why = "; ".join(f"{one.column}: {one.why}" for one in out) or f"{label.name if label else spec.columns[0].name} is its only column"
        raise UnknownName(f"The dataset {spec.name} has nothing to learn from: {why}.")
    return inputs, cycles


def _told_apart(sample: Sample, label: str) -> tuple[str, str]:
    """What a label says of usual rows and of anomalies: 0 and 1, False and True, or the more and the less frequent of two words."""
    counts = sample.rows[label].map(encoding.text).value_counts()
    values = sorted(counts.index)
    if len(values) != 2:
        raise UnknownName(
            f"{label} has {len(values)} value{'' if len(values) == 1 else 's'} in {sample.path}, and whether a row is an anomaly is one of "
            "two: choose another label, or leave --label out."
        )
    if values not in (["0", "1"], ["False", "True"]):
        values.sort(key=lambda value: -counts[value])
    return values[0], values[1]


def _task_words(plan: Plan, asked: str | None) -> list[str]:
    """A line for the task, where nobody named it; of an anomaly model for what its label says."""
    if plan.told and plan.label:
        return [
            f"label: a row was an anomaly where {plan.label.name} is {plan.told[1]}, and none where it is {plan.told[0]}",
            *(f"an input all the same: {one.column}: {one.why}" for one in plan.suspicious),
        ]
    if asked or not plan.label:
        return []
    label = plan.label.name
    if plan.task != "regression":
        shown = ", ".join(plan.classes[:5]) + (f" and {len(plan.classes) - 5} more" if len(plan.classes) > 5 else "")
        other = ", or regression if they are amounts" if plan.label.type in ("int", "float") else ""
        return [f"task: {plan.task}, since {label} has the values {shown}; --task says otherwise{other}"]
    why = "has numbers with a point" if plan.label.type == "float" else f"is a whole number of more than {MOST_CLASSES} values"
    return [f"task: regression, since {label} {why}; --task multiclass or binary if they are classes"]


def _is_amount(label: Column, sample: Sample) -> bool:
    """Whether a label is a number to be predicted, rather than a class: one with a point, or a whole one of many values."""
    return label.type == "float" or (label.type == "int" and sample.rows[label.name].nunique() > MOST_CLASSES)


def _not_chosen(spec: DatasetSpec, label: str, chosen: Sequence[str]) -> list[LeftOut]:
    """The columns that were not named as inputs. Raises UnknownName: one that was cannot be one."""
    names = [column.name for column in spec.columns]
    for name in chosen:
        if name not in names:
            raise UnknownName(f"The dataset {spec.name} has no column {name}: choose the inputs among {', '.join(names)}.")
        if name == label:
            raise UnknownName(f"{label} is what is to be predicted, and a model that is told the answer learns nothing: leave it out.")
        if spec.column(name).type == "timestamp" and name != spec.event_time:
            raise UnknownName(f"{name} is a time other than the event time, and features of it are yours to write: leave it out.")
    return [LeftOut(name, "it was not chosen") for name in names if name not in (*chosen, label)]


def _cycles(times: pandas.Series) -> tuple[tuple[str, int], ...]:
    """The useful parts of the event time: the hour if it varies, the weekday if the sample spans a week."""
    import pandas

    known = pandas.to_datetime(times.dropna(), utc=True)
    hours = (("hour", 24),) if known.dt.hour.nunique() > 1 else ()
    return (*hours, *((("weekday", 7),) if known.dt.normalize().nunique() >= 7 else ()))


def _split_and_training(known: pandas.DataFrame, event_time: str) -> tuple[SplitSpec, TrainingSpec]:
    """Split and training settings that follow from the labelled rows of the sample: by its days, or at random if it has none."""
    usual, training = SplitSpec(), TrainingSpec()
    if not event_time or _sample.days_of(known, event_time) < LEAST_DAYS:
        rows = int(len(known) * (1 - usual.test_share - usual.validation_share))
        split = SplitSpec(by="random", min_train_rows=max(1, min(usual.min_train_rows, rows * 4 // 5)))
        return split, _batches_for(rows, training)
    rows_of_days = _sample.rows_of_days(known, event_time)
    days, of_all = len(rows_of_days), sum(rows_of_days)
    test = _newest_days(rows_of_days, round(days / 5), min(TESTED_ROWS, of_all // 5), most=days - 2)
    validation = _newest_days(rows_of_days[:-test], round(days / 7), min(TESTED_ROWS, of_all // 7), most=days - test - 1)
    rows = int(sum(rows_of_days[: -test - validation]))
    split = SplitSpec(test_days=test, validation_days=validation, min_train_rows=max(1, min(usual.min_train_rows, rows * 4 // 5)))
    return split, _batches_for(rows, training)


def _held_out(rows: pandas.DataFrame, event_time: str, split: SplitSpec) -> tuple[int, int]:
    """How many rows of a sample are in the validation and in the test part, about."""
    if split.by == "random":
        return max(1, int(len(rows) * split.validation_share)), int(len(rows) * split.test_share)
    rows_of_days, test = _sample.rows_of_days(rows, event_time), split.test_days
    return max(1, sum(rows_of_days[-test - split.validation_days : -test])), sum(rows_of_days[-test:])


def _newest_days(rows_of_days: Sequence[int], days: int, rows: int, most: int) -> int:
    """So many of the newest days, or more where these have fewer than so many rows; one at least."""
    days = min(max(1, days), most)
    while days < most and sum(rows_of_days[-days:]) < rows:
        days += 1
    return days


def _batches_for(rows: int, training: TrainingSpec) -> TrainingSpec:
    steps = max(1, rows // 20)  # about twenty gradient steps in an epoch
    batch = min(training.batch_size, max(16, 1 << (steps.bit_length() - 1)))
    return training.model_copy(update={"batch_size": batch})


def _rule(plan: Plan) -> str:
    what = f"the mean of {plan.label.name}" if plan.task == "regression" and plan.label else "each class as often as it comes"
    return f"what always saying {what} loses on {plan.read_from}"


def _limit_words(plan: Plan, metric: str) -> str:
    """A line for what the gate asks for first: the floor, or the budget of alarms."""
    if plan.budget is None:
        return f"floor: {metric} {plan.floor:g}, {_rule(plan)}"
    floor = f"; floor: roc_auc {plan.floor:g}, which chance reaches" if plan.floor else ""
    return (
        f"budget: {plan.budget:.2g} of the rows may raise an alarm ({AnomalySpec().budget:g}, or more where {plan.read_from} is small or "
        f"its label names more); anomaly=AnomalySpec(budget=…) in spec.py says otherwise{floor}"
    )


def _gate_parts(plan: Plan, metric: str) -> dict[str, str]:
    """The lines of `spec.py` that say what the gate asks for."""
    if plan.budget is None:
        return {"rule": f"The floor is the worst you would let serve: {_rule(plan)}.", "floors": f'"{metric}": {plan.floor:g}'}
    if plan.floor:
        return {"rule": "The floor is the worst you would let serve: what chance reaches.", "floors": f'"roc_auc": {plan.floor:g}'}
    return {"rule": "Without labels there is no floor: alarms must keep their budget, and trainings on other rows agree.", "floors": ""}


def _split_words(plan: Plan) -> str:
    """A line for the split, which says what to write where another is wanted."""
    if plan.split.by == "random":
        why = f"{plan.read_from} has less than {LEAST_DAYS} days" if plan.dataset.event_time else f"{plan.dataset.name} has no event time"
        return f"split: each row at random, since {why}; by='group' keeps rows together that belong together"
    test, validation, least = plan.split.test_days, plan.split.validation_days, plan.split.min_train_rows
    return (
        f"split: by {plan.dataset.event_time}, the newest {counted(test, 'day')} for test and {validation} before them for validation, "
        f"about a fifth and a seventh of the days of {plan.read_from}, and {least} rows to train on at least; "
        "split=SplitSpec(test_days=…, validation_days=…) in spec.py says otherwise"
    )


def _spec_parts(plan: Plan) -> dict[str, str]:
    """The lines of `spec.py` that differ from the defaults."""
    usual, names, lines = SplitSpec(), ["GateSpec", "ModelSpec"], []
    if plan.labels:
        names.insert(1, "LabelSpec")
        given_by = plan.labels
        lines.append(
            f"    labels=LabelSpec(dataset={quoted(given_by.dataset)}, key=({listed(given_by.key)}), "
            f"columns=({listed(given_by.columns)}), known_at={quoted(given_by.known_at)}),"
        )
    if plan.split != usual:
        names.append("SplitSpec")
        given = plan.split
        how = 'by="random"' if given.by == "random" else f"test_days={given.test_days}, validation_days={given.validation_days}"
        lines.append(f"    split=SplitSpec({how}, min_train_rows={given.min_train_rows}),")
    options = []
    if plan.learner != "lightning":
        lines.append(f"    learner={quoted(plan.learner)},")
    elif plan.training.batch_size != TrainingSpec().batch_size:
        options.append(f"batch_size={plan.training.batch_size}")
    if plan.learner == "boosted":
        leaf = min(LEAF, max(1, plan.split.min_train_rows // 20))
        less = f', "min_data_in_leaf": {leaf}' if leaf < LEAF else ""
        options.append(f'hyperparameters={{"learning_rate": 0.05, "num_leaves": 15{less}}}')
    if plan.centre and plan.learner == "lightning":
        options.append(f'hyperparameters={{"target_mean": {plan.centre[0]:.6g}, "target_scale": {plan.centre[1]:.6g}}}')
    if plan.budget is not None:
        names.insert(0, "AnomalySpec")
        lines.append(f"    anomaly=AnomalySpec(budget={plan.budget:.2g}),")
    if options:
        names.append("TrainingSpec")
        lines.append(f"    training=TrainingSpec({', '.join(options)}),")
    return {"spec_imports": ", ".join(names), "spec_lines": "".join(f"{line}\n" for line in lines)}


def _label_parts(plan: Plan) -> dict[str, str]:
    """What `spec.py` and the test say of classes and label; nothing of an anomaly model without one."""
    classes = f"    classes=({listed(plan.classes)}),\n" if plan.task != "anomaly" else ""
    if not plan.label:
        return {"target_lines": classes, "label_tests": ""}
    unknown = "neither counts for the model nor against it" if plan.task == "anomaly" else "is left out of training, not guessed"
    return {
        "target_lines": f"{classes}    label={quoted(plan.label.name)},\n",
        "label_tests": fill("model/test_label.py", {"unknown": unknown}),
    }


def _comment(text: str) -> list[str]:
    """A comment between the lines of a call."""
    return textwrap.wrap(text, 120, initial_indent="    # ", subsequent_indent="    # ", break_long_words=False, break_on_hyphens=False)


def _classes(sample: Sample, label: str) -> tuple[str, ...]:
    values = sorted(sample.rows[label].dropna().unique().tolist())
    if not 2 <= len(values) <= MOST_CLASSES:
        values_of_it = f"{label} has {len(values)} value{'' if len(values) == 1 else 's'} in {sample.path}"
        advice = "--task regression" if values and isinstance(values[0], (int, float)) else "choose another label"
        raise UnknownName(f"{values_of_it}, and a model tells 2 to {MOST_CLASSES} classes apart: give a fuller sample, or {advice}.")
    return tuple(str(encoding.text(value)) for value in values)


def _code(plan: Plan, sample: Sample) -> dict[str, str]:
    """The parts of `features.py`, `model.py`, the model card and the test that depend on columns and learner."""
    label, used = label_of(plan)
    network = autoencoder_of if plan.task == "anomaly" else network_of
    rows = {name: sample.rows[name].to_numpy() for name in (*([plan.clock] if plan.clock else []), *(c.name for c in plan.inputs))}
    features = features_of(plan, rows)
    uses = {"Columns", "Encoder", *features.uses, *used}
    brought = _brought(plan, rows) if plan.learner == "onnx" else ""
    return {
        "imports": ", ".join(sorted(uses, key=lambda w: (w.islower(), w))),
        "label": label,
        "constants": features.constants,
        "derive": derive_of(features),
        "helpers": features.helpers,
        "fit_words": features.fit_words,
        "fit_body": features.fit_body,
        "encode_words": features.encode_words,
        "encode_body": features.encode_body,
        "made_by": _MADE_BY[plan.learner] + (f" {brought}" if brought else ""),
        "nulls": "" if features.nulls_are_kept else "; the tensors stay finite",
        "assert_finite": "" if features.nulls_are_kept else "\n        assert np.isfinite(tensor).all()",
        **({"test_paths": "from pathlib import Path\n\n", "needs_file": _NEEDS_FILE} if brought else {"test_paths": "", "needs_file": ""}),
        **(network(plan) if plan.learner == "lightning" else estimator_of(plan) if plan.learner == "sklearn" else {}),
    }


def _brought(plan: Plan, rows: Columns) -> str:
    """What a file that is brought must look like."""
    shapes = shapes_of(plan, encoder_of(plan, rows), rows)
    inputs = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
    what = "[rows, 1], higher where a row is less usual" if plan.task == "anomaly" else "[rows, 1], the value"
    if plan.classes:
        what = f"[rows, {len(plan.classes)}], probabilities or logits of {', '.join(plan.classes)}"
    return f"Its inputs are {inputs}, or some of them, as `features.encode` gives them; its output is `scores` float32 {what}."


def _value_of(column: Column) -> Any:
    """A value for the test of a new model."""
    one = "a" if column.type in ("string", "text") or column.of == "string" else 1.0
    if column.type == "image":
        return b64encode(as_png(np.zeros((1, 1), np.uint8))).decode()
    if column.type == "array":
        return _Code(f"[1.0] * {math.prod(column.shape)}")
    return [one, one] if column.type == "list" else one


class _Code(str):
    """A value as a program writes it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
