"""Export of what a learner made to the files of a version folder, with a check that ONNX computes the same as its own framework."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from perennial.alarms import ABOVE, threshold_of
from perennial.encoding import Columns, Encoder, rows_from_columns, text
from perennial.errors import TrainingRefused
from perennial.forms import form_of_requests
from perennial.online_values import note_key
from perennial.specs import DatasetSpec, ModelSpec
from perennial.training.calibration import Calibration, fit_calibration, logarithms
from perennial.training.graph import append
from perennial.training.learners import Encoded, Learned, Tensors
from perennial.training.scoring import open_session, run_session

if TYPE_CHECKING:
    import onnxruntime

# largest difference of a score between what made it and ONNX, and between training and serving; of the largest score where that is above 1
TOLERANCE = 1e-4
GOLDEN_ROWS = 48
BATCH = 8192  # rows that are scored at a time
PARITY_ROWS = 2000  # of the validation split, besides the golden ones
_UNSEEN: dict[str, Any] = {"string": "never seen", "text": "Never seen: \U0001f389", "list": []}


def calibration_of(learned: Learned, validation: Encoded) -> Calibration | None:
    """The calibration of a model's scores on the validation rows; none of values.

    One that brings its own probabilities keeps them, and logits become probabilities in any case.
    """
    if learned.gives == "values":
        return None
    if learned.calibrates:
        return fit_calibration(_logits(learned, validation.inputs), validation.labels)
    classes = learned.scores({name: values[:1] for name, values in validation.inputs.items()}).shape[1]
    return Calibration(1.0, (0.0,) * classes) if learned.gives == "logits" else None


def export(
    folder: Path,
    *,
    spec: ModelSpec,
    dataset: DatasetSpec,
    features: ModuleType,
    encoder: Encoder,
    learned: Learned,
    calibration: Calibration | None,
    inputs: Tensors,
    columns: Columns,
) -> None:
    """Write model.onnx, encoder.json, signature.json, golden.json and features.py into `folder`.

    The threshold of an anomaly model's alarms is found among the validation rows' scores, by the budget of its spec. `inputs` and
    `columns` are the same rows of the validation split, encoded and as they came; some of them become golden rows. These, and
    PARITY_ROWS of the others, must have the same scores by ONNX as by what the model was trained with: a conversion may be wrong silently.

    Raises:
        TrainingRefused: they differ by more than TOLERANCE, as a share of the largest score where that is above 1; or no threshold
            keeps the budget.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learned.write_onnx(folder / "model.onnx", {name: values[:2] for name, values in inputs.items()})
    model = onnx.load(str(folder / "model.onnx"))
    if calibration:
        append(model, "calibration_", learned.gives, calibration.scale, calibration.shift)
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    encoder = Encoder.from_json(_write_json(folder / "encoder.json", encoder.to_json()))  # as serving will read it
    session = open_session(folder / "model.onnx")
    above = alarm_threshold(spec, np.concatenate([run_session(session, part)[:, 0] for part in _parts(inputs)])) if spec.anomaly else None
    _write_json(folder / "signature.json", signature(spec, dataset, above))
    shutil.copyfile(str(features.__file__), folder / "features.py")

    golden = golden_columns(spec, dataset, columns)
    expected, allowed = _same_scores(spec, learned, calibration, session, features.encode(encoder, golden), "golden row")
    places = np.unique(np.linspace(0, len(columns[spec.inputs[0]]) - 1, PARITY_ROWS).astype(int))
    validation = {name: values[places] for name, values in inputs.items()}
    _same_scores(spec, learned, calibration, session, validation, "validation row", places)
    _write_json(
        folder / "golden.json",
        {"rows": rows_from_columns(golden, spec.inputs), "scores": expected.astype(np.float64).tolist(), "tolerance": allowed},
    )


