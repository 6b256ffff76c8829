"""Export of a trained module to the files of a version folder, with a check that ONNX computes the same as torch."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch

from perennial.encoding import Columns, Encoder, rows_from_columns, text
from perennial.errors import TrainingRefused
from perennial.forms import form_of_requests
from perennial.specs import DatasetSpec, ModelSpec
from perennial.training.batches import Rows
from perennial.training.calibration import Calibration
from perennial.training.module import TaskModule
from perennial.training.scoring import open_session, run_session

# largest difference of a score between torch and ONNX, and between training and serving; of the largest score where that is above 1
TOLERANCE = 1e-4
GOLDEN_ROWS = 48
_OPSET = 18
_UNSEEN: dict[str, Any] = {"string": "never seen", "text": "Never seen: \U0001f389", "list": []}


class _Scores(torch.nn.Module):
    """Wraps a model so that it takes tensors by position, as ONNX export requires, and returns scores."""

    def __init__(self, module: TaskModule, names: list[str], calibration: Calibration | None) -> None:
        super().__init__()
        self.module, self.names = module, names
        self.calibration = calibration
        self.shift = torch.tensor(calibration.shift if calibration else ())

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(**dict(zip(self.names, tensors, strict=True)))
        return torch.softmax(logits * self.calibration.scale + self.shift, dim=-1) if self.calibration else logits


def export(
    folder: Path,
    *,
    spec: ModelSpec,
    dataset: DatasetSpec,
    features: ModuleType,
    encoder: Encoder,
    module: TaskModule,
    calibration: Calibration | None,
    rows: Rows,
    columns: Columns,
) -> None:
    """Write model.onnx, encoder.json, signature.json, golden.json and features.py into `folder`.

    `rows` and `columns` are the same rows of the validation split, encoded and as they came; some of them become golden rows.

    Raises:
        TrainingRefused: ONNX and torch differ by more than TOLERANCE, as a share of the largest score where that is above 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(encoder.tensors)
    scores = _Scores(module, names, calibration).eval()
    _write_onnx(folder / "model.onnx", scores, names, {name: values[:2] for name, values in rows.inputs.items()})
    encoder = Encoder.from_json(_write_json(folder / "encoder.json", encoder.to_json()))  # as serving will read it
    _write_json(folder / "signature.json", signature(spec, dataset))
    shutil.copyfile(str(features.__file__), folder / "features.py")

    golden = golden_columns(spec, dataset, columns)
    encoded = features.encode(encoder, golden)
    with torch.inference_mode():
        expected = scores(*(torch.from_numpy(encoded[name]) for name in names)).numpy()
    exported = run_session(open_session(folder / "model.onnx"), encoded)
    apart = float(np.abs(exported - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))  # a regression's values are as large as its label's, in 32 bits
    if not apart <= allowed:
        raise TrainingRefused(
            f"ONNX and torch differ by {apart:.2g} on the golden rows, more than {allowed:g}: "
            f"use layers in {spec.name}/model.py that ONNX computes alike, then train again."
        )
    _write_json(
        folder / "golden.json",
        {"rows": rows_from_columns(golden, spec.inputs), "scores": expected.astype(np.float64).tolist(), "tolerance": allowed},
    )


def as_onnx(file: Path, module: TaskModule, tensors: Mapping[str, np.ndarray]) -> Path:
    """Write a module as it is, without calibration, to a file of ONNX that takes any number of rows of these tensors. The file."""
    example = {name: torch.from_numpy(np.ascontiguousarray(values[:2])) for name, values in tensors.items()}
    _write_onnx(file, _Scores(module, list(tensors), None).eval(), list(tensors), example)
    return file


def golden_columns(spec: ModelSpec, dataset: DatasetSpec, columns: Columns) -> dict[str, np.ndarray]:
    """Rows spread over the given ones, then for each nullable input a row without it, and for each input of words, texts or lists
    a row with a value never seen: a word, a text, an empty list."""
    total = len(columns[spec.inputs[0]])
    nullable = [name for name in spec.inputs if dataset.column(name).nullable]
    unseen = [name for name in spec.inputs if dataset.column(name).type in _UNSEEN]
    edges = len(nullable) + len(unseen) + (1 if nullable else 0)
    places = np.linspace(0, total - 1, GOLDEN_ROWS + edges).astype(int)
    golden = {name: columns[name][places].astype(object) for name in spec.inputs}
    for name in spec.inputs:
        if dataset.column(name).type == "int":  # nullable ones come as floats; a request writes 2, not 2.0
            golden[name] = np.array([None if text(value) is None else int(value) for value in golden[name]], dtype=object)
    row = GOLDEN_ROWS
    for name in nullable:
        golden[name][row] = None
        row += 1
    for name in unseen:
        golden[name][row] = _UNSEEN[dataset.column(name).type]
        row += 1
    for name in nullable:
        golden[name][-1] = None
    return golden


def signature(spec: ModelSpec, dataset: DatasetSpec) -> dict[str, Any]:
    """The content of `signature.json`: what callers send to a version, and what its answers mean."""
    columns = [dataset.column(name) for name in spec.inputs]
    inputs = [
        {"name": column.name, "type": column.type, "nullable": column.nullable}
        | ({"of": column.of} if column.of else {})
        | ({"longest": column.longest} if column.longest else {})
        | ({"shape": list(column.shape)} if column.shape else {})
        | ({"mode": column.mode} if column.mode else {})
        for column in columns
    ]
    return {
        "model": spec.name,
        "task": spec.task,
        "classes": list(spec.classes),
        "inputs": inputs,
        "strict": spec.serving.strict,
        "time_zone": dataset.time_zone,
        **({"files": form} if (form := form_of_requests(dataset.files, spec.inputs)) else {}),
    }


def _write_onnx(file: Path, scores: torch.nn.Module, names: list[str], example: dict[str, torch.Tensor]) -> None:
    dynamic = {name: {0: "rows"} for name in [*names, "scores"]}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The tracing exporter: 0.1 s and bytes that follow from the weights alone; the newer one takes 3 s
        # and writes machine paths into the file.
        torch.onnx.export(
            scores,
            tuple(example[name] for name in names),
            str(file),
            input_names=names,
            output_names=["scores"],
            dynamic_axes=dynamic,
            opset_version=_OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(file))


def _write_json(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    file.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False))
    written: dict[str, Any] = json.loads(file.read_text())
    return written
