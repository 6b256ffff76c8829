"""Export: the files of a version folder give what training computed, edge rows included."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from perennial import discovery
from perennial.encoding import columns_from_rows
from perennial.errors import StoredDataDamaged, TrainingRefused
from perennial.specs import DatasetSpec, FileForm, ModelSpec
from perennial.training import export as module
from perennial.training.calibration import Calibration
from perennial.training.export import GOLDEN_ROWS, TOLERANCE, export, golden_columns
from perennial.training.learners.lightning import Network
from perennial.training.module import TaskModule
from perennial.training.scoring import score

Sealed = Callable[..., Path]
CALIBRATION = Calibration(1.3, (0.2, -0.2))


@pytest.fixture
def sealed(
    toy_model: type[TaskModule],
    toy_spec: Callable[..., ModelSpec],
    toy_columns: Callable[..., dict[str, np.ndarray]],
    toy_features: ModuleType,
    toy_dataset: DatasetSpec,
    tmp_path: Path,
) -> Sealed:
    """The files of an untrained toy version."""

    def make(task: str = "binary", calibration: Calibration | None = CALIBRATION, name: str = "version") -> Path:
        spec, columns = toy_spec(task), toy_columns(task)
        encoder = toy_features.fit(columns)
        torch.manual_seed(0)
        model = toy_model(encoder, spec)
        export(
            tmp_path / name,
            spec=spec,
            dataset=toy_dataset,
            features=toy_features,
            encoder=encoder,
            learned=Network(model),
            calibration=calibration,
            inputs=toy_features.encode(encoder, columns),
            columns=columns,
        )
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("task", "calibration"),
    [
        ("binary", CALIBRATION),
        ("multiclass", Calibration(0.5, (0.0, 1.0, -1.0))),
        ("multiclass", Calibration(1.0, (0.0, 0.0, 0.0))),
        ("regression", None),
    ],
)
def test_golden_rows_come_out_again(sealed: Sealed, task: str, calibration: Calibration | None) -> None:
    """MO-22, DM-18, SY-21: Read from JSON as a request would be, encoded by the folder's own files: the same scores within the
    tolerance."""
    folder = sealed(task, calibration)
    golden = json.loads((folder / "golden.json").read_text())
    found = score(folder, columns_from_rows(golden["rows"], ["x", "n", "kind"]))
    assert found == pytest.approx(np.array(golden["scores"]), abs=golden["tolerance"])
    assert found.shape[1] == {"binary": 2, "multiclass": 3, "regression": 1}[task]
    if task != "regression":
        assert found.sum(axis=1) == pytest.approx(np.ones(len(found)), abs=1e-5)


def test_golden_rows_have_the_edges(sealed: Sealed) -> None:
    """DE-14: A null in every nullable input alone and in all together, a value never seen in every text; whole numbers stay whole."""
    golden = json.loads((sealed() / "golden.json").read_text())
    rows = golden["rows"]
    assert len(rows) >= GOLDEN_ROWS >= 32
    assert golden["tolerance"] == TOLERANCE
    assert any(row["x"] is None and row["n"] is not None for row in rows)
    assert any(row["n"] is None and row["x"] is not None for row in rows)
    assert any(row["x"] is None and row["n"] is None for row in rows)
    assert any(row["kind"] == "never seen" for row in rows)
    assert {type(row["n"]) for row in rows} == {int, type(None)}


def test_json_is_strict(sealed: Sealed) -> None:
    """DE-24: No NaN, no Infinity: every JSON file is readable by anything."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for file in sealed().glob("*.json"):
        json.loads(file.read_text(), parse_constant=refuse)


