"""Every learner gives the same kind of version: trained, exported, measured, judged by the gate, served and made again to the last bit."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from perennial import discovery
from perennial.commands import reproduce
from perennial.data.snapshots import snapshot_at
from perennial.errors import TrainingRefused
from perennial.lineage import manifest
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.stages import evaluate, register, train
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, check_model
from perennial.training.checkpoints import Checkpoints
from perennial.training.learners.boosted import parameters
from perennial.training.recalibration import Recalibration, recalibrate
from perennial.training.scoring import score

LEARNERS = ("lightning", "boosted", "sklearn", "onnx")
DATASET = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="learnt", title="Learnt", owner="tests", key=("id",), event_time="at", columns=(
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="size", type="float", nullable=True),
    Column(name="age", type="float"), Column(name="city", type="string"), Column(name="late", type="int"),
    Column(name="paid", type="float")))
"""
SPEC = """
from perennial.specs import GateSpec, ModelSpec, SplitSpec, TrainingSpec
MODEL = ModelSpec(name="{name}", title="T", owner="tests", dataset="learnt", task="{task}", classes={classes}, label="{label}",
    inputs=("size", "age", "city"), learner="{learner}", slices=("city",),
    split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100), training=TrainingSpec({training}),
    gate=GateSpec(metric="{metric}", floors={{"{metric}": {floor}}}))
"""
FEATURES = """
from perennial.encoding import Category, Encoder, Number, numbers
def label(columns):
    return numbers(columns["{label}"])
def fit(columns):
    return Encoder({{"places": [Category.fit(columns, "city")],
                     "numbers": [Number.fit(columns, "size", nulls=True), Number.fit(columns, "age")]}})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
NETWORK = """
import torch
from perennial.training.module import TaskModule
class Model(TaskModule):
    def __init__(self, encoder, spec):
        super().__init__(encoder, spec)
        self.places = torch.nn.Embedding(encoder.sizes("places")[0], 2)
        self.layers = torch.nn.Linear(encoder.width("numbers") + 2, len(spec.classes) or 1)
    def forward(self, numbers, places):
        return self.layers(torch.cat([numbers, self.places(places[:, 0])], dim=1))
"""
ADAPTED = """
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.nn import functional
from torch.utils.data import DataLoader
from perennial.training.adapter import Adapted
class Theirs(LightningModule):
    def __init__(self, width, outputs):
        super().__init__()
        self.layers = torch.nn.Linear(width + 1, outputs)
    def forward(self, numbers, places):
        return self.layers(torch.cat([numbers, places.float()], dim=1))
    def training_step(self, batch, batch_idx):
        inputs, labels = batch
        answers = self(**inputs)
        return functional.mse_loss(answers[:, 0], labels) if answers.shape[1] == 1 else functional.cross_entropy(answers, labels)
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)
class Loads(LightningDataModule):
    def __init__(self, rows):
        super().__init__()
        self.rows = rows
    def train_dataloader(self):
        return DataLoader(self.rows, batch_size=64, shuffle=True)
class Model(Adapted):
    def network(self):
        return Theirs(self.encoder.width("numbers"), len(self.spec.classes) or 1)
    def data(self, rows):
        return Loads(rows)
"""
TUNED = """
import torch
from perennial.training.module import TaskModule
from perennial.training.pretrained import pretrained
class Model(TaskModule):
    def __init__(self, encoder, spec):
        super().__init__(encoder, spec)
        self.body = torch.nn.Linear(encoder.width("numbers"), 4)
        self.body.load_state_dict(torch.load(pretrained(__file__, "body.pt"), weights_only=True))
        self.body.requires_grad_(False)
        self.layers = torch.nn.Linear(4, 2)
    def forward(self, numbers, places):
        return self.layers(torch.tanh(self.body(numbers)))
"""
RAW = """
from perennial.encoding import Encoder, Raw, numbers
def label(columns):
    return numbers(columns["{label}"])
def fit(columns):
    return Encoder({{"size": [Raw("size")], "age": [Raw("age")], "city": [Raw("city", words=True)]}})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
