"""`perennial add`: a sample becomes a dataset, a dataset becomes a model, and what is written works as it is."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

import perennial
from perennial import cli, discovery
from perennial.commands import _new_model, _sample, add
from perennial.commands._new_model import model_files
from perennial.data.readers import read_batch
from perennial.data.snapshots import latest_snapshot, model_snapshot, table_of
from perennial.data.splits import split
from perennial.encoding import columns_from_rows
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.specs import DatasetSpec, LabelSpec
from perennial.stages import evaluate, ingest, train
from perennial.store import FolderStore
from perennial.testing import PROMISES
from perennial.training.checkpoints import Checkpoints
from perennial.training.scoring import score

CHECKOUT = Path(perennial.__file__).parents[2]
SETTINGS = Settings(home=Path(sys.executable).parents[3], store="unused")
STORE = FolderStore(tempfile.mkdtemp(prefix="perennial-add-"))
SAMPLE = "id,at,colour,weight,sold\n" + "".join(
    f"{i},2024-01-{i + 1:02d} 10:00:00,{'red' if i % 2 else 'blue'},{i * 0.5},{'web' if i % 3 else 'shop'}\n" for i in range(20)
)


def load(path):
    spec = importlib.util.spec_from_file_location(f"added_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sample(tmp_path):
    """A small file of twenty sales."""
    file = tmp_path / "sales.csv"
    file.write_text(SAMPLE)
    return file


@pytest.fixture
def added(tmp_path, sample, monkeypatch):
    """A dataset `sales` and what is needed to add models of it."""
    add.run(SETTINGS, STORE, "dataset", "sales", sample=sample, project=tmp_path)
    spec = load(tmp_path / "include/perennial_datasets/sales.py").DATASET
    monkeypatch.setattr(discovery, "dataset", lambda name: spec)
    return spec


def test_a_dataset_is_described_after_its_sample(tmp_path, added):
    """DM-01: Types, key and event time come from the file; the suite asks for rows and the key, since the spec asks for the columns: a new
    one is said once."""
    assert {c.name: c.type for c in added.columns} == {
        "id": "int",
        "at": "timestamp",
        "colour": "string",
        "weight": "float",
        "sold": "string",
    }
    assert (added.key, added.event_time) == (("id",), "at")
    suite = json.loads((tmp_path / "great_expectations/expectations/sales.json").read_text())
    assert [expectation["type"] for expectation in suite["expectations"]] == [
        "expect_table_row_count_to_be_between",
        "expect_column_values_to_be_unique",
        "expect_column_max_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
    ]
    assert (tmp_path / "tests/unit/perennial_datasets/test_sales.py").exists()


@pytest.mark.parametrize(("label", "task", "outputs"), [("sold", "binary", 2), ("weight", "regression", 1)])
def test_a_model_can_be_called_as_it_was_written(tmp_path, sample, added, label, task, outputs):
    """MO-01, MO-02: Features and network fit together, and unknown labels are NaN."""
    add.run(SETTINGS, STORE, "model", "asks", dataset="sales", label=label, sample=sample, project=tmp_path)
    folder = tmp_path / "include/perennial_models/asks"
    spec, features, model = load(folder / "spec.py").MODEL, load(folder / "features.py"), load(folder / "model.py")
    assert (spec.task, spec.label) == (task, label)
    row = {"colour": "red", "weight": 1.0, "sold": "web", "at": "2024-01-01T10:00:00"}
    rows = columns_from_rows([row, dict.fromkeys(row)], [c.name for c in added.columns])
    encoder = features.fit(rows)
    logits = model.Model(encoder, spec)(**{n: torch.from_numpy(t) for n, t in features.encode(encoder, rows).items()})
    assert logits.shape == (2, outputs)
    np.testing.assert_array_equal(features.label(rows), [1.0, np.nan])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "dataset", "name": "Sales"}, "is not a name"),
        ({"kind": "dataset", "name": "class", "sample": "SAMPLE"}, "'class' is a word of Python"),
        ({"kind": "dataset", "name": "more"}, "Give a sample file"),
        ({"kind": "dataset", "name": "sales", "sample": "SAMPLE"}, "exists already"),
        ({"kind": "dataset", "name": "more", "sample": "SAMPLE", "key": "nr"}, "has no column nr"),
        ({"kind": "model", "name": "asks"}, "--dataset NAME --label COLUMN"),
        ({"kind": "model", "name": "asks", "dataset": "sales", "label": "price"}, "has no column price"),
        ({"kind": "model", "name": "asks", "dataset": "sales", "label": "sold"}, "Give a sample file of sales"),
        ({"kind": "model", "name": "asks", "dataset": "sales", "label": "sold", "sample": "OTHER"}, "has no column id"),
        ({"kind": "model", "name": "asks", "dataset": "sales", "label": "id", "task": "binary", "sample": "SAMPLE"}, "id names the rows"),
        (
            {"kind": "model", "name": "asks", "dataset": "sales", "label": "sold", "task": "regression", "sample": "SAMPLE"},
            "predicts a number",
        ),
    ],
)
def test_what_cannot_be_known_is_asked_for(tmp_path, sample, added, arguments, words):
    """MO-01: Each missing or wrong argument gets a sentence with the next step, and nothing is overwritten."""
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    arguments = {k: {"SAMPLE": sample, "OTHER": other}.get(v, v) for k, v in arguments.items()}
    with pytest.raises(UnknownName, match=words):
        add.run(SETTINGS, STORE, project=tmp_path, **arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read|no rows"),
        ("at,n\n2131-01-01 00:00:00,1\n", "at is 2131-01-01 00:00 in .*, which is yet to come"),
        ("a,A,at\n1,2,2024-01-01 00:00:00\n", "name of its own .* 'A' is empty or there before"),
        (",at\n1,2024-01-01 00:00:00\n", "name of its own .* '' is empty"),
        ("_id,at\n1,2024-01-01 00:00:00\n", "'_id' is no column name: .* Rename the column in the sample"),
    ],
)
def test_a_poor_sample_is_explained(tmp_path, text, words):
    """DM-01: A sample without rows, times or a key says which."""
    file = tmp_path / "poor.csv"
    file.write_text(text)
    with pytest.raises(UnknownName, match=words):
        add.run(SETTINGS, STORE, "dataset", "poor", sample=file, project=tmp_path)


def test_a_column_of_what_no_table_holds_is_named(tmp_path):
    """DM-01: A value that no table holds is said before anything is made of it."""
    file = tmp_path / "lists.parquet"
    pandas.DataFrame({"id": [1, 2], "at": pandas.to_datetime(["2024-01-01", "2024-01-02"]), "tags": [[["a"]], [["b"]]]}).to_parquet(file)
    with pytest.raises(UnknownName, match=r"tags has the type list<.*>, and a value of a table is one number, text, time, or a list"):
        add.run(SETTINGS, STORE, "dataset", "lists", sample=file, project=tmp_path)


def test_a_text_is_no_label(monkeypatch):
    """DM-13: A model predicts a class or a number; the sentence names the column and its type."""
    columns = [{"name": "id", "type": "int"}, {"name": "note", "type": "text"}]
    spec = DatasetSpec(name="notes", title="Notes", owner="tests", key=["id"], event_time="", columns=columns)
    monkeypatch.setattr(discovery, "dataset", lambda name: spec)
    with pytest.raises(UnknownName, match="note is a column of type text, and a model predicts a class or a number"):
        model_files("notes_note", "notes", "note", None, None)


@pytest.mark.parametrize("extension", [".csv", ".jsonl", ".parquet"])
def test_lists_and_free_text_are_told_from_categories_and_ids(tmp_path, extension):
    """DM-01: Four words on average and half of the values different are a text, arrays are lists; a long name that repeats stays a
    category, and one word of its own in each row an id."""
    rows = pandas.DataFrame(
        {
            "id": [f"customer {i:03d}" for i in range(40)],
            "country": ["United States of America", "United Kingdom of Great Britain"] * 20,
            "review": [f"Order {i} came late, and nobody told us why" for i in range(39)] + [None],
            "sizes": [[i, 2] for i in range(40)],
            "prices": [[i + 0.5] if i else [] for i in range(40)],
            "tags": [["new", "sale"], ["red"]] * 20,
        }
    )
    file = tmp_path / f"shop{extension}"
    if extension == ".csv":
        rows.assign(**{name: rows[name].map(json.dumps) for name in ("sizes", "prices", "tags")}).to_csv(file, index=False)
    elif extension == ".jsonl":
        rows.to_json(file, orient="records", lines=True)
    else:
        rows.to_parquet(file)
    columns = _sample.read_sample(file).columns
    assert [(c.name, c.type, c.of, c.nullable) for c in columns] == [
        ("id", "string", "", False),
        ("country", "string", "", False),
        ("review", "text", "", True),
        ("sizes", "list", "int", False),
        ("prices", "list", "float", False),
        ("tags", "list", "string", False),
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("yes", "no"), "bool"),
        (("J", "N"), "bool"),
        (("t", "f"), "string"),
        (("True", "False"), "bool"),
        (("TRUE", "false"), "bool"),
        (("1", "0"), "int"),
    ],
)
def test_words_for_true_and_false_are_taken_as_a_landed_file_is(tmp_path, values, kind):
    """DM-01: Yes and no are known, J and N are declared, t and f are words: a dataset after the sample takes the sample."""
    file = tmp_path / "answers.csv"
    file.write_text("id,at,answer\n" + "".join(f"{i},2024-01-{i + 1:02d} 10:00:00,{values[i % 2]}\n" for i in range(20)))
    add.run(SETTINGS, STORE, "dataset", "answers", sample=file, project=tmp_path)
    assert load(tmp_path / "include/perennial_datasets/answers.py").DATASET.column("answer").type == kind


def test_a_missing_sample_is_named(tmp_path):
    """DM-01: The path that was given is in the sentence."""
    with pytest.raises(UnknownName, match=r"no file .*nowhere\.csv"):
        add.run(SETTINGS, STORE, "dataset", "poor", sample=tmp_path / "nowhere.csv", project=tmp_path)


def test_any_column_name_is_written_as_it_is(tmp_path):
    """DM-01: Quotes in a header do not break the file that is written."""
    file = tmp_path / "odd.csv"
    file.write_text('"weight ""net""",sold at\n1,2024-01-01 10:00:00\n2,2024-01-02 10:00:00\n')
    add.run(SETTINGS, STORE, "dataset", "odd", sample=file, project=tmp_path)
    spec = load(tmp_path / "include/perennial_datasets/odd.py").DATASET
    assert [c.name for c in spec.columns] == ['weight "net"', "sold at"]
    assert (spec.key, spec.event_time) == (('weight "net"',), "sold at")


