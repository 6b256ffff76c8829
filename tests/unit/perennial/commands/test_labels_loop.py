"""Labelling as a loop: what was served is chosen, exported, labelled by people, imported, ingested, and known to the next snapshot."""

from __future__ import annotations

import ast
import csv
import inspect
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from perennial import discovery
from perennial.commands import _labels_rows, labels
from perennial.commands._labels_choose import values_of_classes
from perennial.data.readers import schema
from perennial.data.snapshots import model_snapshot, table_of
from perennial.data.tables import Table
from perennial.errors import BatchRefused, UnknownName
from perennial.labelling.imports import Imports
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import publish
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, LabelSpec, ModelSpec
from perennial.stages import ingest, profile
from perennial.store import FolderStore
from perennial.testing import INPUTS, small_manifest, small_model, small_rows, small_version

KEY = ("carrier", "scheduled_departure", "distance")
COLUMNS = tuple(Column(name=i["name"], type=i["type"], nullable=i["nullable"]) for i in INPUTS)
TRIPS = DatasetSpec(name="trips", title="T", owner="tests", key=KEY, event_time="scheduled_departure", columns=COLUMNS)
ARRIVALS = DatasetSpec(
    name="arrivals", title="A", owner="tests", key=(*KEY, "known"), event_time="known",
    columns=(
        *(TRIPS.column(name) for name in KEY), Column(name="late", type="string", nullable=True), Column(name="known", type="timestamp"),
    ),
)  # fmt: skip
MODEL = ModelSpec(
    **{
        **dict(small_model()), "dataset": "trips", "slices": ("origin", "month"),
        "labels": LabelSpec(dataset="arrivals", key=KEY, columns=("late",), known_at="known"),
    }
)  # fmt: skip


def label(columns: Any) -> Any:
    """Class numbers of a column of words."""
    import numpy as np

    return np.array([{"on_time": 0.0, "late": 1.0}.get(value, np.nan) for value in columns["late"]])


SETTINGS = Settings(store="unused", landing_settle_seconds=0)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The trips, a feed whose suite takes everything, and the model."""
    specs = {"trips": TRIPS, "arrivals": ARRIVALS}
    monkeypatch.setattr(discovery, "dataset", specs.__getitem__)
    monkeypatch.setattr(ingest, "dataset_spec", specs.__getitem__)
    monkeypatch.setattr(discovery, "model", lambda name: MODEL)
    monkeypatch.setattr(discovery, "model_part", lambda name, part: SimpleNamespace(label=label))
    verdict = lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, True, None, (), "reports/x.html")  # noqa: E731
    monkeypatch.setattr(validation, "validate", verdict)
    monkeypatch.setattr(data_docs, "write_index", lambda *_: None)
    monkeypatch.setattr(profile, "FIT_ROWS", 1)
    return


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """400 trips, and a champion that answered forty of them."""
    store = FolderStore(str(tmp_path / "store"))
    rows = list({tuple(row[name] for name in KEY): row for row in small_rows(400)}.values())
    table = pa.Table.from_pylist([{**row, "scheduled_departure": datetime.fromisoformat(row["scheduled_departure"])} for row in rows])
    table_of(store, TRIPS).append(table.cast(schema(TRIPS)), "1f" * 32)
    folder = small_version(tmp_path / "version")
    with (folder / "features.py").open("a") as features:
        features.write("\n\nfrom typing import Any\n" + inspect.getsource(label))
    days = [["2013-02-01", "2013-02-15"], ["2013-02-15", "2013-02-16"], ["2013-02-16", "2013-03-01"]]
    (folder / "training.json").write_text(json.dumps({"bounds": dict(zip(("train", "validation", "test"), days, strict=True))}))
    digest = publish(store, MODEL.name, folder, small_manifest(dataset="trips"))
    Ledger(store, MODEL.name).append(
        "released", version=1, champion=1, weights={1: 10_000}, versions={1: digest}, reason="r", actor="a", after_seq=None
    )
    slices = {"origin": {name: {"rows": 40.0, "log_loss": loss} for name, loss in (("EWR", 0.4), ("JFK", 0.9), ("LGA", 0.5))}}
    evaluation = {"parts": {"test": {"candidate": {"slices": slices}}}}
    store.write(f"reports/{MODEL.name}/{digest}/evaluation.json", json.dumps(evaluation).encode())
    rng = np.random.default_rng(3)
    lines = []
    for number, row in enumerate(rows[:40]):
        late = float(rng.uniform(0.05, 0.95))
        lines.append({
            "id": f"p{number}", "version": 1, "time": "2013-03-01T10:00:00Z", "event_time": row["scheduled_departure"], "ms": 1.0,
            "row": row, "scores": [1 - late, late],
        })  # fmt: skip
    store.write(f"predictions/{MODEL.name}/1.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    return store


def go(store: FolderStore, action: str, file: Path | None, **given: Any) -> None:
    assert labels.run(SETTINGS, store, action, file, model=MODEL.name, **given) == 0


def tasks_in(file: Path) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = json.loads(file.read_text())
    return tasks


def answered(tasks: list[dict[str, Any]], answers: dict[str, list[str]], day: int = 1) -> str:
    """What Label Studio exports once people have answered: each person's word for each task; an empty one skips it."""
    for place, task in enumerate(tasks):
        task["annotations"] = [
            {
                "completed_by": {"email": person}, "created_at": f"2013-04-0{day}T10:00:00Z",
                "result": [{"from_name": "late", "to_name": "row", "type": "choices", "value": {"choices": [words[place % len(words)]]}}],
            }
            for person, words in answers.items()
        ]  # fmt: skip
    return json.dumps(tasks)


