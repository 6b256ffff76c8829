"""Specs check themselves when they are made."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial.specs import (
    CRON_FIELDS,
    AlertSpec,
    AnomalySpec,
    Column,
    ComputeSpec,
    DatasetSpec,
    DriftKind,
    GateSpec,
    ModelSpec,
    MonitoringSpec,
    ReleaseSpec,
    RetrainSpec,
    TrainingSpec,
)

RMSE = GateSpec(metric="rmse", floors={})


def a_dataset(**changes):
    fields = {
        "name": "sales",
        "title": "Sales",
        "owner": "team",
        "columns": (Column(name="id", type="int"), Column(name="at", type="timestamp")),
        "key": ("id",),
        "event_time": "at",
    }
    return DatasetSpec(**(fields | changes))


def a_model(**changes):
    fields = {
        "name": "returns",
        "title": "Returns",
        "owner": "team",
        "dataset": "sales",
        "task": "binary",
        "inputs": ("id",),
        "label": "id",
        "classes": ("no", "yes"),
        "gate": GateSpec(floors={"roc_auc": 0.6}),
    }
    return ModelSpec(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Sales"}, "is not a name"),
        ({"key": ("nr",)}, "nr, which is no column"),
        ({"event_time": "id"}, "must be a timestamp"),
        ({"colour": "red"}, "Extra inputs"),
        ({"columns": (Column(name="at", type="timestamp"),) * 2, "key": ("at",)}, "named twice: at"),
        ({"time_zone": "CET+1"}, "'CET.1' is no time zone: use an IANA name such as Europe/Berlin, or UTC"),
        ({"time_zone": ""}, "is no time zone"),
    ],
)
def test_a_wrong_dataset_spec_is_refused_in_words(changes, words):
    """DM-01: Every mistake in a dataset spec is named."""
    with pytest.raises(ValidationError, match=words):
        a_dataset(**changes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "give it at least one sign that can be seen"),
        (" ", "give it at least one sign that can be seen"),
        (" amount", "no blanks around it"),
        ("amount\t", "no blanks around it"),
        ("am\nount", "no line breaks"),
        ("a\x00", "no line breaks"),
        ("_batch", "begin with _ are those of columns that tables add"),
        ("AT", "differ by upper and lower case alone: AT, at; tables cannot tell them apart"),
        ("event_time", "is not the event time, which is at: give it another name"),
    ],
)
def test_a_column_name_that_would_break_something_is_refused_in_words(name, words):
    """DM-01: Names that tables, files or reports could not tell apart or keep are refused when the spec is made."""
    with pytest.raises(ValidationError, match=words):
        a_dataset(columns=(Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name=name, type="int")))


def test_column_names_that_differ_by_their_encoding_alone_are_refused():
    """DM-01: Files' names are compared in one form, in which these two would be one."""
    with pytest.raises(ValidationError, match=r"differ by the encoding of their accents \(NFC\) alone"):
        a_dataset(
            columns=(
                Column(name="id", type="int"),
                Column(name="at", type="timestamp"),
                *(Column(name=n, type="int") for n in ("é", "e\u0301")),
            )
        )