ORDERS = 700
ODD = "опоздал \u2013 late\u2019"


def orders():
    """Seven hundred orders of five weeks: a total in the thousands, a part of it beside it, ids, texts, times and a constant."""
    rng = np.random.default_rng(7)
    at = pandas.Timestamp("2024-03-01") + pandas.to_timedelta(np.sort(rng.integers(0, 35 * 86400, ORDERS)), unit="s")
    quantity, channel = rng.integers(1, 20, ORDERS), rng.choice(["web", "shop", "phone"], ORDERS)
    total = 4000 + 250.0 * quantity + 700 * (channel == "web") + rng.normal(0, 120, ORDERS)
    late = rng.random(ORDERS) < np.where(at.hour >= 12, 0.85, 0.1)
    words = rng.choice(["please", "leave", "it", "at", "the", "door", "bell", "twice"], (ORDERS, 6))
    return pandas.DataFrame(
        {
            "order": np.arange(ORDERS) + 10_000,
            "at": at,
            "customer": [f"c{number}" for number in rng.permutation(ORDERS)],
            "quantity": quantity,
            "channel": channel,
            "note": [" ".join(some) for some in words],
            "parts": [rng.integers(1, 9, size).tolist() for size in rng.integers(0, 5, ORDERS)],
            "shipped": at + pandas.Timedelta(days=2),
            "country": "NL",
            "weight": pandas.array(np.where(rng.random(ORDERS) < 0.1, None, rng.integers(1, 90, ORDERS)), dtype="Int64"),
            "gift": rng.random(ORDERS) < 0.3,
            "tax": (total * 0.21).round(2),
            "total": total.round(2),
            "late": np.where(late, "yes, late", "no"),
        }
    )


