"""Error counts of each version of a release, from predictions whose outcomes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

ENOUGH = 200  # labelled rows that tell a version's usual error


def wrong_by_version(joined: pa.Table, task: str, edge: float | None) -> dict[int, tuple[int, int]]:
    """Labelled predictions of each version, and how many of them were wrong.

    Args:
        joined: predictions with a column `outcome` (`outcomes.join`).
        task: of the model. An anomaly model is wrong where it raised an alarm and should not have, or the other way round.
        edge: a regression is wrong where it errs by more than this.
    """
    versions, errors = _errors(joined, task)
    wrong = errors > (0.0 if task != "regression" else np.inf if edge is None else edge)
    return {int(version): (int((versions == version).sum()), int(wrong[versions == version].sum())) for version in np.unique(versions)}


def usual_error(joined: pa.Table, version: int) -> float | None:
    """Median absolute error of a regression's version; None while it has fewer than 200 labelled rows."""
    versions, errors = _errors(joined, "regression")
    of_version = errors[versions == version]
    return float(np.median(of_version)) if len(of_version) >= ENOUGH else None


def _errors(joined: pa.Table, task: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Version and error of each labelled row; the error of a class is 0 or 1."""
    known = joined.filter(joined["outcome"].is_valid())
    versions, outcomes = known["model_version"].to_numpy().astype(np.int64), known["outcome"].to_numpy().astype(np.float64)
    if not len(versions):
        return versions, outcomes
    scores = np.array(known["scores"].to_pylist(), dtype=np.float64)
    if task == "regression":
        return versions, np.abs(scores[:, 0] - outcomes)
    predicted = (scores[:, 1] >= 0.5).astype(np.int64) if task in ("binary", "anomaly") else scores.argmax(axis=1)
    return versions, (predicted != outcomes).astype(np.float64)