def test_the_signature_names_the_inputs(sealed: Sealed) -> None:
    """MO-12: Name, type and whether it may be null, in request order; and whether unknown fields are refused."""
    signature = json.loads((sealed() / "signature.json").read_text())
    assert signature["strict"] is False
    assert signature["classes"] == ["no", "yes"]
    assert signature["inputs"] == [
        {"name": "x", "nullable": True, "type": "float"},
        {"name": "n", "nullable": True, "type": "int"},
        {"name": "kind", "nullable": False, "type": "string"},
    ]


def test_the_signature_carries_the_form_of_files() -> None:
    """DM-18, MO-12: What requests follow of it, as JSON; nothing where nothing is declared, so that versions from before are the same."""
    spec, dataset = discovery.model("flight_delays"), discovery.dataset("flights")
    form = FileForm(separator=";", decimal=",", nulls=("n/a",), extra="drop", fields={"carrier": "Linie", "tailnum": "Kennzeichen"})
    assert "files" not in module.signature(spec, dataset)
    told = module.signature(spec, dataset.model_copy(update={"files": form}))["files"]
    assert json.loads(json.dumps(told)) == told == {"decimal": ",", "nulls": ["n/a"], "fields": {"carrier": "Linie"}}


def test_any_number_of_rows_is_scored(sealed: Sealed, toy_columns: Callable[..., dict[str, np.ndarray]]) -> None:
    """SE-01: One row, many rows and rows in several batches have the same scores."""
    folder, columns = sealed(), toy_columns(rows=50, seed=9)
    together = score(folder, columns)
    assert score(folder, columns, batch=7) == pytest.approx(together, abs=1e-6)
    assert score(folder, {name: values[3:4] for name, values in columns.items()}) == pytest.approx(together[3:4], abs=1e-6)


def test_the_same_weights_give_the_same_bytes(sealed: Sealed) -> None:
    """MO-11: No time, no path of this machine in any file: the content address follows from the weights."""
    first, second = sealed(name="a"), sealed(name="b")
    assert {file.name: file.read_bytes() for file in first.iterdir()} == {file.name: file.read_bytes() for file in second.iterdir()}


def test_a_model_that_onnx_computes_otherwise_is_refused(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-22, SY-21: The sentence says how far apart and what to change."""
    right = module.run_session
    monkeypatch.setattr(module, "run_session", lambda *given: right(*given) + 2 * TOLERANCE)
    with pytest.raises(TrainingRefused, match=r"ONNX and torch differ by 0\.0002 .* toy/model\.py"):
        sealed()
    monkeypatch.setattr(module, "run_session", lambda *given: right(*given) * np.nan)
    with pytest.raises(TrainingRefused, match="differ by nan"):
        sealed()


def test_few_rows_still_give_golden_ones(
    toy_spec: Callable[..., ModelSpec], toy_columns: Callable[..., dict[str, np.ndarray]], toy_dataset: DatasetSpec
) -> None:
    """MO-14: Rows are repeated where there are fewer than golden ones."""
    assert len(golden_columns(toy_spec(), toy_dataset, toy_columns(rows=3))["x"]) >= GOLDEN_ROWS


def test_a_folder_without_features_is_damaged(sealed: Sealed, toy_columns: Callable[..., dict[str, np.ndarray]]) -> None:
    """MO-17: The sentence names the file."""
    folder = sealed()
    (folder / "features.py").unlink()
    with pytest.raises(StoredDataDamaged, match=r"features\.py is missing"):
        score(folder, toy_columns())


def test_the_folders_own_features_are_used(sealed: Sealed, toy_columns: Callable[..., dict[str, np.ndarray]], tmp_path: Path) -> None:
    """DM-13: Not those of the model's folder as it is today: an older version goes on computing what it did."""
    folder = sealed()
    other = shutil.copytree(folder, tmp_path / "other")
    text = (other / "features.py").read_text()
    (other / "features.py").write_text(
        text.replace("return encoder.encode(columns)", "return encoder.encode({**columns, 'x': columns['x'] * 0})")
    )
    assert not np.allclose(score(other, toy_columns()), score(folder, toy_columns()))
