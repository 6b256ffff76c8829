"""What stands in for a version that fails: answers requests of its form with a constant, or by a rule, and runs none of its code.

>>> import tempfile
>>> from perennial.testing import small_version
>>> scorer = FallbackScorer(small_version(Path(tempfile.mkdtemp()) / "version"), {"on_time": 0.8, "late": 0.2})
>>> scorer.score({"carrier": np.array(["AA", "UA"])}).tolist()
[[0.8, 0.2], [0.8, 0.2]]
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perennial.answer_names import answer_names, outcome_names
from perennial.serving.request import read_signature
from perennial.serving.scorer import Scorer, ScoringFailed


class FallbackScorer(Scorer):
    """Scores rows without the version's model; of its folder the signature alone is read.

    Args:
        folder: of the version that it stands in for.
        scores: of every row by name, or the function `scores` of a model's `fallback.py`: columns in, [rows, names] out.

    Raises:
        ScoringFailed: the folder has no signature that can be read.
    """

    def __init__(self, folder: Path, scores: Mapping[str, float] | Callable[[Mapping[str, np.ndarray]], Any]) -> None:
        self.folder = folder
        try:
            signature = json.loads((folder / "signature.json").read_text())
            self.signature = read_signature(signature)
        except (OSError, ValueError, KeyError) as error:
            raise ScoringFailed(f"The signature of {folder.name} cannot be read: {type(error).__name__}: {error}.") from error
        self.model = signature["model"]
        task, classes = str(signature.get("task", "")), tuple(signature.get("classes") or ())
        self.names = list(answer_names(task, classes))
        self.outcomes = outcome_names(task, classes)
        self._scores = scores

    def score(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The constant for each row, or what the rule gives, float64 [rows, names].

        Raises:
            ScoringFailed: the rule fails, or gives no finite number for each row and name.
        """
        rows = len(next(iter(columns.values())))
        if not callable(self._scores):
            return np.tile([float(self._scores[name]) for name in self.names], (rows, 1))
        try:
            given = np.asarray(self._scores(columns), dtype=np.float64)
        except (Exception, SystemExit) as error:
            raise ScoringFailed(f"fallback.py failed on this request: {type(error).__name__}: {error}.") from error
        given = given.reshape(rows, -1) if given.ndim == 1 and given.size == rows else given
        if given.shape != (rows, len(self.names)) or not np.isfinite(given).all():
            raise ScoringFailed(f"fallback.py gave no finite numbers of shape [{rows}, {len(self.names)}].")
        return given

    def replay(self) -> str | None:
        """None: there is nothing that training would have scored."""
        return None


def rule_of(path: Path) -> Callable[[Mapping[str, np.ndarray]], Any]:
    """The function `scores` of a file, which is read at the first request: a fallback comes up, and one that cannot answer says why."""
    found: list[Callable[[Mapping[str, np.ndarray]], Any]] = []

    def scores(columns: Mapping[str, np.ndarray]) -> Any:
        if not found:
            spec = importlib.util.spec_from_file_location("_model_fallback", path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{path} is no Python module")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found.append(module.scores)
        return found[0](columns)

    return scores