@pytest.fixture
def project(project):
    """A checkout to which things are added, and the sample in it."""
    orders().to_csv(project / "orders.csv", index=False)
    return project


def add_all(project, capsys):
    """A dataset, a regression and a classifier, and what was said of these; then a dataset of a time and odd names, and its model."""
    add.run(SETTINGS, STORE, "dataset", "orders", sample=project / "orders.csv", project=project)
    importlib.invalidate_caches()
    capsys.readouterr()
    for name, label in (("orders_total", "total"), ("orders_late", "late"), ("orders_channel", "channel")):
        add.run(SETTINGS, STORE, "model", name, dataset="orders", label=label, sample=project / "orders.csv", project=project)
    said = capsys.readouterr().out
    few = project / "few.csv"  # nothing but a time to learn from, and names that are no ASCII
    orders()[["order", "at", "late"]].rename(columns={"late": ODD}).to_csv(few, index=False)
    add.run(SETTINGS, STORE, "dataset", "orders_few", sample=few, project=project)
    importlib.invalidate_caches()
    add.run(SETTINGS, STORE, "model", "orders_time", dataset="orders_few", label=ODD, sample=few, project=project)
    capsys.readouterr()
    return said


def add_anomaly_models(project):
    """An autoencoder without a label, and a forest that one measures."""
    for name, learner, label in (("orders_odd", "lightning", None), ("orders_rare", "sklearn", "late")):
        asked = {"dataset": "orders", "task": "anomaly", "label": label, "learner": learner, "sample": project / "orders.csv"}
        add.run(SETTINGS, STORE, "model", name, project=project, **asked)