@pytest.mark.parametrize("name", ["Straße", "amount (EUR)", "o'clock", 'say "hi"', "a.b/c~d", "batch_", "今日"])
def test_names_as_people_write_them_are_column_names(name):
    """DM-01: Blanks inside, quotes and letters of any language are no fault."""
    assert a_dataset(columns=(Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name=name, type="int"))).column(
        name
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ()}, "binary model has classes"),
        ({"task": "regression"}, "has no classes"),
        ({"classes": ("a", "b", "c")}, "two classes"),
        ({"inputs": ()}, "at least 1 item"),
        ({"gate": GateSpec(metric="mse", floors={})}, "gate of a binary model has the metric log_loss, not mse"),
        ({"task": "regression", "classes": ()}, "gate of a regression model has the metric rmse or mse, not log_loss"),
        ({"gate": GateSpec(floors={"rmsee": 1})}, "floors name rmsee, which is no metric of a binary model: accuracy, "),
    ],
)
def test_a_wrong_model_spec_is_refused_in_words(changes, words):
    """MO-01: Every mistake in a model spec is named."""
    with pytest.raises(ValidationError, match=words):
        a_model(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("no", "yes")}, "an anomaly model has no classes"),
        ({"learner": "boosted"}, "boosted learns from labels, and an anomaly model has none: take sklearn, lightning or onnx"),
        ({"labels": "outcomes"}, "leave out labels; outcomes that are reported measure it anyway"),
        ({"label": "id"}, "inputs name the label id: an anomaly model is measured by it and must not see it"),
        ({"compute": ComputeSpec(gpus=2)}, "trained and refitted in one process"),
        ({"gate": RMSE}, "the gate of an anomaly model has the metric alarm_share, not rmse"),
        ({"training": TrainingSpec(class_weights="balanced")}, "class_weights need classes, and an anomaly model has none"),
        ({"task": "regression", "gate": RMSE, "anomaly": AnomalySpec()}, 'anomaly is for the task "anomaly", and this is regression'),
        ({"task": "regression", "gate": RMSE}, "label is missing: name the column"),
    ],
)
def test_a_wrong_spec_without_labels_is_refused_in_words(changes, words):
    """MO-01: What means nothing to a model without labels is named; a label is missing for every other task."""
    fields = {"name": "pumps", "title": "Pumps", "owner": "team", "dataset": "sales", "task": "anomaly", "inputs": ("id",)}
    fields["gate"] = GateSpec(metric="alarm_share", floors={})
    assert ModelSpec(**fields).anomaly == AnomalySpec(budget=0.01)
    with pytest.raises(ValidationError, match=words):
        ModelSpec(**(fields | changes))


def test_the_gate_compares_by_losses_only():
    """MO-13: A metric that is no mean loss over rows is refused; each that is one is taken where it fits the task."""
    with pytest.raises(ValidationError, match="'log_loss', 'rmse', 'mse' or 'alarm_share'"):
        GateSpec(metric="roc_auc", floors={})
    for metric in ("rmse", "mse"):
        assert a_model(task="regression", classes=(), gate=GateSpec(metric=metric, floors={})).gate.metric == metric


CRON_VALUES = st.tuples(*(st.integers(least, most) for _, least, most in CRON_FIELDS))


@given(CRON_VALUES, st.lists(st.sampled_from(["{}", "*", "*/{}", "{}-{}", "{},{}"]), min_size=5, max_size=5))
def test_a_cron_line_is_taken(values, shapes):
    """OP-02: Numbers within their field, ranges, steps and lists."""
    line = " ".join(shape.format(max(value, 1), max(value, 1)) for shape, value in zip(shapes, values, strict=True))
    assert RetrainSpec(schedule=line).schedule == line


@pytest.mark.parametrize(
    ("line", "words"),
    [("nightly", "no cron line"), ("0 2 * *", "no cron line"), ("60 * * * *", "no minute"), ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day"),
     ("* * * 13 *", "no month"), ("* * * * 8", "no weekday"), ("5-1 * * * *", "no minute"), ("*/0 * * * *", "no minute"),
     ("1, * * * *", "no minute")],
)  # fmt: skip
def test_a_line_that_is_no_cron_line_is_refused(line, words):
    """OP-02: Airflow could make no DAG of it, for any model."""
    for spec, field in ((RetrainSpec, "schedule"), (RetrainSpec, "recalibrate_schedule"), (MonitoringSpec, "schedule")):
        with pytest.raises(ValidationError, match=words):
            spec(**{field: line})


@pytest.mark.parametrize("steps", [(), (5, 5, 100), (25, 5, 100), (5, 50), (0, 100)])
def test_canary_steps_rise_to_all_traffic(steps):
    """DE-20: Steps that fall, repeat or do not end at 100 % are refused."""
    with pytest.raises(ValidationError, match="must rise and end at 100"):
        ReleaseSpec(steps=steps)


