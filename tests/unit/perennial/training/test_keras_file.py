"""A file that Keras wrote, as it is: `benchmarks/digits_by_keras.py --keep tests/fixtures/digits_by_keras.onnx` made it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.data.snapshots import Snapshot, label_of, snapshot_at, table_of
from perennial.data.splits import split
from perennial.errors import TrainingRefused
from perennial.serving.scorer import Scorer
from perennial.stages.train import columns_of, fill_version_folder
from perennial.store import FolderStore
from perennial.training.checkpoints import Checkpoints
from perennial.training.evaluation import metrics
from perennial_datasets import digits

FILE = Path(__file__).parents[3] / "fixtures" / "digits_by_keras.onnx"
NAME = "digits_by_keras"
SPEC = """
from perennial.specs import ModelSpec
from perennial_models.digits.spec import MODEL as DIGITS
MODEL = ModelSpec(**DIGITS.model_dump(exclude={"name", "learner", "training"}), name="digits_by_keras", learner="onnx")
"""
FEATURES = """
from perennial.encoding import Block, Encoder, numbers
PIXELS = tuple(f"p{place:02d}" for place in range(64))
def label(columns):
    return numbers(columns["digit"])
def fit(columns):
    return Encoder({"image": [Block(PIXELS, shape=(8, 8, 1), scale=16.0)]})
def encode(encoder, columns):
    return encoder.encode(columns)
"""


@pytest.fixture(params=[FEATURES])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The model's folder."""
    folder = tmp_path / "include/perennial_models" / NAME
    folder.mkdir(parents=True)
    for name, text in {"__init__.py": "", "spec.py": SPEC, "features.py": request.param}.items():
        (folder / name).write_text(text)
    shutil.copyfile(FILE, folder / "model.onnx")
    with discovery.also_in(tmp_path):
        yield folder


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """All days of the digits."""
    store = FolderStore(str(tmp_path_factory.mktemp("digits")))
    rows = pa.concat_tables([table for _, table in digits.land(digits.FIRST, digits.FIRST.replace(day=digits.DAYS))])
    place = rows.column_names.index("written")
    table_of(store, digits.DATASET).append(rows.set_column(place, "written", rows["written"].cast(pa.timestamp("us"))), "all")
    return snapshot_at(store, digits.DATASET, 1)


def fill(folder: Path, snapshot: Snapshot) -> Path:
    """Make a version of it."""
    version = folder.parents[2] / "version"
    fill_version_folder(version, discovery.model(NAME), digits.DATASET, snapshot, checkpoints=Checkpoints(version / "run"))
    return version


def test_a_file_of_keras_becomes_a_version(folder: Path, snapshot: Snapshot) -> None:
    """MO-01: Colors last, a number of rows that is called unk__…, an output with a colon in its name, an older opset: it is served as it
    is, calibrated, and reads digits that it was not trained on."""
    graph = onnx.load(str(FILE)).graph
    rows = graph.input[0].type.tensor_type.shape.dim[0]
    assert (graph.input[0].name, rows.dim_param[:5], graph.output[0].name) == ("image", "unk__", "Identity:0")
    scorer = Scorer(fill(folder, snapshot))
    assert scorer.replay() is None
    spec, features = discovery.model(NAME), discovery.model_part(NAME, "features")
    test = split(snapshot, spec, features).test
    scores = scorer.score(columns_of(test, spec.inputs))
    figures = metrics(spec.task, label_of(test, features, spec), np.asarray(scores))
    assert figures["accuracy"] > spec.gate.floors["accuracy"]
    assert figures["log_loss"] < spec.gate.floors["log_loss"]


@pytest.mark.parametrize("folder", [FEATURES.replace("(8, 8, 1)", "(1, 8, 8)")], indirect=True)
def test_colors_that_come_first_are_told(folder: Path, snapshot: Snapshot) -> None:
    """MO-01: With the shape that features.py should give."""
    with pytest.raises(TrainingRefused, match=r"let features\.py give the tensor the shape \(8, 8, 1\): Keras and TensorFlow have colors"):
        fill(folder, snapshot)


def test_an_opset_that_is_too_old_is_told(folder: Path, snapshot: Snapshot) -> None:
    """MO-01: Operations of calibration do not go with it."""
    model = onnx.load(str(FILE))
    next(opset for opset in model.opset_import if opset.domain == "").version = 12
    onnx.save(model, str(folder / "model.onnx"))
    with pytest.raises(TrainingRefused, match=r"its operations are those of opset 12\. Next: export it with opset 13 or a later one"):
        fill(folder, snapshot)
