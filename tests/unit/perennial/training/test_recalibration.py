"""Recalibration: scale and shift that fit what happened, written into the graph exactly, taken away without a trace."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from perennial import encoding
from perennial.errors import CandidateRefused
from perennial.serving.scorer import Scorer
from perennial.testing import INPUTS, small_rows, small_version
from perennial.training import recalibration as part
from perennial.training.evaluation import per_row_loss
from perennial.training.recalibration import (
    Recalibration,
    fit_recalibration,
    read_recalibration,
    recalibrate,
    split_days,
    take_away,
    weight_for,
)
from perennial.training.scoring import score

NAMES = [column["name"] for column in INPUTS]
TURNED = Recalibration("binary", 0.6, (0.4, -0.4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version as its training left it."""
    return small_version(tmp_path / "version")


def columns(count: int = 500) -> encoding.Columns:
    """Rows to score."""
    return encoding.columns_from_rows(small_rows(count, seed=7), NAMES)


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("classes", [2, 4])
def test_the_fit_finds_what_the_world_does_to_the_scores(classes: int) -> None:
    """MN-10: Outcomes drawn from softmax(scale * log(scores) + shift) give that scale and those shifts back, up to a constant."""
    rng = np.random.default_rng(0)
    scores = Recalibration("multiclass", 1.0, (0.0,) * classes).apply(np.exp(rng.normal(scale=2, size=(20_000, classes))))
    shift = np.linspace(-0.5, 0.5, classes)
    world = Recalibration("multiclass", 0.6, tuple(shift)).apply(scores)
    outcomes = (world.cumsum(axis=1) < rng.random((len(scores), 1))).sum(axis=1).astype(float)
    found = fit_recalibration("binary" if classes == 2 else "multiclass", scores, outcomes, weight=1e-6)
    assert found.scale == pytest.approx(0.6, abs=0.04)
    assert np.array(found.shift) - np.mean(found.shift) == pytest.approx(shift, abs=0.06)
    assert per_row_loss("multiclass", outcomes, found.apply(scores)).mean() < per_row_loss("multiclass", outcomes, scores).mean()


def test_the_fit_of_a_regression_is_least_squares() -> None:
    """MN-10: Values that are stretched and moved come back straight; with no weight it is the line of least squares itself."""
    rng = np.random.default_rng(1)
    values = rng.normal(20, 8, size=(5000, 1))
    outcomes = 1.4 * values[:, 0] - 6 + rng.normal(size=5000)
    exact = fit_recalibration("regression", values, outcomes, weight=0.0)
    assert (exact.scale, exact.shift[0]) == pytest.approx(np.polyfit(values[:, 0], outcomes, 1), rel=1e-6)
    held = fit_recalibration("regression", values, outcomes, weight=0.01)
    assert held.scale == pytest.approx(1.4, abs=0.02)
    assert ((held.apply(values)[:, 0] - outcomes) ** 2).mean() < 1.05
    one = fit_recalibration("regression", np.full((100, 1), 5.0), np.full(100, 7.0), weight=0.01)
    assert (one.scale, one.shift[0]) == (1.0, pytest.approx(2.0, rel=0.02))


def test_scores_of_zero_and_one_stay_numbers() -> None:
    """MN-10: A certain score that is wrong neither breaks the fit nor the formula."""
    scores = np.array([[1.0, 0.0], [0.0, 1.0]] * 50)
    found = fit_recalibration("binary", scores, np.array([0.0, 0.0] * 50), weight=0.01)
    assert np.isfinite(found.apply(scores)).all()
    assert np.allclose(found.apply(scores).sum(axis=1), 1)