def test_the_loop(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-03, DM-10: What was served and has no label is chosen and exported; two people of three decide; the label lands once and the next
    snapshot knows it; a row that waits for its answer is not chosen again, one that was labelled never."""
    go(store, "choose", tmp_path / "tasks.json", source="log", count=10, by="unsure", random=0.2)
    assert "10 of 40 predictions without a label" in capsys.readouterr().out
    tasks = tasks_in(tmp_path / "tasks.json")
    keys = [tuple(task["data"][name] for name in KEY) for task in tasks]
    export = tmp_path / "export.json"
    export.write_text(answered(tasks, {"ada": ["late"], "bob": ["late", "on_time"], "cy": ["late", "on_time"]}))
    go(store, "import", export)
    assert ingest.run(SETTINGS, store, "arrivals").outcome == "done"
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    rows = snapshot.rows().dropna(subset=["late"])
    known = {(row.carrier, row.scheduled_departure.isoformat(), row.distance): row.late for row in rows.itertuples()}
    assert known == {key: ("on_time" if place % 2 else "late") for place, key in enumerate(keys)}
    go(store, "import", export)
    assert ingest.run(SETTINGS, store, "arrivals").outcome == "skipped"
    assert not Imports(store, "arrivals").to_hand_on()
    go(store, "choose", tmp_path / "more.json", source="log", count=20)
    go(store, "choose", tmp_path / "rest.csv", source="log", count=99)
    more = [tuple(task["data"][name] for name in KEY) for task in tasks_in(tmp_path / "more.json")]
    with (tmp_path / "rest.csv").open() as lines:
        rest = [(row["carrier"], row["scheduled_departure"], int(row["distance"])) for row in csv.DictReader(lines)]
    assert sorted(map(str, [*keys, *more, *rest])) == sorted(set(map(str, [*keys, *more, *rest])))
    assert (len(more), len(rest)) == (20, 10)
    with pytest.raises(UnknownName, match="all 30 predictions wait for an answer already"):
        go(store, "choose", tmp_path / "none.json", source="log")
    go(store, "choose", tmp_path / "again.json", source="log", count=99, again=True)
    assert len(tasks_in(tmp_path / "again.json")) == 30


def test_tasks_hold_the_key_the_inputs_and_the_answer(store: FolderStore, tmp_path: Path) -> None:
    """DM-10: The prediction fits the labelling interface beside it, which has a field for each label column; nothing else leaves."""
    go(store, "choose", tmp_path / "tasks.json", count=12)
    config = ElementTree.fromstring((tmp_path / "tasks.interface.xml").read_text())
    (choices,) = config.iter("Choices")
    assert (choices.get("name"), [choice.get("value") for choice in choices]) == ("late", ["on_time", "late"])
    assert config.find("Table").attrib == {"name": choices.get("toName"), "value": "$_inputs"}  # type: ignore[union-attr]
    for task in tasks_in(tmp_path / "tasks.json"):
        assert set(task["data"]) == {*KEY, "_key", "_inputs", "_chosen_by", "_probability"}
        assert list(task["data"]["_inputs"]) == [i["name"] for i in INPUTS]
        (prediction,) = task["predictions"]
        (result,) = prediction["result"]
        assert prediction["model_version"] == "small_delays/1"
        assert (result["from_name"], result["to_name"], result["type"]) == ("late", "row", "choices")
        assert result["value"]["choices"][0] in ("on_time", "late")
        assert 0.5 <= prediction["score"] <= 1


def test_why_rows_are_chosen(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-10: Of mixed reasons each has its turn, a fifth is drawn with a probability that is told, and the same question has the same
    answer."""
    go(store, "choose", tmp_path / "a.json", count=20, random=0.2)
    told = capsys.readouterr().out
    assert "The worst slice is origin JFK: log loss 0.9000 on 40 test rows" in told
    tasks = tasks_in(tmp_path / "a.json")
    reasons = Counter(task["data"]["_chosen_by"] for task in tasks)
    assert reasons["random"] == 4
    assert max(reasons.values()) - min(reasons[name] for name in ("unsure", "drifted", "worst-slice")) <= 1
    by = {name: [task for task in tasks if task["data"]["_chosen_by"] == name] for name in reasons}
    assert {task["data"]["_inputs"]["origin"] for task in by["worst-slice"]} == {"JFK"}
    assert {task["data"]["_probability"] for name in reasons if name != "random" for task in by[name]} == {1.0}
    assert {task["data"]["_probability"] for task in by["random"]} == {4 / (table_of(store, TRIPS).count() - 16)}
    go(store, "choose", tmp_path / "b.json", count=20, random=0.2, again=True)
    assert tasks_in(tmp_path / "b.json") == tasks
    surest = sorted(task["predictions"][0]["score"] for task in by["unsure"])
    assert surest[-1] < 0.6
    with pytest.raises(UnknownName, match="is there already"):
        go(store, "choose", tmp_path / "a.json")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"by": "unsure"}, "No version of small_delays serves yet"),
        ({"by": "drifted"}, "no reference to be unlike"),
        ({"source": "log", "first": datetime(2020, 1, 1, tzinfo=timezone.utc)}, "small_delays answered no request"),
    ],
)
def test_what_cannot_be_chosen(store: FolderStore, tmp_path: Path, given: dict[str, Any], why: str) -> None:
    """DM-10: A reason that cannot rank rows is refused with the next step; before the first version rows are drawn at random."""
    shutil.rmtree(store.path / "ledger")
    with pytest.raises(UnknownName, match=why):
        go(store, "choose", tmp_path / "tasks.json", **given)
    go(store, "choose", tmp_path / "tasks.json", count=3, by="random", source="log")
    assert [task["data"]["_chosen_by"] for task in tasks_in(tmp_path / "tasks.json")] == ["random"] * 3