def test_blue_green_is_a_strategy_of_one_step():
    """SE-07: It has no steps but 100 %: none need be given, and others are refused."""
    assert ReleaseSpec().strategy == "canary"
    assert ReleaseSpec(strategy="blue_green").steps == (100,)
    assert ReleaseSpec.model_validate(ReleaseSpec(strategy="blue_green").model_dump()).steps == (100,)
    with pytest.raises(ValidationError, match=r"steps are \(5, 100\), and the strategy blue_green has one, 100: leave steps out"):
        ReleaseSpec(strategy="blue_green", steps=(5, 100))


def test_specs_cannot_be_changed():
    """A spec is frozen."""
    with pytest.raises(ValidationError, match="frozen"):
        a_model().name = "other"


def test_a_column_is_found_by_name():
    """`column` returns the column, or raises KeyError."""
    assert a_dataset().column("at").type == "timestamp"
    with pytest.raises(KeyError):
        a_dataset().column("nr")


@pytest.mark.parametrize("kind", get_args(DriftKind))
def test_every_kind_of_drift_has_limits_of_its_own(kind):
    """MN-01: What alarms is drift; and the field that is named like a kind is its limit, the alarm of predictions being that of a shift."""
    name = kind.replace(" ", "_")
    gate, alarm = f"min_{name}", f"alarm_{'shift' if kind == 'predictions' else name}"
    usual = MonitoringSpec().limits(kind)
    assert usual.drift <= usual.alarm
    assert MonitoringSpec(**{gate: 0.31, alarm: 0.62}).limits(kind) == (0.31, 0.62)


def test_the_words_for_truth_are_those_of_requests():
    """DM-01: Specs are light and name them again: a form that contradicts what requests take would be kept for files alone."""
    from perennial import encoding, specs

    assert (specs.TRUE, specs.FALSE) == (encoding.TRUE, encoding.FALSE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"precision": "16-mixed"}}, "'16-mixed' needs a GPU: set compute.gpus, or take 'bf16-mixed'"),
        ({"training": {"class_weights": {"no": 1.0}}}, "class_weights must name every class and nothing else; yes is not in both"),
        ({"training": {"class_weights": {"no": 1.0, "yes": 0.0}}}, "greater than 0"),
        ({"training": {"class_weights": "balanced"}, "task": "regression", "classes": (), "gate": RMSE}, "a regression has none"),
        ({"training": {"sample_weight": "id"}}, "sample_weight names id, which is an input or the label"),
        ({"training": {"sample_weight": "care"}, "labels": "outcomes"}, "served predictions"),
        ({"training": {"gradient_clip": 1.0, "hyperparameters": {"gradient_clip": 1.0}}}, "gradient_clip is set twice"),
        ({"compute": {"accelerator": "tpu"}}, "accelerator 'tpu' needs gpus, how many of them a node has"),
        ({"compute": {"accelerator": "gpu"}}, "accelerator 'gpu' needs gpus"),
        ({"compute": {"accelerator": "cpu", "gpus": 2}}, "accelerator 'cpu' uses no GPU, and gpus is 2"),
        ({"training": {"batch_size": 4, "accumulate": 5}}, "accumulate=5 cuts the 4 rows of a step into parts without rows"),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_words(changes, words):
    """MO-03: Before anything is trained."""
    with pytest.raises(ValidationError, match=words):
        a_model(**changes)