def test_the_graph_computes_the_formula(folder: Path) -> None:
    """MO-22: Scores of new rows are the trained scores, recalibrated; the server's golden replay passes, and order and inputs stay."""
    trained = score(folder, columns())
    inputs = [value.name for value in onnx.load(str(folder / "model.onnx")).graph.input]
    recalibrate(folder, TURNED, {"champion": "c"})
    assert np.abs(score(folder, columns()) - TURNED.apply(trained)).max() < 1e-6
    assert np.abs(score(folder, columns()) - trained).max() > 0.05
    assert Scorer(folder).replay() is None
    assert [value.name for value in onnx.load(str(folder / "model.onnx")).graph.input] == inputs
    assert read_recalibration(folder) == (TURNED, {"champion": "c"})


def test_golden_rows_stay_and_get_new_scores(folder: Path) -> None:
    """MO-14: The rows are those of the training; the old scores would not pass any more."""
    before = json.loads((folder / "golden.json").read_text())
    recalibrate(folder, TURNED, {})
    after = json.loads((folder / "golden.json").read_text())
    assert (after["rows"], after["tolerance"]) == (before["rows"], before["tolerance"])
    (folder / "golden.json").write_text(json.dumps(before))
    assert "differ by" in str(Scorer(folder).replay())


def test_a_second_one_replaces_the_first(folder: Path, tmp_path: Path) -> None:
    """MO-15: Byte for byte what it would be without the first; there is never a chain of nodes."""
    other = small_version(tmp_path / "other")
    recalibrate(other, TURNED, {"champion": "c"})
    recalibrate(folder, Recalibration("binary", 1.7, (0.0, 0.9)), {"champion": "b"})
    recalibrate(folder, TURNED, {"champion": "c"})
    assert files(folder) == files(other)


def test_taking_it_away_leaves_the_trained_graph(folder: Path) -> None:
    """MO-15: To the last byte; a version without one has nothing to take."""
    before = files(folder)
    take_away(folder)
    assert files(folder) == before
    recalibrate(folder, TURNED, {})
    assert files(folder)["model.onnx"] != before["model.onnx"]
    take_away(folder)
    assert files(folder)["model.onnx"] == before["model.onnx"]
    assert read_recalibration(folder) is None


def test_a_regression_is_stretched_and_moved(folder: Path) -> None:
    """MN-10: One value each: no logarithm, no softmax."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["numbers", "axes"], ["added"], keepdims=1),
            helper.make_node("Identity", ["added"], ["scores"]),
        ],
        "sum",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "model.onnx"))
    golden = json.loads((folder / "golden.json").read_text())
    trained = score(folder, columns())
    recalibrate(folder, Recalibration("regression", 1.5, (-2.0,)), {})
    assert score(folder, columns()) == pytest.approx(1.5 * trained - 2.0, abs=1e-5)
    rewritten = json.loads((folder / "golden.json").read_text())
    assert (rewritten["rows"], len(rewritten["scores"][0])) == (golden["rows"], 1)


def test_a_graph_that_computes_something_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-22: Scores beyond what the graph's numbers can hold must not be served."""
    monkeypatch.setattr(part, "TOLERANCE", 1e-12)
    with pytest.raises(CandidateRefused, match=r"differ by .* on the golden rows, more than 1e-12"):
        recalibrate(folder, TURNED, {})


def test_the_newest_days_are_judged_and_those_before_them_fitted():
    """MN-10: The fit sees none of the judged days; while there are no others there is none to fit to."""
    assert split_days(range(10), 3, 5) == ((2, 3, 4), (5, 6, 7, 8, 9))
    assert split_days(range(7), 3, 5) == ((0, 1), (2, 3, 4, 5, 6))
    assert split_days(range(4), 3, 5) == ((), (0, 1, 2, 3))


def test_few_days_are_held_to_no_change():
    """MN-10: One bad day of fourteen wanted ones moves the scores a fraction of what fourteen such days do."""
    scores, outcomes = np.tile([[0.8, 0.2]], (400, 1)), np.repeat([1.0, 0.0], 200)
    whole, one = (fit_recalibration("binary", scores, outcomes, weight_for(0.1, days, 14)).apply(scores)[0, 1] for days in (14, 1))
    assert whole > 0.3
    assert 0.2 < one < 0.2 + (whole - 0.2) / 4
