"""Scores rows with a version folder exactly as serving does: with its own features.py, encoder and ONNX file.

Knows neither torch nor Lightning.

    >>> import tempfile
    >>> from perennial.testing import small_rows, small_version
    >>> folder = small_version(Path(tempfile.mkdtemp()) / "version")
    >>> rows = small_rows(3)
    >>> columns = {name: np.array([row[name] for row in rows], dtype=object) for name in rows[0]}
    >>> score(folder, columns).shape
    (3, 2)
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from perennial.alarms import ABOVE, with_alarms
from perennial.encoding import Columns, Encoder
from perennial.errors import StoredDataDamaged

if TYPE_CHECKING:
    import onnxruntime


def score(version_folder: Path, columns: Columns, *, threads: int = 1, batch: int = 8192) -> np.ndarray:
    """Scores [rows, classes] (regression [rows, 1], anomaly score and alarm [rows, 2]), float64, of rows given as columns; `batch` rows at
    a time.

    Raises:
        KeyError: a column that the version needs is missing.
        StoredDataDamaged: the folder's features.py cannot be loaded.
    """
    features = load_features(version_folder)
    encoder = Encoder.from_json(json.loads((version_folder / "encoder.json").read_text()))
    signature = json.loads((version_folder / "signature.json").read_text())
    names = [column["name"] for column in signature["inputs"]]
    session = open_session(version_folder / "model.onnx", threads)
    rows = len(columns[names[0]])
    parts = [
        run_session(session, features.encode(encoder, {name: columns[name][begin : begin + batch] for name in names}))
        for begin in range(0, rows, batch)
    ]
    scores = np.concatenate(parts).astype(np.float64)
    return with_alarms(scores, float(signature[ABOVE])) if signature.get("task") == "anomaly" else scores


def load_features(version_folder: Path) -> ModuleType:
    """The version folder's own features.py, imported under a unique module name."""
    file = version_folder / "features.py"
    module_spec = importlib.util.spec_from_file_location(f"features_of_{version_folder.name}", file)
    if module_spec is None or module_spec.loader is None or not file.is_file():
        raise StoredDataDamaged(f"{file} is missing: fetch the version again.")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def open_session(file: Path | bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session of a file, or of its content, that computes on `threads` threads and does not spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file if isinstance(file, bytes) else str(file), options, providers=["CPUExecutionProvider"])


def run_session(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Scores [rows, classes] of encoded inputs; tensors that the graph does not use are left out."""
    wanted = {given.name for given in session.get_inputs()}
    scores: np.ndarray = session.run(["scores"], {name: values for name, values in inputs.items() if name in wanted})[0]
    return scores