@pytest.mark.parametrize("number", [math.inf, 1e300])
@pytest.mark.parametrize(
    ("spec", "field"), [(ComputeSpec, "longest_hours"), (ReleaseSpec, "remind_hours"), (TrainingSpec, "told_stall_minutes")]
)
def test_a_time_that_no_clock_can_count_is_refused(spec, field, number):
    """SE-09: A DAG with it could not be made, and a question could not be asked."""
    with pytest.raises(ValidationError, match=field):
        spec(**{field: number})
    assert ComputeSpec(longest_hours=87_600).longest("train").days == 3650


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        ({"channel": "mail", "template": {"text": "{subject}"}}, "the channel mail has a template, and a mail is not posted as JSON"),
        ({"channel": "ops", "template": {"text": "{subject}", "n": math.inf}}, "Input should be a finite number"),
        ({"channel": "ops", "template": {"text": "{subject}", "n": [math.nan]}}, "Input should be a finite number"),
    ],
)
def test_a_template_that_could_not_be_posted_is_refused_in_words(alert, words):
    """SY-31: One sentence, before anything goes wrong, instead of at the first alarm."""
    with pytest.raises(ValidationError, match=words):
        AlertSpec(**alert)


def test_weights_come_from_a_column_of_numbers():
    """MO-03: Of the model's dataset."""
    data = a_dataset(columns=(Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="care", type="float")))
    assert a_model(training={"sample_weight": "care"}).misfit(data) is None
    assert (
        "sample_weight names worth, which the dataset sales does not have" in a_model(training={"sample_weight": "worth"}).misfit(data)[1]
    )
    assert "sample_weight names at, which is a timestamp" in a_model(training={"sample_weight": "at"}).misfit(data)[1]


SHARE = {"name": "more bad news", "measure": "share", "of": "bad", "above": 0.5}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"above": None}, "needs one limit: set above or below"),
        ({"below": 0.1}, "needs one limit: set above or below"),
        ({"above": 1.2}, "a share is between 0 and 1"),
        ({"of": ""}, "does not say of which class: set of to one of fine, bad"),
        ({"of": "worse"}, "is about 'worse', which is no class: set of to one of fine, bad"),
        ({"measure": "mean", "above": 1.0}, "scores of a class are between 0 and 1"),
    ],
)
def test_a_rule_on_answers_is_refused_in_words(rule, words):
    """MN-02: A limit too many or none, a class that the model does not know, a limit that nothing reaches: one sentence with the name."""
    with pytest.raises(ValidationError, match=f"the rule 'more bad news' .*{words}"):
        a_model(task="binary", classes=("fine", "bad"), monitoring={"rules": [SHARE | rule]}, gate={"metric": "log_loss", "floors": {}})


def test_rules_of_models_without_classes():
    """MN-02: Values have no share and no class; an anomaly model's alarms have one. Two rules of one name are refused."""
    mean = {"name": "late", "measure": "mean", "above": 30}
    values = {"task": "regression", "classes": (), "gate": RMSE}
    assert a_model(**values, monitoring={"rules": [mean]}).monitoring.rules[0].limit == 30
    with pytest.raises(ValidationError, match="a regression answers values: take mean or quantile"):
        a_model(**values, monitoring={"rules": [SHARE | {"of": ""}]})
    with pytest.raises(ValidationError, match="a regression model has no classes: leave out of"):
        a_model(**values, monitoring={"rules": [mean | {"of": "late"}]})
    with pytest.raises(ValidationError, match="two rules are called 'late'"):
        MonitoringSpec(rules=[mean, mean])


def test_only_what_a_training_sets_is_a_parameter():
    """MO-15: So that a new setting makes no version of before a stranger."""
    assert TrainingSpec(max_epochs=3, batch_size=7, hyperparameters={"gradient_clip": 1.0}, stall_minutes=3).parameters() == {}
    assert TrainingSpec(monitor="validation_f1", mode="max", gradient_clip=2, class_weights={"b": 2, "a": 1}).parameters() == {
        "monitor": "validation_f1", "mode": "max", "gradient_clip": 2, "class_weights.a": 1, "class_weights.b": 2,
    }  # fmt: skip
    assert TrainingSpec(class_weights="balanced").parameters() == {"class_weights": "balanced"}
