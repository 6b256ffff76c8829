"""Pictures and arrays all the way: from a landed archive to a table, a version, its scores, the log of predictions and drift."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import zipfile

import numpy as np
import pyarrow as pa
import pytest
import torch

from perennial.data import snapshots
from perennial.data.tables import Table
from perennial.encoding import Encoder, Pixels, Tensor, columns_from_rows
from perennial.monitoring.drift import find_drift
from perennial.monitoring.prediction_table import INPUT, Collected, collect_predictions
from perennial.pictures import as_png
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.serving.request import read_request, read_signature
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, FileForm, GateSpec, ModelSpec, MonitoringSpec
from perennial.stages import ingest
from perennial.store import FolderStore
from perennial.training.export import TOLERANCE, export
from perennial.training.learners.lightning import Network
from perennial.training.module import TaskModule
from perennial.training.scoring import score

PARTS = DatasetSpec(
    name="parts", title="Parts", owner="tests", key=("serial",), event_time="made",
    columns=(
        Column(name="serial", type="int"), Column(name="made", type="timestamp"),
        Column(name="photo", type="image", shape=(6, 6), mode="RGB"),
        Column(name="heat", type="array", of="float", shape=(2, 2), nullable=True),
        Column(name="broken", type="float"),
    ),
    files=FileForm(fields={"photo": "file"}),
)  # fmt: skip
MODEL = ModelSpec(
    name="breaks", title="Breaks", owner="tests", dataset="parts", task="binary", classes=("no", "yes"), label="broken",
    inputs=("photo", "heat"), gate=GateSpec(floors={}),
)  # fmt: skip
FEATURES = '''"""A picture and an array."""
from perennial.encoding import Encoder, Pixels, Tensor, numbers


def label(columns):
    return numbers(columns["broken"])


def fit(columns):
    return Encoder({"pixels": [Pixels("photo", (6, 6), "RGB")], "heat": [Tensor.fit(columns, "heat", (2, 2))]})


def encode(encoder, columns):
    return encoder.encode(columns)
'''


class Breaks(TaskModule):
    """A layer over all numbers."""

    def __init__(self, encoder, spec):
        super().__init__(encoder, spec)
        self.layer = torch.nn.Linear(3 * 6 * 6 + 4, 2)

    def forward(self, pixels, heat):
        """Logits."""
        return self.layer(torch.cat([pixels.flatten(1), heat.flatten(1)], dim=1))


def archive(rows=120, light=100, seed=0):
    """Photos of parts and the table that names them."""
    rng, out = np.random.default_rng(seed), io.BytesIO()
    with zipfile.ZipFile(out, "w") as members:
        lines = []
        for number in range(rows):
            shape = (6, 6, 3) if number % 2 else (9, 7)  # cameras differ
            members.writestr(f"photos/{number}.png", as_png(np.clip(rng.normal(light, 20, shape), 0, 255).astype(np.uint8)))
            heat = None if number % 10 == 0 else np.round(rng.normal(size=(2, 2)), 3).tolist()
            made = f"2026-05-{1 + number * 20 // rows:02} {number % 24:02}:00"
            lines.append({"serial": number, "made": made, "file": f"photos/{number}.png", "heat": heat, "broken": number % 2})
        members.writestr("parts.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return out.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store whose table has the rows of one archive."""
    store = FolderStore(str(tmp_path_factory.mktemp("store")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "dataset_spec", lambda name: PARTS)
        patch.setattr(validation, "validate", lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, True, None, ()))
        patch.setattr(data_docs, "write_index", lambda store, dataset: None)
        store.write("landing/parts/may.zip", archive())
        result = ingest.run(Settings(store="unused", landing_settle_seconds=0), store, "parts")
        assert result.outcome == "done", result.sentence
    return store


@pytest.fixture(scope="module")
def rows(store):
    """The rows of the table."""
    return snapshots.latest_snapshot(store, PARTS).rows()


@pytest.fixture(scope="module")
def version(rows, tmp_path_factory):
    """The files of an untrained version."""
    file = tmp_path_factory.mktemp("model") / "features.py"
    file.write_text(FEATURES)
    spec = importlib.util.spec_from_file_location("features_of_parts", file)
    features = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(features)
    columns = {name: rows[name].to_numpy() for name in rows.columns}
    encoder = features.fit(columns)
    torch.manual_seed(0)
    module = Breaks(encoder, MODEL)
    inputs = features.encode(encoder, columns)
    folder = file.parent / "version"
    parts = {"features": features, "encoder": encoder, "learned": Network(module), "inputs": inputs, "columns": columns}
    export(folder, spec=MODEL, dataset=PARTS, calibration=None, **parts)
    return folder


def test_the_table_has_the_pictures_as_they_came(rows):
    """DM-06: Byte for byte, whatever their size; arrays one number after the other."""
    assert len(rows) == 120
    with zipfile.ZipFile(io.BytesIO(archive())) as members:
        assert all(rows.photo[n] == members.read(f"photos/{rows.serial[n]}.png") for n in range(0, 120, 17))
    assert sum(value is None for value in rows.heat) == 12
    assert {len(value) for value in rows.heat if value is not None} == {4}


