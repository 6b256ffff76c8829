"""Recalibration: scale and shift of a version's scores, fitted to newly labelled days and added as the last nodes of its ONNX graph.

A version that was recalibrated is `probabilities = softmax(scale * log(scores) + shift)` of what its training gave, or
`scale * value + shift` of a regression. Recalibrating it again replaces these nodes: there is never a chain of them, and
every fit starts from what training gave.

`recalibration.json` in the version folder says so; `golden.json` holds the golden rows' scores after it.

    >>> from perennial.training.recalibration import split_days
    >>> split_days(["mon", "tue", "wed", "thu", "fri"], fitted=3, judged=1)
    (('tue', 'wed', 'thu'), ('fri',))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from perennial.encoding import columns_from_rows
from perennial.errors import CandidateRefused
from perennial.training.calibration import Calibration, fit_calibration, logarithms
from perennial.training.graph import Gives, append, strip
from perennial.training.scoring import score

Task = Literal["binary", "multiclass", "regression"]
Floats = npt.NDArray[np.float64]
_Day = TypeVar("_Day")

RECALIBRATION = "recalibration.json"
TOLERANCE = 1e-4  # largest difference of a score between the graph and the formula; of the largest score where that is above 1
_PREFIX = "recalibration_"


@dataclass(frozen=True)
class Recalibration:
    """Scale and shift of the scores; a shift for each class, or one for a regression."""

    task: Task
    scale: float
    shift: tuple[float, ...]

    def apply(self, scores: np.ndarray) -> Floats:
        """Recalibrated scores, float64 [rows, classes] or [rows, 1], of scores of the same shape."""
        if self.task == "regression":
            values: Floats = self.scale * scores.astype(np.float64) + self.shift[0]
            return values
        recalibrated: Floats = Calibration(self.scale, self.shift).apply(logarithms(scores))
        return recalibrated


def fit_recalibration(task: Task, scores: np.ndarray, outcomes: np.ndarray, weight: float) -> Recalibration:
    """Fit scale and shift so that the scores fit what happened. Deterministic; the problem is convex.

    Classes: least mean log loss plus `weight` times the squared distance from no change (`fit_calibration`, of the scores'
    logarithms). With two classes that is Platt's two parameters. Regression: least squares of the error, in units of the
    spread of the values, plus `weight` times the squared distance from no change.

    Args:
        task: what is predicted.
        scores: [rows, classes], or [rows, 1]; as training gave them, without an earlier recalibration.
        outcomes: [rows], class numbers or values; none unknown.
        weight: how strongly the fit is held to no change.
    """
    if task != "regression":
        fitted = fit_calibration(logarithms(scores), outcomes, weight)
        return Recalibration(task, fitted.scale, fitted.shift)
    values, errors = scores[:, 0].astype(np.float64), outcomes - scores[:, 0].astype(np.float64)
    middle, spread = float(values.mean()), float(values.std())
    moved = float(errors.mean()) / (1 + weight)
    if spread == 0.0:  # one value for every row: nothing to scale
        return Recalibration(task, 1.0, (moved,))
    stretched = float((errors * (values - middle)).mean()) / spread**2 / (1 + weight)
    return Recalibration(task, 1.0 + stretched, (moved - stretched * middle,))


def split_days(days: Sequence[_Day], fitted: int, judged: int) -> tuple[tuple[_Day, ...], tuple[_Day, ...]]:
    """The newest of some labelled days: up to `fitted` of them to fit to, and the `judged` ones after them, which the fit does not see.

    While there are no more than `judged` days there is none to fit to.

    Args:
        days: oldest first.
        fitted: days to fit to, at most.
        judged: days to judge on.
    """
    return tuple(days[:-judged][-fitted:]), tuple(days[-judged:])


def weight_for(weight: float, days: int, wanted: int) -> float:
    """How strongly a fit to fewer days than wanted is pulled towards no change: the fewer days, the more, as days differ more than rows."""
    return weight * wanted / days


def recalibrate(folder: Path, recalibration: Recalibration, record: Mapping[str, Any]) -> None:
    """Write this recalibration into a version folder, in place of any that it has: graph, golden rows and `recalibration.json`.

    Args:
        folder: a version folder, without regard to its manifest, which must be sealed anew.
        recalibration: the new one.
        record: what more `recalibration.json` says: the days that were fitted, say.

    Raises:
        CandidateRefused: the graph does not compute what the formula says, on the golden rows.
    """
    golden: dict[str, Any] = json.loads((folder / "golden.json").read_text())
    names = [column["name"] for column in json.loads((folder / "signature.json").read_text())["inputs"]]
    rows = columns_from_rows(golden["rows"], names)
    take_away(folder)
    expected = recalibration.apply(score(folder, rows))
    _write_graph(folder / "model.onnx", recalibration)
    scores = score(folder, rows)
    apart = float(np.abs(scores - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not apart <= allowed:
        raise CandidateRefused(
            f"The recalibrated graph and its formula differ by {apart:.2g} on the golden rows, more than {allowed:g}: "
            "the model's scores are too extreme for 32 bits. Train the model again, or set retrain.recalibrate to False."
        )
    _write_json(folder / "golden.json", {**golden, "scores": expected.tolist(), "tolerance": max(float(golden["tolerance"]), allowed)})
    _write_json(
        folder / RECALIBRATION, {**record, "task": recalibration.task, "scale": recalibration.scale, "shift": list(recalibration.shift)}
    )


def read_recalibration(folder: Path) -> tuple[Recalibration, dict[str, Any]] | None:
    """The recalibration of a version folder and all that its record says; None if it has none."""
    file = folder / RECALIBRATION
    if not file.exists():
        return None
    record: dict[str, Any] = json.loads(file.read_text())
    task, scale, shift = (record.pop(name) for name in ("task", "scale", "shift"))
    return Recalibration(task, scale, tuple(shift)), record


def take_away(folder: Path) -> None:
    """Restore a version folder's graph as training made it; its golden rows stay as they are."""
    (folder / RECALIBRATION).unlink(missing_ok=True)
    _write_graph(folder / "model.onnx", None)


def _write_graph(file: Path, recalibration: Recalibration | None) -> None:
    import onnx

    model = onnx.load(str(file))
    strip(model, _PREFIX)
    if recalibration is not None:
        gives: Gives = "values" if recalibration.task == "regression" else "probabilities"
        append(model, _PREFIX, gives, recalibration.scale, recalibration.shift)
        onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False))
