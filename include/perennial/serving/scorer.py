"""Scores rows with one version folder. Knows neither Seldon nor the network, so it runs in tests as it does in production.

>>> import tempfile
>>> from perennial.serving.request import read_request
>>> from perennial.testing import small_rows, small_version
>>> scorer = Scorer(small_version(Path(tempfile.mkdtemp()) / "version"))
>>> request = read_request(json.dumps({"data": {"rows": small_rows(3)}}).encode(), scorer.signature)
>>> scorer.names, scorer.score(request.columns).shape
(['on_time', 'late'], (3, 2))
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from perennial import encoding
from perennial.alarms import ABOVE, with_alarms
from perennial.answer_names import answer_names, outcome_names
from perennial.serving.request import BadRequest, read_request, read_signature

if TYPE_CHECKING:
    import onnxruntime


class ScoringFailed(RuntimeError):
    """The version failed to give usable scores; the message is one sentence."""


class Scorer:
    """One version, loaded.

    Raises:
        ScoringFailed: the folder lacks a file, or a file cannot be loaded.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.folder = folder
        try:
            signature = _read_json(folder / "signature.json")
            self.signature = read_signature(signature)
            self.model: str = signature["model"]
            task, classes = str(signature.get("task", "")), tuple(signature.get("classes") or ())
            self.outcomes = outcome_names(task, classes)
            self.names: list[str] = list(answer_names(task, classes))
            self.alarm_above: float | None = float(signature[ABOVE]) if task == "anomaly" else None
            self._width = len(self.names) if self.alarm_above is None else 1  # numbers that the graph gives of a row
            self.encoder = encoding.Encoder.from_json(_read_json(folder / "encoder.json"))
            self.features = _load_features(folder / "features.py")
            self.session = _open_session(folder / "model.onnx", threads)
            self._tensors = [tensor.name for tensor in self.session.get_inputs()]
        except (Exception, SystemExit) as error:
            raise ScoringFailed(f"The version folder {folder.name} cannot be loaded: {type(error).__name__}: {error}.") from error

    def score(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores of every row, float64 [rows, classes] (one column for a regression; score and alarm of an anomaly model).

        Raises:
            ScoringFailed: the version's own code fails, or a score is not a number.
        """
        scores = self.computed(columns)
        return scores if self.alarm_above is None else with_alarms(scores, self.alarm_above)

    def computed(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the graph gives of every row, float64 [rows, classes]: of an anomaly model the score alone. Raises as `score`."""
        rows = len(next(iter(columns.values())))
        try:
            tensors = self.features.encode(self.encoder, columns)
            wanted = {name: tensors[name] for name in self._tensors}  # a graph may not use all that the encoder makes
            scores = np.asarray(self.session.run(["scores"], wanted)[0], dtype=np.float64)
        except (Exception, SystemExit) as error:  # sys.exit() of a version's code would end the server, with all other requests
            raise ScoringFailed(f"The version failed on this request: {type(error).__name__}: {error}.") from error
        scores = scores.reshape(rows, -1) if scores.ndim == 1 else scores
        if scores.shape != (rows, self._width):
            raise ScoringFailed(f"The version gave scores of shape {list(scores.shape)} for {rows} rows and {self._width} scores each.")
        if not np.isfinite(scores).all():
            raise ScoringFailed(
                f"The version gave row {int(np.argmin(np.isfinite(scores).all(axis=1)))} a score that is not a finite number."
            )
        return scores

    def replay(self) -> str | None:
        """Score the golden rows and compare: None if all agree with training's scores, else the sentence that says
        which row differs how far.

        Rows are scored alone and together: both must agree, since requests come in both sizes.
        """
        try:
            golden = _read_json(self.folder / "golden.json")
            rows, wanted, tolerance = golden["rows"], np.array(golden["scores"], dtype=np.float64), float(golden["tolerance"])
            if wanted.shape != (len(rows), self._width) or not rows:
                return (
                    f"golden.json has scores of shape {list(wanted.shape)} for {len(rows)} rows and {self._width} scores each: "
                    "train the version again."
                )
            columns = read_request(
                orjson.dumps({"data": {"rows": rows}}), self.signature, max_rows=len(rows)
            ).columns  # the very path of a request
            single = {name: values[:1] for name, values in columns.items()}
            for scores, expected in ((self.computed(single), wanted[:1]), (self.computed(columns), wanted)):
                differences = np.abs(scores - expected).max(axis=1)
                if not (differences <= tolerance).all():  # a NaN among the wanted scores must not pass
                    worst = int(np.argmax(differences))
                    return (
                        f"Golden row {worst} scores {_numbers(scores[worst])} here and scored {_numbers(expected[worst])} in "
                        f"training: they differ by {differences[worst]:.2g}, more than {tolerance:g}."
                    )
        except (BadRequest, ScoringFailed) as error:
            return f"The golden rows cannot be scored. {error}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"golden.json cannot be replayed: {type(error).__name__}: {error}."
        return None


def _numbers(values: np.ndarray) -> str:
    return "/".join(f"{value:.6f}" for value in values)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _load_features(path: Path) -> ModuleType:
    """The version's own features, under a module name of its own so that two versions never mix."""
    name = f"_version_features_{abs(hash(str(path.absolute()))):x}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise ScoringFailed(f"{path} is no Python module")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses look their module up there
    module_spec.loader.exec_module(module)
    return module


def _open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime  # it starts a thread, for which a process that was forked off later would wait at its end: not before the fork

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # spinning threads would burn the cores that other versions need
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
