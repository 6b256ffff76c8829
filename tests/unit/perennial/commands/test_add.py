"""`perennial add`: a sample becomes a dataset, a dataset becomes a model, and what is written works as it is."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from perennial import discovery
from perennial.commands import add
from perennial.encoding import columns_from_rows
from perennial.errors import UnknownName

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
    add.run(None, None, "dataset", "sales", sample=sample, project=tmp_path)
    spec = load(tmp_path / "include/perennial_datasets/sales.py").DATASET
    monkeypatch.setattr(discovery, "dataset", lambda name: spec)
    return spec


def test_a_dataset_is_described_after_its_sample(tmp_path, added):
    """Types, key and event time come from the file, and the suite asks for exactly these columns."""
    assert {c.name: c.type for c in added.columns} == {
        "id": "int",
        "at": "timestamp",
        "colour": "string",
        "weight": "float",
        "sold": "string",
    }
    assert (added.key, added.event_time) == (("id",), "at")
    suite = json.loads((tmp_path / "great_expectations/expectations/sales.json").read_text())
    assert suite["expectations"][0]["kwargs"]["column_set"] == [c.name for c in added.columns]
    assert (tmp_path / "tests/unit/perennial_datasets/test_sales.py").exists()


@pytest.mark.parametrize(("label", "task", "outputs"), [("sold", "binary", 2), ("weight", "regression", 1)])
def test_a_model_can_be_called_as_it_was_written(tmp_path, sample, added, label, task, outputs):
    """Features and network fit together, and unknown labels are NaN."""
    add.run(None, None, "model", "asks", dataset="sales", label=label, sample=sample, project=tmp_path)
    folder = tmp_path / "include/perennial_models/asks"
    spec, features, model = load(folder / "spec.py").MODEL, load(folder / "features.py"), load(folder / "model.py")
    assert (spec.task, spec.label) == (task, label)
    rows = columns_from_rows(
        [{"colour": "red", "weight": 1.0, "sold": "web"}, {"colour": None, "weight": None, "sold": None}], [c.name for c in added.columns]
    )
    encoder = features.fit(rows)
    logits = model.Model(encoder, spec)(**{n: torch.from_numpy(t) for n, t in features.encode(encoder, rows).items()})
    assert logits.shape == (2, outputs)
    np.testing.assert_array_equal(features.label(rows), [1.0, np.nan])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "dataset", "name": "Sales"}, "is not a name"),
        ({"kind": "dataset", "name": "more"}, "Give a sample file"),
        ({"kind": "dataset", "name": "sales", "sample": "SAMPLE"}, "exists already"),
        ({"kind": "dataset", "name": "more", "sample": "SAMPLE", "key": "nr"}, "has no column nr"),
        ({"kind": "model", "name": "asks"}, "--dataset NAME --label COLUMN"),
        ({"kind": "model", "name": "asks", "dataset": "sales", "label": "price"}, "has no column price"),
        ({"kind": "model", "name": "asks", "dataset": "sales", "label": "sold"}, "Give a sample file of sales"),
        ({"kind": "model", "name": "asks", "dataset": "sales", "label": "sold", "sample": "OTHER"}, "has no column sold"),
    ],
)
def test_what_cannot_be_known_is_asked_for(tmp_path, sample, added, arguments, words):
    """Each missing or wrong argument gets a sentence with the next step, and nothing is overwritten."""
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    arguments = {k: {"SAMPLE": sample, "OTHER": other}.get(v, v) for k, v in arguments.items()}
    with pytest.raises(UnknownName, match=words):
        add.run(None, None, project=tmp_path, **arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "cannot be read|no rows"), ("a,b\n1,2\n1,2\n", "No column of .* is a time"), ("at\n2024-01-01 00:00:00\n", "names a row")],
)
def test_a_poor_sample_is_explained(tmp_path, text, words):
    """A sample without rows, times or a key says which."""
    file = tmp_path / "poor.csv"
    file.write_text(text)
    with pytest.raises(UnknownName, match=words):
        add.run(None, None, "dataset", "poor", sample=file, project=tmp_path)


def test_a_missing_sample_is_named(tmp_path):
    """The path that was given is in the sentence."""
    with pytest.raises(UnknownName, match=r"no file .*nowhere\.csv"):
        add.run(None, None, "dataset", "poor", sample=tmp_path / "nowhere.csv", project=tmp_path)


def test_any_column_name_is_written_as_it_is(tmp_path):
    """Quotes in a header do not break the file that is written."""
    file = tmp_path / "odd.csv"
    file.write_text('"weight ""net""",sold at\n1,2024-01-01 10:00:00\n2,2024-01-02 10:00:00\n')
    add.run(None, None, "dataset", "odd", sample=file, project=tmp_path)
    spec = load(tmp_path / "include/perennial_datasets/odd.py").DATASET
    assert [c.name for c in spec.columns] == ['weight "net"', "sold at"]
    assert (spec.key, spec.event_time) == (('weight "net"',), "sold at")
