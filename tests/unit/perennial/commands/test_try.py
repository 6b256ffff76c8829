"""`perennial try`: a file of rows becomes a measured version in one process, and the files that did it are those of `perennial add`."""

import dataclasses
import importlib
import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas
import pytest
from sklearn.datasets import load_wine

from perennial import discovery
from perennial.commands import _trial, _trial_words, add, try_
from perennial.commands._trial_words import result_lines, warnings
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.specs import TrainingSpec
from perennial.store import FolderStore
from perennial.testing import small_model

SETTINGS = Settings(home=Path(sys.executable).parents[3], store="unused", gateway_url="http://127.0.0.1:8003")
STORE = FolderStore(tempfile.mkdtemp(prefix="perennial-try-"))
GX_WARNS = (
    "ignore::DeprecationWarning:marshmallow.*",
    "ignore::DeprecationWarning:great_expectations.*",
    "ignore::UserWarning:great_expectations.*",
)
pytestmark = [pytest.mark.filterwarnings(words) for words in GX_WARNS]
NAME = "tried_wine"
ASKED = _trial.Asked(NAME, Path("wine.csv"), "target", None, (), None, None)


def wine():
    """A table of three classes, with a column that names each row and no time, in no order."""
    rows = load_wine(as_frame=True).frame.sample(frac=1, random_state=7)
    rows["target"] = rows["target"].map({0: "Barolo", 1: "Grignolino", 2: "Barbera"})
    rows.insert(0, "bottle", [f"B{number:04d}" for number in range(len(rows))])
    return rows[["bottle", "alcohol", "flavanoids", "hue", "proline", "target"]]


@pytest.fixture(scope="module")
def bottles(tmp_path_factory):
    file = tmp_path_factory.mktemp("bottles") / "wine.csv"
    wine().to_csv(file, index=False, sep=";", decimal=",")
    return file


@pytest.fixture(scope="module")
def trial(bottles, tmp_path_factory):
    """One trial for all tests."""
    asked = _trial.Asked(NAME, bottles, "target", None, (), None, None)
    return _trial.run(SETTINGS, asked, tmp_path_factory.mktemp("scratch"), lambda what: None, lambda texts: None)


def test_the_files_are_those_that_add_writes(trial, bottles, tmp_path):
    """DM-13: There is no second way: dataset, suite and model are byte for byte what `perennial add` makes of the same file."""
    add.run(SETTINGS, STORE, "dataset", NAME, sample=bottles, project=tmp_path)
    with discovery.also_in(tmp_path):
        add.run(SETTINGS, STORE, "model", NAME, dataset=NAME, label="target", sample=bottles, project=tmp_path)
    written = [file for file in tmp_path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]  # the model imported the dataset
    added = {file.relative_to(tmp_path): file.read_text() for file in written}
    assert {path for path in added if path.suffix in (".py", ".json", ".md")} == set(trial.files)
    assert trial.files == added
    assert NAME not in discovery.datasets()


def test_a_trial_measures_a_model_beside_the_simplest_rule(trial):
    """MO-07: The figures are those of an evaluation on test rows alone, and a rule without inputs loses what chance loses."""
    figures, rule = trial.test["candidate"], trial.test["rule"]["metrics"]
    low, high = figures["intervals"]["log_loss"]
    assert low <= figures["metrics"]["log_loss"] <= high < rule["log_loss"]
    assert rule["roc_auc"] == 0.5
    assert trial.test["rows"] < len(wine()) / 3
    assert trial.scores.shape == (len(trial.rows), 3)
    np.testing.assert_allclose(trial.scores.sum(axis=1), 1, atol=1e-4)
    assert "bottle" not in trial.model.inputs


def test_the_result_is_told_in_few_lines(trial):
    """MO-07: What was read, what was chosen and why, figures with intervals, at most three warnings, some rows with what came of them."""
    lines = result_lines(trial)
    for words in (
        "178 rows, 6 columns; target is predicted, one of 3 classes (multiclass), from 4 columns.",
        "key: bottle, which has 178 different values",
        "simplest rule",
        "log loss (lower is better)",
        "Warning: there are 3",
        "Warning: rows were split at random",
    ):
        assert any(words in line for line in lines), words
    assert sum("with probability" in line for line in lines) == len(trial.rows) == len(trial.outcomes)