def test_what_is_better_no_input_is_left_out_and_named(project, capsys):
    """DM-13: The key, other times, ids, constants, and what tells the label alone; a whole number with gaps stays one; a text and a list
    are inputs."""
    said = add_all(project, capsys)
    assert {c.name: c.type for c in discovery.dataset("orders").columns}["weight"] == "int"
    model = discovery.model("orders_total")
    assert model.inputs == ("at", "quantity", "channel", "note", "parts", "weight", "gift", "late")
    for words in (
        "order: it names rows",
        "customer: an id",
        "shipped: a time, which may be known only after",
        "country: it has one value",
        "tax: suspicious: it alone tells 100 % of total",
        "features of the time at: hour and weekday",
    ):
        assert words in said
    card = (project / "include/perennial_models/orders_total/README.md").read_text()
    assert "`tax` (suspicious" in card
    spec = (project / "include/perennial_models/orders_total/spec.py").read_text()
    assert '    # No input: "tax", suspicious: it alone tells 100 % of total; it may be a part of it, or known only after it.\n' in spec


def test_a_model_is_described_after_the_table_where_there_is_no_sample(project, capsys):
    """DM-13: Types, values, floors and what is left out are those of the rows that were ingested; the newest of very many are enough."""
    add_all(project, capsys)
    dataset, store = discovery.dataset("orders"), FolderStore(str(project / "store"))
    with pytest.raises(UnknownName, match=r"Give a sample file of orders, .* or ingest one first"):
        add.run(SETTINGS, store, "model", "orders_later", dataset="orders", label="total", project=project)
    rows = read_batch(project / "orders.csv", dataset)
    table_of(store, dataset).append(rows, "a" * 64)
    add.run(SETTINGS, store, "model", "orders_later", dataset="orders", label="total", project=project)
    importlib.invalidate_caches()
    after_sample, after_table = discovery.model("orders_total"), discovery.model("orders_later")
    same = {"name", "title"}
    assert after_table.model_dump(exclude=same) == after_sample.model_dump(exclude=same)
    assert "loses on snapshot 1 of orders" in (project / "include/perennial_models/orders_later/spec.py").read_text()


CLAIMS = "claim,seen,amount,site\n" + "".join(
    f"c{i},2024-01-{i % 28 + 1:02d} 10:00:00,{i % 13 * 0.5},{'left' if i % 3 else 'right'}\n" for i in range(60)
)
VERDICTS = "claim,known_at,fraud\n" + "".join(
    f"c{i},2024-02-{i % 28 + 1:02d} 10:00:00,{'yes' if i % 13 > 6 else 'no'}\n" for i in range(50)
)


def test_the_label_of_a_second_dataset_is_asked_for_by_its_name(project, capsys):
    """MO-01, DM-03: The commands of docs/how-to.md work as they are: the option finds key, label column and time; classes come from both
    tables, and what is written learns from both. A refusal of a label that another dataset brings names the option; what does not fit is
    refused with the reason."""
    store = FolderStore(str(project / "store"))
    pasted = re.search(r"become known later.*?```sh\n(.*?)```", (CHECKOUT / "docs/how-to.md").read_text(), re.DOTALL).group(1)
    for name in ("claims", "verdicts", "frauds"):
        pasted = re.sub(rf"(?<![-/\w]){name}\b", f"orders_{name}", pasted)
    lines = [vars(cli._parser().parse_args(line.split()[1:])) for line in pasted.splitlines()]
    added = [
        {name: value for name, value in line.items() if name not in ("package", "module", "result")} | {"project": project}
        for line in lines
        if line["module"] == "add"
    ]
    assert [line["module"] for line in lines] == ["add", "add", "land", "land", "add"]
    for name, content in (("orders_claims", CLAIMS), ("orders_verdicts", VERDICTS)):
        (project / f"{name}.csv").write_text(content)
        (command,) = (line for line in added if line["name"] == name)
        add.run(SETTINGS, store, **{**command, "sample": project / command["sample"]})
    importlib.invalidate_caches()
    asked = {**added[-1], "sample": project / "orders_claims.csv"}
    with pytest.raises(UnknownName, match="or take it from the label feed orders_verdicts: --labels orders_verdicts"):
        add.run(SETTINGS, store, **{**asked, "labels": None})
    with pytest.raises(UnknownName, match=r"orders_verdicts has no rows yet.*perennial land FILE --dataset orders_verdicts"):
        add.run(SETTINGS, store, **asked)
    with pytest.raises(UnknownName, match="The label feed orders_claims has no column fraud"):
        add.run(SETTINGS, store, **{**asked, "labels": "orders_claims"})
    for name in ("orders_claims", "orders_verdicts"):
        dataset = discovery.dataset(name)
        table_of(store, dataset).append(read_batch(project / f"{name}.csv", dataset), name.encode().hex().ljust(64, "0")[:64])
    capsys.readouterr()
    add.run(SETTINGS, store, **{**asked, "name": "orders_of_sample"})
    add.run(SETTINGS, store, **added[-1])
    assert "labels: of orders_verdicts, by claim, known at known_at: 50 of 60 rows of" in capsys.readouterr().out
    importlib.invalidate_caches()
    wanted = LabelSpec(dataset="orders_verdicts", key=("claim",), columns=("fraud",), known_at="known_at")
    for name in ("orders_of_sample", "orders_frauds"):
        spec = discovery.model(name)
        assert (spec.labels, spec.classes, spec.label) == (wanted, ("False", "True"), "fraud")
        assert spec.misfit(discovery.dataset("orders_claims"), discovery.dataset("orders_verdicts")) is None
    rows = model_snapshot(store, discovery.model("orders_frauds")).rows().sort_values("claim", key=lambda names: names.str[1:].astype(int))
    given = discovery.model_part("orders_frauds", "features").label({"fraud": rows["fraud"].to_numpy()})
    np.testing.assert_array_equal(given, [float(i % 13 > 6) if i < 50 else np.nan for i in range(60)])