PIPELINE = """
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
def estimator(spec):
    columns = ColumnTransformer([("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["size", "age"]),
                                 ("words", OneHotEncoder(handle_unknown="ignore"), ["city"])])
    return Pipeline([("columns", columns), ("model", Ridge() if spec.task == "regression" else LogisticRegression())])
"""
FILES: dict[str, dict[str, str]] = {
    "lightning": {"model.py": NETWORK}, "boosted": {}, "sklearn": {"model.py": PIPELINE}, "onnx": {},
}  # fmt: skip
TRAINING = {
    "lightning": "max_epochs=3, batch_size=64",
    "boosted": 'max_epochs=20, hyperparameters={"num_leaves": 7, "min_data_in_leaf": 5}',
    "sklearn": "",
    "onnx": "",
}
LINEAR = {"binary": [[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], "regression": [[150.0], [0.0], [0.0]]}  # of the encoded numbers


def rows(days: int = 20, of_a_day: int = 40) -> pa.Table:
    """Rows whose labels follow from size and city, with noise."""
    rng, count = np.random.default_rng(0), days * of_a_day
    size, city = rng.normal(10, 3, count), rng.choice(["Oslo", "Rome", "Lima"], count)
    signal = size - 10 + 4 * (city == "Rome") + rng.normal(0, 1, count)
    at = np.datetime64("2024-01-01T08:00:00", "us") + (np.arange(count) // of_a_day).astype("timedelta64[D]")
    size[::9] = np.nan
    return pa.table({
        "id": np.arange(count), "at": at, "size": pa.array(size, from_pandas=True), "age": rng.normal(40, 9, count), "city": city,
        "late": (signal > 1).astype(np.int64), "paid": 1000 + 50 * signal,
    })  # fmt: skip


@pytest.fixture(scope="module")
def project(project_of: Callable[..., Path]) -> Path:
    """A project with a dataset of twenty days."""
    return project_of("learnt", DATASET, rows())


def write_model(project: Path, learner: str, task: str = "binary", *, kind: str = "", **files: str) -> str:
    """Write the folder of a model by a learner; its name, which says of what kind it is."""
    folder = project / f"include/perennial_models/by_{kind or learner}_{task}"
    folder.mkdir(parents=True, exist_ok=True)
    of_numbers = task == "regression"
    named = {
        "name": folder.name,
        "learner": learner,
        "task": task,
        "classes": () if of_numbers else ("on_time", "late"),
        "label": "paid" if of_numbers else "late",
    }
    named |= {"metric": "rmse" if of_numbers else "log_loss", "floor": 2000 if of_numbers else 0.69, "training": TRAINING[learner]}
    parts = {
        "__init__.py": "",
        "spec.py": SPEC.format(**named),
        "features.py": (RAW if learner == "sklearn" else FEATURES).format(**named),
        **FILES[learner],
        **files,
    }
    for name, text in parts.items():
        (folder / name).write_text(text)
    if learner == "onnx":
        brought(
            folder / "model.onnx", [[150.0], [0.0], [0.0]] if of_numbers else [[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], 1000.0 * of_numbers
        )
    for name in [name for name in sys.modules if name.startswith(f"perennial_models.{folder.name}")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return folder.name


def brought(file: Path, weights: list[list[float]], bias: float = 0.0, **changed: Any) -> None:
    """Write a linear model as ONNX that somebody might bring."""
    wide = {"inputs": ["rows", len(weights)], "outputs": ["rows", len(weights[0])]} | changed
    nodes = [helper.make_node("MatMul", ["numbers", "w"], ["product"]), helper.make_node("Add", ["product", "b"], ["answer"])]
    given = [helper.make_tensor_value_info(changed.get("name", "numbers"), TensorProto.FLOAT, wide["inputs"])]
    if changed.get("name"):
        nodes[0].input[0] = changed["name"]
    graph = helper.make_graph(
        nodes, "linear", given, [helper.make_tensor_value_info("answer", TensorProto.FLOAT, wide["outputs"])],
        [numpy_helper.from_array(np.array(weights, np.float32), "w"), numpy_helper.from_array(np.array([bias], np.float32), "b")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("learner", [*LEARNERS, "adapted"])
def test_a_version_by_any_learner(
    project: Path,
    platform: tuple[Settings, FolderStore, RegistryInMemory],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    scored_as_served: Callable[..., None],
    learner: str,
    task: str,
) -> None:
    """MO-01, MO-02, MO-13, MO-15, MO-22, SE-01, SE-03: One stage trains it, the gate passes it, serving gives the scores of training and
    batches those of serving, it can be recalibrated, and `reproduce` makes it again to the last bit; an ordinary LightningModule with its
    own data module too."""
    settings, store, registry = platform
    kind, own = learner, {"model.py": ADAPTED} if learner == "adapted" else {}
    learner = "lightning" if own else learner
    name = write_model(project, learner, task, kind=kind, **own)
    check_model(name)
    trained = train.run(settings, store, model=name, snapshot=1)
    assert read_manifest(store, name, trained.digest).parameters.get("learner", "lightning") == learner
    measured = evaluate.run(settings, store, name, trained.digest, trained.run_id)
    passed = register.run(settings, store, model=name, digest=trained.digest, run_id=trained.run_id, evaluation=measured.evaluation)
    assert registry.version(name, "candidate").number == passed.version == 1
    folder = fetch(store, name, trained.digest, tmp_path / "version")
    assert {file.name for file in folder.iterdir()} == {
        "model.onnx", "encoder.json", "signature.json", "golden.json", "features.py", "manifest.json", "training.json"
    }  # fmt: skip
    assert Scorer(folder).replay() is None
    assert reproduce.run(settings, store, f"{name}/1") == 0
    assert "bit-equal" in capsys.readouterr().out
    scored_as_served(settings, store, name, trained.digest)
    table = snapshot_at(store, discovery.dataset("learnt"), 1).rows()
    columns = {column: table[column].to_numpy() for column in ("size", "age", "city")}
    before, change = score(folder, columns), Recalibration(task, 0.5, (0.0, 0.3) if task == "binary" else (7.0,))
    recalibrate(folder, change, {"fitted_days": ["2024-01-01", "2024-01-02"]})
    assert score(folder, columns) == pytest.approx(change.apply(before), rel=1e-5)


def test_a_network_begins_with_weights_of_its_folder(
    project: Path, platform: tuple[Settings, FolderStore, RegistryInMemory], capsys: pytest.CaptureFixture[str]
) -> None:
    """MO-03, MO-16, DE-23: A file of weights is read and its bytes count: with another one `reproduce` names it and gives another version;
    without it there is a sentence."""
    settings, store, _ = platform
    name = write_model(project, "lightning", kind="tuned", **{"model.py": TUNED})
    file = project / "include/perennial_models" / name / "body.pt"
    with pytest.raises(TrainingRefused, match=r"begins with body\.pt, which is not in .*: put it there"):
        train.run(settings, store, model=name, snapshot=1)
    torch.save({"weight": torch.full((4, 3), 0.3), "bias": torch.zeros(4)}, file)
    trained = train.run(settings, store, model=name, snapshot=1)
    measured = evaluate.run(settings, store, name, trained.digest, trained.run_id)
    number = register.run(settings, store, model=name, digest=trained.digest, run_id=trained.run_id, evaluation=measured.evaluation).version
    assert reproduce.run(settings, store, f"{name}/{number}") == 0
    torch.save({"weight": torch.full((4, 3), -0.3), "bias": torch.zeros(4)}, file)
    capsys.readouterr()
    assert reproduce.run(settings, store, f"{name}/{number}") == 1
    said = capsys.readouterr().out
    assert f"of the files perennial_models/{name}/body.pt is changed" in said
    assert train.run(settings, store, model=name, snapshot=1).digest != trained.digest


PLAIN = """
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
def estimator(spec):
    return make_pipeline(SimpleImputer(), LogisticRegression())
"""
TREES = """
from sklearn.ensemble import HistGradientBoostingClassifier
def estimator(spec):
    return HistGradientBoostingClassifier(max_iter=20, categorical_features=[3])
"""
CODES = """
import numpy as np
from perennial.encoding import Category, Encoder, Number, Raw, numbers
def label(columns):
    return numbers(columns["late"])
def fit(columns):
    return Encoder({"x": [Raw("size"), Raw("age"), Raw("age")], "city": [Category.fit(columns, "city")]})
def encode(encoder, columns):
    tensors = encoder.encode(columns)
    return {"x": np.concatenate([tensors["x"], tensors["city"].astype(np.float32)], axis=1)}
"""


def fill(project: Path, folder: Path, name: str) -> None:
    """Train a version without looking for an equal one."""
    spec, dataset = discovery.model(name), discovery.dataset("learnt")
    source = snapshot_at(FolderStore(str(project / "store")), dataset, 1)
    train.fill_version_folder(folder / "version", spec, dataset, source, checkpoints=Checkpoints(folder / "run"))


def test_a_conversion_that_is_wrong_without_an_error_is_refused(project: Path, tmp_path: Path) -> None:
    """MO-22: skl2onnx converts HistGradientBoosting with categories, and ONNX then gives other scores: real rows tell."""
    name = write_model(project, "sklearn", **{"model.py": TREES, "features.py": CODES})
    with pytest.raises(TrainingRefused, match=r"ONNX and scikit-learn differ by 0\.\d+ on golden row \d+, .* take another estimator"):
        fill(project, tmp_path, name)


def test_columns_keep_the_order_in_which_an_estimator_was_fitted(project: Path, tmp_path: Path) -> None:
    """MO-01: A stored encoder has its tensors by name, and scikit-learn refuses columns in another order than the fitted one."""
    features = RAW.format(label="late").replace(', "city": [Raw("city", words=True)]', "").replace("{{", "{").replace("}}", "}")
    name = write_model(project, "sklearn", **{"model.py": PLAIN, "features.py": features})
    fill(project, tmp_path, name)
    assert Scorer(tmp_path / "version").replay() is None


@pytest.mark.parametrize(
    ("weights", "changed", "sentence"),
    [
        ([[1.0, 0.0]] * 3, {"name": "x"}, "wants the input x, and features.py gives places, numbers"),
        ([[1.0, 0.0]] * 2, {}, r"its input numbers is float32 \['rows', 2\], and features.py gives float32 \['rows', 3\]"),
        ([[1.0]] * 3, {}, r"scores of \d+ rows have the shape \[\d+, 1\]"),
        ([[np.inf, 0.0]] * 3, {}, "no finite numbers"),
        ([[1.0, 0.0]] * 3, {"inputs": [7, 3]}, "has \\[7\\] rows"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    project: Path, tmp_path: Path, weights: list[list[float]], changed: dict[str, Any], sentence: str
) -> None:
    """MO-01: A model.onnx made elsewhere is checked before anything is made of it; the sentence says what does not fit."""
    folder = project / "include/perennial_models" / write_model(project, "onnx")
    brought(folder / "model.onnx", weights, **changed)
    with pytest.raises(TrainingRefused, match=sentence):
        fill(project, tmp_path, folder.name)


def test_another_file_is_another_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-16, DE-03: The bytes of a model.onnx count as code does."""
    folder = project / "include/perennial_models" / write_model(project, "onnx")
    for name in (*manifest.TRAINING_CODE, *manifest.LEARNER_CODE["onnx"]):
        copy = project / "include/perennial" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("")
    monkeypatch.setattr(manifest, "_PACKAGE", project / "include/perennial")
    before = manifest.code_digest(folder.name), manifest.run_code(discovery.model(folder.name))
    brought(folder / "model.onnx", [[2.0, 0.0]] * 3)
    after = manifest.code_digest(folder.name), manifest.run_code(discovery.model(folder.name))
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"lerning_rate": 0.1}, "hyperparameter lerning_rate is none of LightGBM's: did you mean learning_rate"),
        ({"n_estimators": 100}, "hyperparameter n_estimators cannot be set: the most rounds are training.max_epochs"),
        ({"objective": "cross_entropy"}, "of classes it follows from the task"),
    ],
)
def test_a_hyperparameter_that_means_nothing_is_refused(project: Path, given: dict[str, Any], sentence: str) -> None:
    """MO-01, MO-05: By LightGBM's own list of names, its aliases too."""
    spec = discovery.model(write_model(project, "boosted"))
    with pytest.raises(TrainingRefused, match=sentence):
        parameters(spec.model_copy(update={"training": spec.training.model_copy(update={"hyperparameters": given})}))