def test_the_strongest_warnings_come_first(trial):
    """MO-07: A model that is no better than a rule without inputs, then a column that gives the label away; three at most."""
    suspicious = "left out: late: suspicious: it alone tells 99 % of target"
    better_rule = {"metrics": dict.fromkeys(trial.test["rule"]["metrics"], 0.0)}
    evaluation = trial.evaluation | {"parts": {"test": trial.test | {"rule": better_rule}}}
    worse = dataclasses.replace(trial, evaluation=evaluation, chosen=[suspicious, *trial.chosen])
    told = warnings(worse)
    assert told[0].startswith("the model is no better than the simplest rule")
    assert told[1].startswith("late: suspicious")
    assert len(told) == 3


def test_large_figures_do_not_run_together(trial):
    """MO-07: Each figure has its column, and thousands their marks."""
    large = dataclasses.replace(trial, model=trial.model.model_copy(update={"task": "regression"}))
    figures = {"metrics": {"rmse": 78400.123}, "intervals": {"rmse": [39280.4, 117400.0]}}
    test = {"rows": 1200, "candidate": figures, "rule": {"metrics": {"rmse": 178600.0}}}
    large = dataclasses.replace(large, evaluation={"parts": {"test": test}})
    table = [[cell.strip() for cell in line.split("|")] for line in _trial_words._figures(large)]
    assert table[1] == ["rmse (lower is better)", "78,400", "39,280 to 117,400", "178,600"]
    assert len({len(line) for line in _trial_words._figures(large)}) == 1


def test_edited_files_are_tried_again_as_they_are(trial, bottles, tmp_path, capsys):
    """MO-01: The same command after an edit measures the edited model, writes request and report anew and no file of a person."""
    asked = dataclasses.replace(ASKED, data=bottles)
    try_._write(tmp_path, NAME, trial, asked)
    assert try_._edited(tmp_path, asked) == {}
    spec = tmp_path / f"include/perennial_models/{NAME}/spec.py"
    for file in (spec, spec.with_name("features.py")):
        file.write_text(file.read_text().replace('"hue", ', ""))
    before = spec.read_bytes()
    assert try_.run(SETTINGS, STORE, bottles, "target", name=NAME, folder=tmp_path) == 0
    said = capsys.readouterr().out
    for words in ("the files that you edited are used", "files: FileForm(", "key: bottle", "event time: none", "split: split_by='random'"):
        assert words in said
    assert spec.read_bytes() == before
    assert try_._edited(tmp_path, asked)
    request = json.loads((tmp_path / "reports" / NAME / "request.json").read_text())
    assert set(request["data"]["rows"][0]) == {"alcohol", "flavanoids", "proline"}
    with pytest.raises(UnknownName, match="were edited, and are tried as they are: --inputs cannot change them"):
        try_.run(SETTINGS, STORE, bottles, "target", inputs="hue", name=NAME, folder=tmp_path)


def test_rows_of_different_labels_are_shown():
    """MO-07: Seven rows of one class at the beginning say nothing of the others."""
    assert _trial.rows_shown(np.array([0.0] * 7 + [1.0, 0.0, 2.0])) == [0, 1, 2, 7, 9]
    assert _trial.rows_shown(np.array([1.0, 1.0])) == [0, 1]


@pytest.mark.parametrize(
    ("learner", "rows", "most"),
    [
        ("lightning", 1_000, 60),  # as the spec says
        ("lightning", 10_000, 25),
        ("lightning", 10_000_000, 3),
        ("boosted", 100_000, 500),
        ("boosted", 500_000, 100),
        ("boosted", 10_000_000, 20),
    ],
)
def test_many_rows_are_seen_less_often(learner, rows, most):
    """MO-01: A trial takes about a minute: fewer epochs or rounds of trees the more rows there are, and some in any case."""
    model = small_model().model_copy(update={"learner": learner, "training": TrainingSpec(max_epochs=500 if learner == "boosted" else 60)})
    assert _trial.passes(model, rows) == most