def test_of_a_large_table_the_newest_rows_are_read(project, capsys, monkeypatch):
    """DM-13: What a model is described after must fit into memory."""
    add_all(project, capsys)
    dataset, store = discovery.dataset("orders"), FolderStore(str(project / "store"))
    table_of(store, dataset).append(read_batch(project / "orders.csv", dataset), "a" * 64)
    monkeypatch.setattr(_sample, "MOST_ROWS_OF_TABLE", 100)
    rows = _sample.rows_of_table(store, dataset).rows
    assert rows["order"].tolist() == list(range(10_000 + ORDERS - 100, 10_000 + ORDERS))


def test_the_floor_is_what_a_simple_rule_loses(project, capsys):
    """MO-13: Always saying the mean, or each class as often as it comes: nobody is asked to accept an rmse of 1 for totals in the
    thousands."""
    add_all(project, capsys)
    sample = orders()
    floor = discovery.model("orders_total").gate.floors["rmse"]
    assert sample["total"].std(ddof=0) <= floor <= 1.01 * sample["total"].std(ddof=0)
    share = (sample["late"] == "no").mean()
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert entropy <= discovery.model("orders_late").gate.floors["log_loss"] <= 1.01 * entropy


@pytest.mark.filterwarnings("ignore::DeprecationWarning:marshmallow.*", "ignore::DeprecationWarning:great_expectations.*")
@pytest.mark.filterwarnings("ignore::UserWarning:great_expectations.*")
@pytest.mark.parametrize("name", ["orders_total", "orders_late", "orders_channel"])
def test_a_model_trains_on_its_own_sample_and_meets_its_floor(project, capsys, name):
    """MO-01, MO-13: The sample is taken by the dataset that was made after it, and what was written learns from it as it is, whatever the
    label's scale."""
    add_all(project, capsys)
    store = FolderStore(str(project / "store"))
    store.write("landing/orders/orders.csv", (project / "orders.csv").read_bytes())
    settings = Settings(home=project / "home", store=store.root, landing_settle_seconds=0)
    taken = ingest.run(settings, store, "orders")
    assert taken.appended == {"orders.csv": ORDERS}, taken.sentence
    spec, dataset = discovery.model(name), discovery.dataset("orders")
    snapshot, folder = latest_snapshot(store, dataset), project / "version"
    train.fill_version_folder(folder, spec, dataset, snapshot, checkpoints=Checkpoints(project / "run"), max_epochs=None)
    features = discovery.model_part(name, "features")
    test = split(snapshot, spec, features).test
    columns = {column: test[column].to_numpy() for column in test.columns}
    wanted, given = features.label(columns), score(folder, {column: columns[column] for column in spec.inputs})
    metric, floor = next(iter(spec.gate.floors.items()))
    lost = (
        np.sqrt(np.mean((given[:, 0] - wanted) ** 2))
        if metric == "rmse"
        else -np.log(given[np.arange(len(wanted)), wanted.astype(int)]).mean()
    )
    assert len(test) > 50
    assert lost < 0.7 * floor