def test_labels_of_predictions_become_outcomes(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-03, DM-10: A model that learns from outcomes has its predictions labelled, by their id; its next snapshot knows the labels."""
    model = MODEL.model_copy(update={"labels": "outcomes"})
    trips = TRIPS.model_copy(update={"columns": (*TRIPS.columns, ARRIVALS.column("late"))})
    monkeypatch.setattr(discovery, "model", lambda name: model)
    monkeypatch.setattr(discovery, "dataset", lambda name: trips)
    go(store, "choose", tmp_path / "tasks.csv", count=5, by="random")
    with (tmp_path / "tasks.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["_answer"] for row in rows} <= {"on_time", "late"}
    with (tmp_path / "filled.csv").open("w", newline="") as sink:
        writer = csv.DictWriter(sink, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "outcome": "late", "_person": person} for row in rows for person in ("ada", "bob"))
    (tmp_path / "wrong.csv").write_text(f"prediction_id,outcome,_person\n{rows[0]['prediction_id']},perhaps,ada\n")
    with pytest.raises(BatchRefused, match=r"wrong\.csv is refused: the label of prediction_id .*: outcome 'perhaps' is not"):
        go(store, "import", tmp_path / "wrong.csv")
    assert not Imports(store, "small_delays_outcomes").all  # kept, it would stand in the way of every later import
    go(store, "import", tmp_path / "filled.csv", people=2)
    taken = Table(store, "small_delays_outcomes").scan(["prediction_id", "outcome"])
    assert dict(zip(*(column.to_pylist() for column in taken.columns), strict=True)) == {row["prediction_id"]: 1.0 for row in rows}
    snapshot = model_snapshot(store, model)
    assert snapshot is not None
    assert snapshot.coverage("late").labelled == 5
    go(store, "choose", tmp_path / "rest.csv", count=99)
    with (tmp_path / "rest.csv").open() as lines:
        assert not {row["prediction_id"] for row in csv.DictReader(lines)} & {row["prediction_id"] for row in rows}


def test_a_label_of_a_young_row_is_a_label(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10: Though a training waits for labels that come later, nobody is asked for what is known already."""
    trips = TRIPS.model_copy(update={"label_delay_days": 999})
    monkeypatch.setattr(discovery, "dataset", {"trips": trips, "arrivals": ARRIVALS}.__getitem__)
    (first,) = table_of(store, TRIPS).scan(list(KEY)).slice(0, 1).to_pylist()
    told = pa.Table.from_pylist([{**first, "late": "late", "known": datetime(2013, 3, 1)}])
    table_of(store, ARRIVALS).append(told.select([column.name for column in ARRIVALS.columns]).cast(schema(ARRIVALS)), "2f" * 32)
    go(store, "choose", tmp_path / "all.json", count=999, by="random")
    assert len(tasks_in(tmp_path / "all.json")) == table_of(store, TRIPS).count() - 1


@pytest.mark.parametrize("named", [True, False])
def test_a_label_that_means_no_class_is_refused(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    """DM-10: "perhaps" is no class of the model: refused with the words, and nothing is kept, whether model or feed is named. A person who
    cannot tell leaves the label empty."""
    monkeypatch.setattr(discovery, "models", lambda: {MODEL.name: MODEL})
    export = tmp_path / "filled.csv"
    head = "carrier,scheduled_departure,distance,late,_person\n"
    export.write_text(f"{head}UA,2013-02-16 10:00:00,5,late,ada\nUA,2013-02-16 11:00:00,5,perhaps,ada\n")
    given = {"model": MODEL.name} if named else {"dataset": "arrivals"}
    with pytest.raises(BatchRefused, match=r"filled.csv is refused: 'perhaps' in late means no class of small_delays \(on_time, late\)"):
        labels.run(SETTINGS, store, "import", export, **given)
    assert not Imports(store, "arrivals").all
    export.write_text(f"{head}UA,2013-02-16 10:00:00,5,late,ada\nUA,2013-02-16 11:00:00,5,,ada\n")
    assert labels.run(SETTINGS, store, "import", export, **given) == 0


def labelled(store: FolderStore, tmp_path: Path) -> dict[str, str]:
    """Label all trips of the test days as the model says, but for six, which are labelled otherwise; these by their key."""
    go(store, "choose", tmp_path / "all.json", count=999, by="random")
    tasks = tasks_in(tmp_path / "all.json")
    surest = sorted(
        (task for task in tasks if task["data"]["scheduled_departure"] >= "2013-02-16"), key=lambda task: -task["predictions"][0]["score"]
    )
    wrong: dict[str, str] = {}
    for task in tasks:
        said = task["predictions"][0]["result"][0]["value"]["choices"][0]
        if task in surest[:6]:
            said = wrong[str([str(task["data"][name]) for name in KEY])] = "late" if said == "on_time" else "on_time"
        task["annotations"] = [
            {
                "completed_by": person, "created_at": "2013-04-01T10:00:00Z",
                "result": [{"from_name": "late", "to_name": "row", "value": {"choices": [said]}}],
            }
            for person in ("ada", "bob")
        ]  # fmt: skip
    (tmp_path / "all_answered.json").write_text(json.dumps(tasks))
    go(store, "import", tmp_path / "all_answered.json")
    assert ingest.run(SETTINGS, store, "arrivals").outcome == "done"
    return wrong


def test_doubtful_labels_are_asked_about_again(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-10: Labels against which the model is sure, on days that its training did not see, are listed with key, label, answer and
    probability, in text, JSON and page alike; they can be exported again with the label that they have, and a new answer replaces it."""
    go(store, "report", None)
    told = capsys.readouterr().out
    assert "Nobody's labels of small_delays were imported yet." in told
    assert "No labelled row is one that small_delays/1 was not trained on." in told
    wrong = labelled(store, tmp_path)
    capsys.readouterr()
    go(store, "report", tmp_path / "labels.html", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["agreement"]["alpha"] == 1.0
    assert [person["name"] for person in report["agreement"]["people"]] == ["ada", "bob"]
    unseen = table_of(store, TRIPS).scan(["carrier"], pc.field("scheduled_departure") >= datetime(2013, 2, 16)).num_rows
    assert report["about_doubt"].startswith(f"{unseen} labelled rows")
    named = {label["key"]: label for label in report["doubtful"]}
    for key, said in wrong.items():
        values = dict(zip(KEY, ast.literal_eval(key), strict=True))
        label = named[", ".join(f"{name} {value}" for name, value in values.items())]
        assert (label["given"], label["answer"]) == (said, "late" if said == "on_time" else "on_time")
        assert label["probability"] > 0.5
    page = (tmp_path / "labels.html").read_text()
    assert "<script" not in page
    assert all(escape(key) in page for key in named)
    go(store, "report", None, people=3)
    assert "2 of 3 people answered" in capsys.readouterr().out
    go(store, "choose", tmp_path / "doubtful.json", by="doubtful", count=6)
    asked = tasks_in(tmp_path / "doubtful.json")
    assert {str([str(task["data"][name]) for name in KEY]) for task in asked} == set(wrong)
    for task in asked:
        assert task["data"]["_given"] != task["predictions"][0]["result"][0]["value"]["choices"][0]
    (tmp_path / "second.json").write_text(answered(asked, {"ada": ["late"], "bob": ["late"]}, day=2))
    go(store, "import", tmp_path / "second.json")
    assert ingest.run(SETTINGS, store, "arrivals").outcome == "done"
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    rows = snapshot.rows()
    now = {str([row.carrier, row.scheduled_departure.isoformat(), str(row.distance)]): row.late for row in rows.itertuples()}
    assert {now[key] for key in wrong} == {"late"}


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"rows": "final"}, 'write rows="corrected", on_known_key="replace" into the spec of trips, and land those that are wrong again'),
        ({"rows": "corrected", "on_known_key": "replace"}, "Look at these rows, and land those that are wrong again with the right late"),
    ],
)  # fmt: skip
def test_doubtful_labels_of_a_table_are_corrected_there(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any], advice: str,
) -> None:  # fmt: skip
    """DM-10: Where the label is a column of the rows themselves, the report says how to correct these, and never names a command that then
    refuses; that command looks at the same rows, and says the same."""
    columns = (*TRIPS.columns, Column(name="late", type="string", nullable=True))
    table = table_of(store, TRIPS).scan()
    words = pa.array(["late" if place % 2 else "on_time" for place in range(table.num_rows)])
    own = TRIPS.model_copy(update={"name": "trips", "columns": columns})
    shutil.rmtree(tmp_path / "store" / "tables")
    table_of(store, own).append(table.append_column("late", words).select(schema(own).names).cast(schema(own)), "2f" * 32)
    changed = own.model_copy(update=changes)
    monkeypatch.setattr(discovery, "dataset", lambda name: changed)
    monkeypatch.setattr(discovery, "model", lambda name: MODEL.model_copy(update={"labels": None}))
    go(store, "report", tmp_path / "labels.html")
    told = capsys.readouterr().out
    assert "are doubtful" in told
    assert advice in told
    assert "--by doubtful" not in told
    with pytest.raises(UnknownName, match=re.escape(advice)):
        go(store, "choose", tmp_path / "tasks.json", by="doubtful")


def test_answers_that_are_no_numbers_say_nothing(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DM-10: A version that answers a row with what is no number prefills no task of it, and doubts no label by it."""
    whole = _labels_rows.score

    def some_broken(*given: Any) -> Any:
        scores = whole(*given)
        scores[::2] = np.nan
        return scores

    labelled(store, tmp_path)
    monkeypatch.setattr(_labels_rows, "score", some_broken)
    go(store, "report", tmp_path / "labels.html")
    unseen = table_of(store, TRIPS).scan(["carrier"], pc.field("scheduled_departure") >= datetime(2013, 2, 16)).num_rows
    assert f"Doubtful labels: {unseen // 2} labelled rows" in capsys.readouterr().out
    shutil.rmtree(store.path / "tables" / "arrivals")
    go(store, "choose", tmp_path / "tasks.json", count=999, by="random", again=True)
    tasks = tasks_in(tmp_path / "tasks.json")
    assert sum("predictions" in task for task in tasks) == len(tasks) // 2


def numbers(rule: Callable[[float], float]) -> Any:
    """Features that make a class of a number."""
    return lambda columns: [rule(value) for value in columns["y"]]


@pytest.mark.parametrize(
    ("kind", "classes", "label", "values"),
    [
        ("string", ("no", "yes"), lambda columns: [{"no": 0, "yes": 1}.get(v, np.nan) for v in columns["y"]], ["no", "yes"]),
        ("string", ("no", "yes"), lambda columns: [{"N": 0, "Y": 1}.get(v, np.nan) for v in columns["y"]], []),
        ("bool", ("no", "yes"), lambda columns: [float(v) for v in columns["y"]], ["false", "true"]),
        ("int", ("a", "b", "c"), numbers(float), ["0", "1", "2"]),
        ("int", ("1", "2"), numbers(lambda v: {1: 0.0, 2: 1.0}.get(int(v) if v == int(v) else 0, np.nan)), ["1", "2"]),
        ("float", ("on_time", "late"), numbers(lambda v: float(v >= 15)), []),
        ("int", ("on_time", "late"), lambda columns: columns["y"] + columns["z"], []),
    ],
)
def test_which_value_means_a_class(kind: Any, classes: tuple[str, ...], label: Any, values: list[str]) -> None:
    """DM-10: What a person is to choose is what the features make the classes of; where no single value means a class, or it takes other
    columns, nothing is guessed."""
    model: Any = SimpleNamespace(spec=SimpleNamespace(classes=classes), features=SimpleNamespace(label=label))
    by_class = values_of_classes(model, Column(name="y", type=kind))
    assert [by_class[place] for place in sorted(by_class)] == values
    if kind == "string":  # unless labels that are there already show which words mean them
        assert values_of_classes(model, Column(name="y", type=kind), ["?", "Y", "N"]) == dict(enumerate(values or ["N", "Y"]))