def content(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_files_are_written_once_and_replaced_with_a_word(trial, tmp_path):
    """The same trial again changes nothing; another one replaces what a trial wrote, never what somebody edited."""
    assert try_._write(tmp_path, NAME, trial, ASKED) == []
    first = content(tmp_path)
    assert {"reports/tried_wine/evaluation.html", "reports/tried_wine/request.json"} < set(first)
    try_._refuse_edited(tmp_path, NAME, trial.files)
    assert try_._write(tmp_path, NAME, trial, ASKED) == []
    assert content(tmp_path) == first
    card = Path("include/perennial_models/tried_wine/README.md")
    other = dataclasses.replace(trial, files=trial.files | {card: "another card\n"})
    try_._refuse_edited(tmp_path, NAME, other.files)
    assert try_._write(tmp_path, NAME, other, ASKED) == [card]
    (tmp_path / card).write_text("by hand\n")
    with pytest.raises(UnknownName, match=r"tried_wine/README\.md exists already, with other content, and is not overwritten"):
        try_._refuse_edited(tmp_path, NAME, other.files)


@pytest.mark.parametrize("before", ["nothing", "another trial"])
@pytest.mark.parametrize("place", [1, 4, 9])
def test_an_interrupted_try_leaves_all_as_it_was(trial, tmp_path, monkeypatch, before, place):
    """Ctrl-C while the files are written."""
    if before == "another trial":
        try_._write(tmp_path, NAME, dataclasses.replace(trial, files=dict.fromkeys(trial.files, "other\n")), ASKED)
    were, count, put = content(tmp_path), itertools.count(1), try_._put

    def interrupted(file, text):
        if next(count) == place:
            file.parent.mkdir(parents=True, exist_ok=True)
            raise KeyboardInterrupt
        put(file, text)

    monkeypatch.setattr(try_, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        try_._write(tmp_path, NAME, trial, ASKED)
    assert content(tmp_path) == were
    assert before == "another trial" or not any(tmp_path.iterdir())


@pytest.mark.parametrize(("first", "ends_as"), [(KeyboardInterrupt, KeyboardInterrupt), (ValueError, SystemExit)])
def test_ctrl_c_during_the_training_ends_the_command_as_everywhere(first, ends_as):
    """Lightning catches it and calls exit; any other exit stays one."""

    def training():
        try:
            raise first
        except first:
            sys.exit(1)

    with pytest.raises(ends_as), _trial.interruptible():
        training()


ROWS = 120


def small(**columns):
    numbers = np.random.default_rng(3).normal(size=ROWS).round(3)
    return pandas.DataFrame({"nr": range(ROWS), "x": numbers, "kind": ["a", "b"] * (ROWS // 2)} | columns).to_csv(index=False)


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (None, {}, r"no file .*sales\.csv: give the path"),
        ("", {}, r"cannot be read: .* is empty"),
        ("a,b\n1,2,3\n", {"label": "a"}, "cannot be read"),
        (small(), {"label": "sold"}, "has no column sold: choose the label among nr, x, kind"),
        (small(), {"label": "Kind"}, r"has no column Kind: .*Did you mean kind\?"),
        (small(sold=None), {"label": "sold"}, "sold is known in no row"),
        (small(sold="yes"), {"label": "sold"}, "in every row of .* so there is nothing to predict"),
        (small(at=pandas.date_range("2024-01-01", periods=ROWS)), {"label": "at"}, "at is a time, and a model predicts"),
        (small(sold=["web"] * (ROWS - 2) + ["shop"] * 2), {"label": "sold"}, "sold is shop in 2 rows .* needs 5 of each class"),
        (small(sold=[f"u{n}" for n in range(ROWS)]), {"label": "sold"}, "120 different values in 120 rows, as an id has: .*--label.$"),
        (small(sold=[f"u{n // 2}" for n in range(ROWS)]), {"label": "sold"}, "60 values .* 2 to 50 classes apart: .* another label"),
        (small(), {"label": "nr"}, "as an id has: .* add --task regression"),
        (small(), {"key": "kind"}, "its key"),
        (small(), {"key": "nowhere"}, "has no column nowhere"),
        (small(), {"event_time": "x"}, "must be a timestamp"),
        (small(), {"inputs": "x,nowhere"}, "has no column nowhere: choose the inputs among"),
        (small(), {"inputs": "x,kind"}, "a model that is told the answer learns nothing"),
        (small(), {"task": "regression"}, "a regression predicts a number"),
        (small(), {"name": "My Sales"}, "is not a name"),
        (small(), {"name": "flights"}, r"flights\.py exists already, with other content, and is not overwritten: choose another --name"),
        ("nr,kind\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(30)), {}, "known in 30 rows .* needs 50"),
        ("kind\n" + "a\nb\n" * 60, {}, "nothing to learn from: kind is its only column"),
    ],
)
def test_what_cannot_be_tried_gets_a_sentence(tmp_path, text, arguments, words):
    """MO-01: One sentence with the next step, before anything is trained or written."""
    data, folder = tmp_path / "sales.csv", tmp_path / "out"
    if text is not None:
        data.write_text(text)
    with pytest.raises(UnknownName, match=words) as refused:
        try_.run(SETTINGS, STORE, data, **({"label": "kind", "folder": folder} | arguments))
    assert refused.value.exit_code == 2
    assert not folder.exists()
    assert "sales" not in discovery.datasets()


def test_a_label_that_is_no_scalar_gets_a_sentence(tmp_path):
    """MO-01: A list has no classes to count."""
    data = tmp_path / "tagged.jsonl"
    data.write_text("".join(json.dumps({"nr": n, "x": n % 7, "tags": [n % 3, n % 5]}) + "\n" for n in range(ROWS)))
    with pytest.raises(UnknownName, match=r"tags is a list, and a model predicts a class or a number"):
        try_.run(SETTINGS, STORE, data, "tags", folder=tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Sales 2024.csv.gz", "sales_2024"),
        ("2024.parquet", "table_2024"),
        ("class.csv", "class_table"),
        ("日.csv", "table"),
        ("Kunden_Kündigung.csv", "kunden_kuendigung"),
        ("straße é.csv", "strasse_e"),
    ],
)
def test_a_name_is_made_of_the_files(file, name):
    """Any file name gives one that can be imported."""
    assert try_.name_of(Path(file)) == name
    add.require_name(name)


def test_many_whole_numbers_are_an_amount(tmp_path):
    """MO-01: A label of more whole numbers than a classifier tells apart is a regression, without a word from anybody; few are classes."""
    many = pandas.DataFrame({"x": range(600), "y": [n * 7 % 90 for n in range(600)], "z": [n * 7 // 11 % 3 for n in range(600)]})
    many.to_csv(tmp_path / "amounts.csv", index=False)
    add.run(SETTINGS, STORE, "dataset", "tried_amounts", sample=tmp_path / "amounts.csv", project=tmp_path)
    with discovery.also_in(tmp_path):
        importlib.invalidate_caches()
        for name, label in (("tried_y", "y"), ("tried_z", "z")):
            add.run(SETTINGS, STORE, "model", name, dataset="tried_amounts", label=label, sample=tmp_path / "amounts.csv", project=tmp_path)
        importlib.invalidate_caches()
        assert (discovery.model("tried_y").task, discovery.model("tried_z").task) == ("regression", "multiclass")
    assert "tried_y" not in discovery.models()


def test_the_commands_that_follow_are_complete(trial, bottles, tmp_path):
    """They name the file, the dataset, this project and the address at which the version will answer; the request is one of rows."""
    asked = _trial.Asked(NAME, bottles, "target", None, (), None, None)
    try_._write(tmp_path, NAME, trial, ASKED)
    lines = "\n".join(try_._next(SETTINGS, asked, tmp_path, add.PROJECT))
    assert f"land {bottles} --dataset {NAME}" in lines
    assert f"{tmp_path}/include" in lines
    mine = add.PROJECT.parent / "my-models"
    assert f"perennial new {mine}\n  export PERENNIAL_PROJECT={mine}\n" in lines
    assert f" {mine}/\n" in lines
    named = "\n".join(try_._next(SETTINGS, asked, tmp_path, tmp_path / "ours"))
    assert f" {tmp_path}/ours/\n" in named
    assert "perennial new" not in named
    request = json.loads((tmp_path / "reports" / NAME / "request.json").read_text())
    assert set(request["data"]["rows"][0]) == set(trial.model.inputs)