def _same_scores(
    spec: ModelSpec,
    learned: Learned,
    calibration: Calibration | None,
    session: onnxruntime.InferenceSession,
    encoded: Tensors,
    called: str,
    places: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """The scores that serving should give, and the difference that is allowed. Raises TrainingRefused where ONNX gives others."""
    expected = calibration.apply(_logits(learned, encoded)) if calibration else all_scores(learned, encoded)
    exported = run_session(session, dict(encoded))
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))  # a regression's values are as large as its label's, in 32 bits
    if exported.shape != expected.shape:
        raise TrainingRefused(
            f"ONNX gives scores of the shape {list(exported.shape)} and {learned.framework} {list(expected.shape)}: to be exported, "
            f"{learned.advice}, then train again."
        )
    of_row = np.abs(exported - expected).max(axis=1)
    wrong = ~(of_row <= allowed)
    if wrong.any():
        worst = int(np.argmax(np.where(np.isnan(of_row), np.inf, of_row)))
        place = worst if places is None else int(places[worst])
        raise TrainingRefused(
            f"ONNX and {learned.framework} differ by {of_row[worst]:.2g} on {called} {place}, more than {allowed:g}, "
            f"and on {int(wrong.sum())} of the {len(of_row)} rows compared: to be exported, {learned.advice}, then train again."
        )
    return expected, allowed


def _logits(learned: Learned, inputs: Tensors) -> np.ndarray:
    scores = all_scores(learned, inputs)
    return logarithms(scores) if learned.gives == "probabilities" else scores


def all_scores(learned: Learned, inputs: Tensors) -> np.ndarray:
    """The scores of many rows, BATCH at a time."""
    return np.concatenate([learned.scores(part) for part in _parts(inputs)])


def _parts(inputs: Tensors) -> list[dict[str, np.ndarray]]:
    rows = len(next(iter(inputs.values())))
    return [{name: values[begin : begin + BATCH] for name, values in inputs.items()} for begin in range(0, rows, BATCH)]


def alarm_threshold(spec: ModelSpec, scores: np.ndarray) -> float:
    """The score above which a row is an alarm, by the scores of the validation rows [rows] and the budget.

    Raises:
        TrainingRefused: the budget is less than one of these rows, or as many rows have the highest score as it allows, or more.
    """
    assert spec.anomaly, "it is an anomaly model"
    budget, rows = spec.anomaly.budget, len(scores)
    threshold = threshold_of(scores, budget)
    if threshold is not None:
        return threshold
    if budget * rows < 1:
        raise TrainingRefused(
            f"{spec.name}'s budget of {budget:g} is less than one of its {rows:,} validation rows, so that no threshold can be found: give "
            "the split more validation rows, or raise anomaly.budget."
        )
    highest = int((scores == scores.max()).sum())
    raise TrainingRefused(
        f"{spec.name} gives its highest score to {highest:,} of {rows:,} validation rows, and its budget of {budget:g} allows fewer "
        "alarms: it cannot tell rows apart. Give it more columns or another model."
    )


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


def signature(spec: ModelSpec, dataset: DatasetSpec, alarm_above: float | None = None) -> dict[str, Any]:
    """The content of `signature.json`: what callers send to a version, and what its answers mean.

    Args:
        spec: of the model.
        dataset: of the model.
        alarm_above: of an anomaly model, the score above which a row is an alarm.
    """
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
        **({} if alarm_above is None else {ABOVE: alarm_above}),
        "inputs": inputs,
        "strict": spec.serving.strict,
        "time_zone": dataset.time_zone,
        **({"joins": joins, "moment": dataset.time_column} if (joins := _joins(spec, dataset)) else {}),
        **({"files": form} if (form := form_of_requests(dataset.files, spec.inputs)) else {}),
    }


def _joins(spec: ModelSpec, dataset: DatasetSpec) -> list[dict[str, Any]]:
    """The joins that bring inputs: by which fields of a request the server finds them, where, and how old they may be."""
    return [
        {
            "name": f"{join.prefix}{join.dataset}",
            "values": note_key(join.dataset, [there for _, there in join.key_pairs], join.known_at),
            "key": [{"name": name, "type": dataset.column(name).type} for name in join.key],
            "columns": {name: there for name, there in zip(join.names, join.columns, strict=True) if name in spec.inputs},
            "horizon_days": join.horizon_days,
        }
        for join in spec.joins
        if set(join.names) & set(spec.inputs)
    ]


def _write_json(file: Path, content: dict[str, Any]) -> dict[str, Any]:
    # In the order that it has: trees, and a features.py that puts tensors side by side, tell them apart by that.
    file.write_text(json.dumps(content, indent=1, allow_nan=False))
    written: dict[str, Any] = json.loads(file.read_text())
    return written
