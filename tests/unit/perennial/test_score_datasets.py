"""Datasets whose rows are the scores of a model: what they have follows from it, and what cannot be is told where specs are found."""

from __future__ import annotations

import sys
from datetime import date, datetime, timezone
from pathlib import Path

import pytest

import perennial_datasets
import perennial_models
from perennial import discovery
from perennial.errors import SpecBroken
from perennial.score_datasets import Written, why_not, with_scores
from perennial.specs import AnomalySpec, Column, DatasetSpec, GateSpec, GroupSpec, ModelSpec
from perennial.testing import small_dataset, small_model

SCORED = """
from perennial.specs import DatasetSpec
DATASET = DatasetSpec(name={name!r}, title="T", owner="o", scores_of={model!r})
"""
READER = """
from perennial.specs import GateSpec, LabelSpec, ModelSpec
MODEL = ModelSpec(
    name={name!r}, title="M", owner="o", dataset={dataset!r}, task="regression", inputs={inputs!r}, label={label!r},
    gate=GateSpec(metric="rmse", floors={{"rmse": 1.0}}),
)
"""


def declared(**more) -> DatasetSpec:
    return DatasetSpec(name="delay_scores", title="T", owner="o", scores_of="small_delays", **more)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Datasets and models beside the project's own."""
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(perennial_datasets, "__path__", [*perennial_datasets.__path__, str(tmp_path)])
    monkeypatch.setattr(perennial_models, "__path__", [*perennial_models.__path__, str(tmp_path / "models")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [m for m in sys.modules if m.startswith(("perennial_datasets.extra", "perennial_models.extra"))]:
        del sys.modules[name]


def reader(folder: Path, name: str, dataset: str, inputs: tuple[str, ...] = ("score_late",), label: str = "score_on_time") -> None:
    (folder / "models" / name).mkdir()
    (folder / "models" / name / "__init__.py").touch()
    (folder / "models" / name / "spec.py").write_text(READER.format(name=name, dataset=dataset, inputs=inputs, label=label))


def why(name: str) -> str:
    return next(one.why for one in discovery.broken() if one.name == name)


def test_the_columns_follow_from_the_model():
    """DM-13: Key and event time of the scored row, a score for each class, the version and when; a score that is there stays."""
    made = with_scores(declared(label_delay_days=2, groups=("carrier",)), small_model(), small_dataset())
    assert [(column.name, column.type) for column in made.columns] == [
        ("carrier", "string"), ("scheduled_departure", "timestamp"), ("score_on_time", "float"), ("score_late", "float"),
        ("version", "int"), ("scored_at", "timestamp"),
    ]  # fmt: skip
    assert (made.key, made.event_time, made.rows, made.on_known_key) == (("carrier",), "scheduled_departure", "corrected", "keep_first")
    assert (made.label_delay_days, made.groups, made.scores_of) == (2, (GroupSpec(column="carrier"),), "small_delays")
    assert made.column("score_late").meaning == "Score of late by small_delays."


def test_added_columns_lose_their_underscore():
    """DM-13, DM-01: Of a dataset without key or event time: names with one are reserved."""
    rows = DatasetSpec(name="r", title="T", owner="o", columns=(Column(name="x", type="float"),), row_id="content", event_time="",
                       time_zone="Europe/Berlin")  # fmt: skip
    model = ModelSpec(
        name="m", title="M", owner="o", dataset="r", task="anomaly", inputs=("x",), learner="sklearn", anomaly=AnomalySpec(),
        gate=GateSpec(metric="alarm_share", floors={}),
    )  # fmt: skip
    made = with_scores(declared(), model, rows)
    assert [column.name for column in made.columns] == ["row", "landed", "score_score", "score_alarm", "version", "scored_at"]
    assert (made.key, made.event_time, made.time_zone) == (("row",), "landed", "Europe/Berlin")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"key": ("a",)}, "key is set, and follows from the model whose scores are its rows, small_delays: leave out what scores_of says"),
        ({"rows": "final", "event_time": ""}, "event_time, rows are set, and follow from the model"),
    ],
)
def test_what_follows_cannot_be_said_otherwise(more, sentence):
    """DM-13: Neither key nor columns nor how rows live."""
    with pytest.raises(ValueError, match=sentence):
        declared(**more)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "it has no columns: name those of its files"),
        ({"columns": (Column(name="at", type="timestamp"),), "key": ("at",)}, "event_time is missing: name the column"),
    ],
)
def test_any_other_dataset_says_its_columns_and_its_time(given, sentence):
    """DM-01: As it always had to."""
    with pytest.raises(ValueError, match=sentence):
        DatasetSpec(name="d", title="T", owner="o", **given)


def test_a_dataset_of_scores_is_found_with_its_columns(folder):
    """DM-13, MO-01: A model may read it, and one of that in turn; a name that it does not have is told as of any dataset."""
    (folder / "extra_a.py").write_text(SCORED.format(name="extra_a", model="flight_delays"))
    (folder / "extra_b.py").write_text(SCORED.format(name="extra_b", model="extra_r"))
    reader(folder, "extra_r", "extra_a")
    reader(folder, "extra_s", "extra_b", ("score_value",), "version")
    reader(folder, "extra_t", "extra_a", ("score_lat",))
    assert discovery.dataset("extra_a").key == discovery.dataset("flights").key
    assert "score_value" in [column.name for column in discovery.dataset("extra_b").columns]
    assert {"extra_r", "extra_s"} <= set(discovery.models())
    assert why("extra_t") == "its inputs name score_lat, which the dataset extra_a does not have"
    assert len(discovery.broken()) == 1