def test_a_version_scores_requests_as_it_scores_the_table(rows, version):
    """DM-18, MO-22: Rows as a caller sends them, read by the version's signature, have the scores of the rows in the table."""
    golden = json.loads((version / "golden.json").read_text())
    as_given = score(version, columns_from_rows(golden["rows"], MODEL.inputs))
    assert as_given == pytest.approx(np.array(golden["scores"]), abs=TOLERANCE)
    signature = read_signature(json.loads((version / "signature.json").read_text()))
    request = read_request(json.dumps({"data": {"rows": golden["rows"]}}), signature)
    assert np.array_equal(score(version, request.columns), as_given)
    columns = {name: rows[name].to_numpy() for name in MODEL.inputs}
    encoder = Encoder({"pixels": [Pixels("photo", (6, 6), "RGB")], "heat": [Tensor.fit(columns, "heat", (2, 2))]})
    assert encoder.encode(columns)["pixels"].shape == (120, 3, 6, 6)


def test_predictions_come_back_from_the_log_as_they_were(store, version):
    """MN-03: Pictures are base64 there and bytes in the table; nested arrays and flat ones are one."""
    golden = json.loads((version / "golden.json").read_text())["rows"]
    nested = [{**row, "heat": None if row["heat"] is None else [row["heat"][:2], row["heat"][2:]]} for row in golden]
    about = {"model": "breaks", "version": 1, "time": "2026-06-01T10:00:00+00:00", "event_time": "2026-06-01T10:00:00", "ms": 1.0}
    lines = [json.dumps({"id": f"{place:04}", **about, "row": row, "scores": [0.5, 0.5]}) for place, row in enumerate([*golden, *nested])]
    table = store_of_predictions(store, lines)
    by_id = sorted(table.to_pylist(), key=lambda row: row["prediction_id"])
    signature = read_signature(json.loads((version / "signature.json").read_text()))
    columns = read_request(json.dumps({"data": {"rows": golden}}), signature).columns
    for place, row in enumerate(by_id):
        wanted = {name: values[place % len(golden)] for name, values in columns.items()}
        assert row[INPUT + "photo"] == wanted["photo"]
        assert row[INPUT + "heat"] == (None if wanted["heat"] is None else wanted["heat"].tolist())


def store_of_predictions(store, lines):
    """The table of predictions after these lines were logged."""
    store.write("predictions/breaks/one.jsonl", ("\n".join(lines) + "\n").encode())
    assert collect_predictions(store, MODEL, PARTS, Table(store, "breaks_predictions")) == Collected(segments=1, rows=len(lines))
    return Table(store, "breaks_predictions").scan()


def test_darker_pictures_drift(rows):
    """MN-11: Brightness is measured, so a lamp that fails is seen; the arrays, which did not change, did not drift."""
    table = pa.table({"photo": pa.array(rows.photo, pa.binary()), "heat": pa.array(list(rows.heat), pa.list_(pa.float64()))})
    layout = fit_layout(table, ["photo", "heat"], types={column.name: column.type for column in PARTS.columns})
    assert layout.names == (
        "photo[bytes]", "photo[width]", "photo[height]", "photo[brightness]", "photo[contrast]",
        "heat[missing]", "heat[mean]", "heat[deviation]",
    )  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(archive(light=60, seed=1))) as members:
        darker = table.set_column(0, "photo", pa.array([members.read(f"photos/{n}.png") for n in range(120)], pa.binary()))
    verdict = find_drift(profile(table, layout, blocks=20), profile(darker, layout, blocks=20), MonitoringSpec(), seed=1)
    drifted = {column.column for column in verdict.columns if column.drifted}
    assert "photo[brightness]" in drifted
    assert not any(name.startswith("heat") for name in drifted)


def test_the_same_row_again_is_no_correction(tmp_path, monkeypatch):
    """DM-06: Pictures, and arrays with gaps, are equal to themselves: a row that comes again changes nothing."""
    spec = PARTS.model_copy(update={"rows": "corrected", "on_known_key": "replace", "files": FileForm()})
    monkeypatch.setattr(ingest, "dataset_spec", lambda name: spec)
    monkeypatch.setattr(validation, "validate", lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, True, None, ()))
    monkeypatch.setattr(data_docs, "write_index", lambda store, dataset: None)
    photo = base64.b64encode(as_png(np.zeros((2, 2), np.uint8))).decode()
    row = {"serial": 1, "made": "2026-05-04 06:00", "photo": photo, "heat": [[1, None], [2, 3]], "broken": 0}
    first, second = [row, {**row, "serial": 2}], [row, row, {**row, "serial": 2, "heat": [[1, None], [2, 4]]}]
    store, said = FolderStore(str(tmp_path)), ""
    for name, rows in (("a", first), ("b", second)):
        store.write(f"landing/parts/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        said = ingest.run(Settings(store="unused", landing_settle_seconds=0), store, "parts").sentence
    assert said.endswith("1 replaced, 1 unchanged, 1 repeated.")