GEMS = "carat,depth,cut,price\n" + "".join(
    f"{0.2 + i % 37 / 10:.2f},{i / 10:.1f},{'Fair' if i % 3 else 'Ideal'},{900 + i % 37 * 210 + i % 11 // 2}\n" for i in range(300)
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:marshmallow.*", "ignore::DeprecationWarning:great_expectations.*")
@pytest.mark.filterwarnings("ignore::UserWarning:great_expectations.*")
def test_a_table_without_key_and_time_becomes_a_measured_version(project, capsys):
    """DM-01, DM-12: The commands choose a hash of the row and the time of landing, say why, and what they write takes its sample, trains
    on a random split, and is measured on the rows of its test part alone. Identical rows are in once."""
    sample = project / "gems.csv"
    sample.write_text(GEMS + GEMS.split("\n")[1] + "\n")
    add.run(SETTINGS, STORE, "dataset", "orders_gems", sample=sample, project=project)
    importlib.invalidate_caches()
    add.run(
        SETTINGS, STORE, "model", "orders_price", dataset="orders_gems", label="price", task="regression", sample=sample, project=project
    )
    importlib.invalidate_caches()
    said = capsys.readouterr().out
    assert "key: none, as no column names a row: rows are named by a hash of their content (1 of 301 rows repeat another" in said
    assert "event time: none, as no column is a time: the time at which a file lands counts." in said
    assert "split: each row at random, since orders_gems has no event time" in said
    store = FolderStore(str(project / "store"))
    store.write("landing/orders_gems/gems.csv", sample.read_bytes())
    settings = Settings(home=project / "home", store=store.root, landing_settle_seconds=0)
    assert ingest.run(settings, store, "orders_gems").appended == {"gems.csv": 300}
    spec, dataset = discovery.model("orders_price"), discovery.dataset("orders_gems")
    snapshot = latest_snapshot(store, dataset)
    train.fill_version_folder(project / "version", spec, dataset, snapshot, checkpoints=Checkpoints(project / "run"), max_epochs=1)
    version = evaluate.Sealed(train.begin_manifest(spec, snapshot, 1, cause="data"), project / "version")
    measured = evaluate.measure(store, spec, dataset, version, version, None)
    assert 30 < len(measured.labels) == version.record["rows"]["test"] < 90
    assert evaluate.describe(spec, dataset, version, None, {"test": measured})["parts"]["test"]["drawn"] == "rows"


def test_a_day_and_an_hour_are_the_time_and_the_key(project, capsys):
    """DM-01: A time in two columns is found, and names the rows where no other column does."""
    sample = project / "counts.csv"
    sample.write_text("day,hour,temp\n" + "".join(f"2026-03-{1 + i // 24:02d},{i % 24},{i % 7}.5\n" for i in range(96)))
    add.run(SETTINGS, STORE, "dataset", "orders_hours", sample=sample, project=project)
    importlib.invalidate_caches()
    spec = discovery.dataset("orders_hours")
    assert spec.key == (spec.event_time,)
    assert spec.files.time_of == {spec.event_time: ("day", "hour")}


def test_rows_that_come_twice_do_not_hide_the_key(project, capsys):
    """DM-01: A sample with identical rows has the key that it would have without them, and the line that says so counts them."""
    sample = project / "twice.csv"
    lines = (project / "orders.csv").read_text().splitlines(keepends=True)
    sample.write_text("".join([*lines[:30], *lines[1:4]]))
    add.run(SETTINGS, STORE, "dataset", "orders_twice", sample=sample, project=project)
    importlib.invalidate_caches()
    assert discovery.dataset("orders_twice").key == ("order",)
    assert "29 different values in 32 rows, where 3 that repeat another are dropped and counted" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning:marshmallow.*", "ignore::DeprecationWarning:great_expectations.*")
@pytest.mark.filterwarnings("ignore::UserWarning:great_expectations.*")
def test_a_time_that_is_yet_to_come_is_refused_by_any_new_suite(project, capsys):
    """DM-10: One row of the year 2131 would make all later days old."""
    add.run(SETTINGS, STORE, "dataset", "orders", sample=project / "orders.csv", project=project)
    importlib.invalidate_caches()
    store, rows = FolderStore(str(project / "store")), orders()
    rows.loc[0, "at"] = rows.loc[0, "at"].replace(year=2131)
    store.write("landing/orders/later.csv", rows.to_csv(index=False).encode())
    settings = Settings(home=project / "home", store=store.root, landing_settle_seconds=0)
    refused = ingest.run(settings, store, "orders").refused["later.csv"]
    assert "Suite orders refused batch later.csv" in refused
    assert "2131" in refused


def test_what_is_written_passes_format_and_lint_as_it_is(project, capsys):
    """DE-01: `make format check` has nothing to say of new files; the project's own settings decide."""
    add_all(project, capsys)
    add_anomaly_models(project)
    ruff = str(SETTINGS.venv("tools") / "bin" / "ruff")
    (project / "pyproject.toml").write_text((CHECKOUT / "pyproject.toml").read_text())
    (project / "include/perennial").symlink_to(CHECKOUT / "include/perennial")  # its imports stand apart from others'
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run([ruff, *command, "--no-cache", "include", "tests"], cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)  # what mypy knows of torch is kept after `make check`, and not before it
def test_what_is_written_passes_the_type_check(project, capsys):
    """DE-01: `make check` has nothing to say of new files under mypy's strict settings."""
    add_all(project, capsys)
    add_anomaly_models(project)
    for package in ("perennial_models", "perennial_datasets"):
        (project / "include" / package / "__init__.py").touch()
    tools = SETTINGS.venv("tools") / "bin"
    command = [str(tools / "mypy"), "--config-file", str(CHECKOUT / "pyproject.toml"), "--python-executable", sys.executable]
    command += [
        "--cache-dir",
        str(CHECKOUT / ".mypy_cache"),
        "--skip-cache-mtime-checks",
        *(f"include/{p}" for p in ("perennial_models", "perennial_datasets")),
    ]
    paths = ":".join(map(str, (project / "include", CHECKOUT / "include", CHECKOUT / "plugins")))
    done = subprocess.run(command, cwd=project, env={**os.environ, "MYPYPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_that_are_written_pass(project, capsys):
    """DE-01: `make test` runs them with all others."""
    add_all(project, capsys)
    add_anomaly_models(project)
    for name in ("orders_total", "orders_late", "orders_channel", "orders_time", "orders_odd", "orders_rare"):
        tests = load(project / f"tests/unit/perennial_models/{name}/test_{name}_features.py")
        tests.test_a_row_of_nulls_is_encoded()
        assert hasattr(tests, "test_the_label_is_no_input") == (name != "orders_odd")
        if name != "orders_odd":
            tests.test_the_label_is_no_input()
            tests.test_unknown_labels_are_nan()
        for promise in PROMISES:
            tests.test_it_keeps_what_every_model_keeps(promise)
    load(project / "tests/unit/perennial_datasets/test_orders.py").test_every_column_that_the_suite_names_exists()


def test_noise_tells_nothing_and_a_copy_tells_all():
    """DM-13: The share that a column tells alone is held out from its own rows."""
    rng = np.random.default_rng(3)
    label = pandas.Series(rng.normal(size=400))
    assert _sample.told_share(pandas.Series(rng.normal(size=400)), label, "regression") < 0.05
    assert _sample.told_share(label * 3 + 1, label, "regression") > 0.95
    classes = pandas.Series(np.where(label > 0, "a", "b"))
    assert _sample.told_share(classes.map({"a": "x", "b": "y"}), classes, "binary") > 0.95
    assert _sample.told_share(pandas.Series(rng.choice(["x", "y"], 400)), classes, "binary") < 0.05


def test_a_small_sample_gets_a_split_that_it_can_fill(tmp_path, sample, added):
    """DM-12: Twenty rows of twenty days: fewer held-out days and rows than by default, and a line that says so."""
    add.run(SETTINGS, STORE, "model", "asks", dataset="sales", label="sold", sample=sample, project=tmp_path)
    cut = load(tmp_path / "include/perennial_models/asks/spec.py").MODEL.split
    assert (cut.test_days, cut.validation_days) == (4, 3)
    assert 1 <= cut.min_train_rows <= 12


@pytest.mark.parametrize(
    ("rows_of_days", "test", "validation"),
    [
        ([10] * 240, 48, 34),  # a fifth and a seventh
        ([2000] * 3, 1, 1),
        ([500] * 60 + [1] * 40, 41, 14),  # the newest days have few rows
        ([1] * 4 + [0] * 3 + [1] * 3, 2, 1),
    ],
)
def test_the_split_is_chosen_by_the_days_and_rows_of_the_sample(rows_of_days, test, validation):
    """MO-07: Of 240 days of ten rows, seven would test on 3 % of the rows: the newest fifth tests, and more where it has few rows."""
    first = pandas.Timestamp("2024-01-01")
    days = [first + pandas.Timedelta(days=day) for day, rows in enumerate(rows_of_days) for _ in range(rows)]
    cut, _ = _new_model._split_and_training(pandas.DataFrame({"at": days}), "at")
    assert (cut.test_days, cut.validation_days) == (test, validation)
    assert 1 <= cut.min_train_rows <= sum(rows_of_days[: -test - validation])


def test_a_part_of_the_key_may_describe_a_row(tmp_path, monkeypatch):
    """DM-13: Of hours of five buildings the building is the best there is to learn from; the hour is read as features, not left out."""
    rng = np.random.default_rng(5)
    times = pandas.date_range("2024-03-01", periods=200, freq="h")
    rows = pandas.DataFrame(
        [(f"b{b}", at, 100.0 * b + rng.normal(0, 9)) for at in times for b in range(5)], columns=["building", "at", "kwh"]
    )
    rows.to_csv(tmp_path / "hours.csv", index=False)
    add.run(SETTINGS, STORE, "dataset", "hours", sample=tmp_path / "hours.csv", key="building,at", project=tmp_path)
    spec = load(tmp_path / "include/perennial_datasets/hours.py").DATASET
    monkeypatch.setattr(discovery, "dataset", lambda name: spec)
    add.run(SETTINGS, STORE, "model", "use", dataset="hours", label="kwh", sample=tmp_path / "hours.csv", project=tmp_path)
    folder = tmp_path / "include/perennial_models/use"
    assert load(folder / "spec.py").MODEL.inputs == ("at", "building")
    assert "Not among the inputs: nothing" in (folder / "README.md").read_text()


def test_a_new_dataset_has_its_landing_folder(tmp_path, sample, capsys):
    """DM-01: Where the next line says that a file goes."""
    store = FolderStore(str(tmp_path / "store"))
    add.run(SETTINGS, store, "dataset", "sales", sample=sample, project=tmp_path)
    assert (tmp_path / "store/landing/sales").is_dir()
    assert f"put a file into {store.uri('landing/sales')}/" in capsys.readouterr().out


def test_a_dataset_without_a_time_gets_a_split_at_random(tmp_path, monkeypatch, capsys):
    """DM-12: Nothing orders its rows; what is written trains by that split, and a line says why."""
    file = tmp_path / "flowers.csv"
    file.write_text("flower,petal,kind\n" + "".join(f"f{i},{i % 7 + 0.5},{'iris' if i * 37 % 11 > 5 else 'rose'}\n" for i in range(100)))
    columns = [{"name": name, "type": kind} for name, kind in (("flower", "string"), ("petal", "float"), ("kind", "string"))]
    spec = DatasetSpec(name="flowers", title="Flowers", owner="ada", columns=columns, key=(), row_id="content", event_time="")
    monkeypatch.setattr(discovery, "datasets", lambda: {"flowers": spec})
    monkeypatch.setattr(discovery, "dataset", lambda name: spec)
    add.run(SETTINGS, STORE, "model", "kinds", dataset="flowers", label="kind", sample=file, task="binary", project=tmp_path)
    cut = load(tmp_path / "include/perennial_models/kinds/spec.py").MODEL.split
    assert (cut.by, cut.min_train_rows) == ("random", 56)
    assert "split: each row at random, since flowers has no event time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "chosen", "said"),
    [
        (
            "id,sent,made\n1,,2026-01-01\n2,2026-01-03,2026-01-02\n",
            "made",
            "event time: made, the first without a gap of the times sent, made;",
        ),
        ("id,sent\n1,\n2,2026-01-03\n", "sent", "event time: sent is missing in 1 of 2 rows: such rows are stored, but are on no day"),
    ],
)
def test_a_time_without_gaps_is_the_event_time(tmp_path, text, chosen, said):
    """MO-01: Rows without a time would be in no split: another time is taken, or it is told."""
    from perennial.commands._new_dataset import dataset_files
    from perennial.commands._sample import read_sample

    (tmp_path / "a.csv").write_text(text)
    files, words = dataset_files("made", read_sample(tmp_path / "a.csv"), None, None)
    assert f'event_time="{chosen}"' in next(iter(files.values()))
    assert any(line.startswith(said) for line in words)


@pytest.mark.parametrize(
    ("kind", "asked", "wrong"),
    [
        ("dataset", {"name": "9lives", "key": "no,none"}, ["'9lives' is not a name", "has no column no and no column none"]),
        ("dataset", {"name": "class", "sample": Path("nowhere.csv")}, ["'class' is a word of Python", "There is no file nowhere.csv"]),
        ("dataset", {"name": "sales", "event_time": "when"}, ["has no column when", "sales.py exists already"]),
        ("model", {"name": "Sold", "dataset": "sales", "label": "price"}, ["'Sold' is not a name", "has no column price"]),
        ("model", {"name": "sold", "sample": Path("nowhere.csv")}, ["Say what the model learns from", "There is no file nowhere.csv"]),
        ("model", {"name": "sold", "dataset": "sales", "label": "id", "task": "regression", "sample": Path("nowhere.csv")},
            ["id names the rows of sales", "There is no file nowhere.csv"]),
    ],
)  # fmt: skip
def test_everything_that_is_wrong_is_told_at_once(tmp_path, sample, added, kind, asked, wrong):
    """DM-01: A line for each thing, and nothing is written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnknownName) as told:
        add.run(SETTINGS, STORE, kind, **{"sample": sample, "project": tmp_path, **asked})
    lines = str(told.value).splitlines()
    assert [words in line for words, line in zip(wrong, lines, strict=True)] == [True] * len(wrong)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (range(60), "task: regression, since y is a whole number of more than 50 values"),
        ([1, 2, 3] * 20, "task: multiclass, since y has the values 1, 2, 3; --task says otherwise, or regression if they are amounts"),
        ([0.5, 1.25, 2] * 20, "task: regression, since y has numbers with a point"),
        (["web", "shop"] * 30, "task: binary, since y has the values shop, web; --task says otherwise"),
    ],
)
def test_the_task_follows_the_labels_values_and_is_said(tmp_path, monkeypatch, capsys, values, words):
    """DM-01, DM-10: Classes for few values, words and truths; a number of very many values is an amount."""
    file = tmp_path / "tasks.csv"
    rows = [f"{place},2024-01-{place % 28 + 1:02d},{place * 7 % 11},{value}" for place, value in enumerate(values)]
    file.write_text("id,at,x,y\n" + "\n".join(rows) + "\n")
    add.run(SETTINGS, STORE, "dataset", "tasks", sample=file, key="id", project=tmp_path)
    spec = load(tmp_path / "include/perennial_datasets/tasks.py").DATASET
    monkeypatch.setattr(discovery, "dataset", lambda name: spec)
    capsys.readouterr()
    add.run(SETTINGS, STORE, "model", "m", dataset="tasks", label="y", sample=file, project=tmp_path)
    assert words in capsys.readouterr().out