def test_models_that_read_each_other_are_refused(folder):
    """DM-13: A circle is told step by step, for each dataset in it; models that read them are broken by that, and nothing else is."""
    (folder / "extra_a.py").write_text(SCORED.format(name="extra_a", model="extra_s"))
    (folder / "extra_b.py").write_text(SCORED.format(name="extra_b", model="extra_r"))
    (folder / "extra_c.py").write_text(SCORED.format(name="extra_c", model="extra_r"))
    reader(folder, "extra_r", "extra_a")
    reader(folder, "extra_s", "extra_b")
    assert why("extra_a") == (
        "its rows follow from themselves: extra_a has the scores of extra_s, which reads extra_b; "
        "extra_b has the scores of extra_r, which reads extra_a. Let one of these models read something else"
    )
    assert why("extra_b").startswith("its rows follow from themselves: extra_b has the scores of extra_r")
    assert why("extra_c").startswith("its rows follow from themselves: extra_a has")
    assert why("extra_r") == "its dataset extra_a is broken, see perennial_datasets/extra_a.py, line 3"
    assert {"flights", "digits"} <= set(discovery.datasets())
    with pytest.raises(SpecBroken, match="Mend that file; all others go on without it"):
        discovery.dataset("extra_b")


def test_a_model_that_reads_its_own_scores_is_refused(folder):
    """DM-13: The shortest circle."""
    (folder / "extra_a.py").write_text(SCORED.format(name="extra_a", model="extra_r"))
    reader(folder, "extra_r", "extra_a")
    assert why("extra_a").startswith("its rows follow from themselves: extra_a has the scores of extra_r, which reads extra_a. Let one")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("flight_delay", "there is no model 'flight_delay', whose scores were its rows. Did you mean flight_delays?"),
        ("extra_r", "its rows are the scores of extra_r, which is broken, see perennial_models/extra_r/spec.py, line 3"),
        ("extra_s", "its rows are the scores of extra_s, which reads the dataset extra_d, which is broken"),
        ("extra_t", "its rows are the scores of extra_t, which reads the dataset nowhere, which is not there"),
    ],
)
def test_a_model_that_cannot_give_scores_is_told(folder, model, sentence):
    """DM-13: It is not there, it is broken, or what it reads is."""
    (folder / "extra_a.py").write_text(SCORED.format(name="extra_a", model=model))
    (folder / "extra_d.py").write_text("1 / 0")
    reader(folder, "extra_r", "flights")
    (folder / "models/extra_r/spec.py").write_text((folder / "models/extra_r/spec.py").read_text().replace('"rmse": 1.0', '"rmsee": 1.0'))
    reader(folder, "extra_s", "extra_d")
    reader(folder, "extra_t", "nowhere")
    assert why("extra_a") == sentence
    assert next(one.place for one in discovery.broken() if one.name == "extra_a") == "perennial_datasets/extra_a.py, line 3"


def test_a_key_that_is_called_as_a_score_is_told(folder):
    """DM-13: Tables have one column of a name."""
    columns = 'columns=(Column(name="at", type="timestamp"), Column(name="version", type="int"), Column(name="y", type="float"))'
    (folder / "extra_d.py").write_text(
        "from perennial.specs import Column, DatasetSpec\n"
        f'DATASET = DatasetSpec(name="extra_d", title="T", owner="o", {columns}, key=("version",), event_time="at")\n'
    )
    reader(folder, "extra_r", "extra_d", ("version",), "y")
    (folder / "extra_a.py").write_text(SCORED.format(name="extra_a", model="extra_r"))
    assert why("extra_a") == "columns named twice: version"


WRITTEN = Written(1, date(2013, 2, 5), "flights", 3, datetime(2013, 2, 6, tzinfo=timezone.utc), "d")
SPAN = (date(2013, 2, 1), date(2013, 2, 4))


@pytest.mark.parametrize(
    ("changed", "source", "champion", "shaped", "why"),
    [
        ({}, "flights", 3, [SPAN], ""),
        ({}, "flights", 3, [], ""),
        ({}, "other", 3, [SPAN], "are of a file or a query, and no rows of the dataset"),
        ({}, "flights", 2, [SPAN], "are of version 3, which was not the champion when it gave them"),
        ({}, "flights", None, [SPAN], "are of version 3, which was not the champion when it gave them"),
        ({}, "flights", 3, None, "are of version 3, and of what it learned is not known"),
        ({"day": date(2013, 2, 4)}, "flights", 3, [SPAN], "are of days whose labels version 3 learned: it knows them, and who reads it "
         "would learn from that"),
        ({"day": date(2013, 2, 1)}, "flights", 3, [(date(2012, 1, 1),) * 2, SPAN], "are of days whose labels version 3 learned: it knows "
         "them, and who reads it would learn from that"),
        ({"day": date(2013, 1, 31)}, "flights", 3, [SPAN], ""),
    ],
)  # fmt: skip
def test_what_counts(changed, source, champion, shaped, why):
    """DM-13: The rows of the dataset, by the champion of that moment, of days that it did not learn."""
    assert why_not(Written(**{**WRITTEN.__dict__, **changed}), source, champion, shaped) == why
