"""The digits example with a small convolutional network of Keras: trained by TensorFlow, brought as a file of ONNX, judged here.

    python benchmarks/digits_by_keras.py --environment /tmp/keras

TensorFlow is in no lock file: the folder that is named gets a virtual environment of its own with the packages of PACKAGES (1.9 GB), unless
it has one. The training rows, encoded by the model's features.py, are handed over as rows.npz; Keras writes model.onnx into the model's
folder; the learner `onnx` checks and calibrates it, and the last days are scored with the version that comes of it. `--keep FILE` keeps
the model.onnx.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PACKAGES = ("tensorflow-cpu==2.21.0", "keras==3.15.1", "tf2onnx==1.17.0", "onnx==1.23.2")
SPEC = """
from perennial.specs import ModelSpec
from perennial_models.digits.spec import MODEL as DIGITS
MODEL = ModelSpec(**DIGITS.model_dump(exclude={"name", "learner", "training"}), name="digits_by_keras", learner="onnx")
"""
FEATURES = """
import numpy as np
from perennial.encoding import Block, numbers, Encoder
PIXELS = tuple(f"p{place:02d}" for place in range(64))
def label(columns):
    return numbers(columns["digit"])
def fit(columns):
    return Encoder({"image": [Block(PIXELS, shape=(8, 8, 1), scale=16.0)]})  # as Keras has it: colors last
def encode(encoder, columns):
    return encoder.encode(columns)
"""


def in_keras(folder: Path) -> None:
    """Train on rows.npz and write model.onnx; runs in the environment that has Keras."""
    import keras

    rows = np.load(folder / "rows.npz")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),  # the name of the tensor in features.py
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(rows["image"], rows["label"], epochs=30, batch_size=64, verbose=0)
    model.export(str(folder / "model.onnx"), format="onnx", verbose=False)


def make_environment(folder: Path) -> Path:
    """The Python of the environment with Keras, made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def main() -> None:
    """Print the figures of the last days."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, metavar="FOLDER", help="environment with Keras, made if it is not there")
    parser.add_argument("--in-keras", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)  # what is asked of that environment
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where the model.onnx is kept")
    asked = parser.parse_args()
    if asked.in_keras:
        return in_keras(asked.in_keras)
    if not asked.environment:
        parser.error("name a folder for the environment with Keras: --environment FOLDER")

    import pyarrow as pa

    from perennial import discovery
    from perennial.data.snapshots import label_of, snapshot_at, table_of
    from perennial.data.splits import split
    from perennial.stages.train import columns_of, fill_version_folder
    from perennial.store import FolderStore
    from perennial.training.checkpoints import Checkpoints
    from perennial.training.evaluation import metrics
    from perennial.training.scoring import score

    python = make_environment(asked.environment.absolute())
    with tempfile.TemporaryDirectory(prefix="perennial-keras-") as scratch:
        project = Path(scratch)
        model = project / "include/perennial_models/digits_by_keras"
        model.mkdir(parents=True)
        for name, text in {"__init__.py": "", "spec.py": SPEC, "features.py": FEATURES}.items():
            (model / name).write_text(text)
        with discovery.also_in(project):
            spec, dataset = discovery.model("digits_by_keras"), discovery.dataset("digits")
            features, source = discovery.model_part(spec.name, "features"), discovery.dataset_module("digits")
            store = FolderStore(str(project / "store"))
            for name, rows in source.land(source.FIRST, source.FIRST.replace(day=source.DAYS)):
                written = rows["written"].cast(pa.timestamp("us"))
                table_of(store, dataset).append(rows.set_column(rows.column_names.index("written"), "written", written), name)
            snapshot = snapshot_at(store, dataset, source.DAYS)
            cut = split(snapshot, spec, features)
            known = columns_of(cut.train, spec.inputs)
            inputs = features.encode(features.fit(known), known)
            np.savez(model / "rows.npz", label=label_of(cut.train, features, spec), **inputs)
            quiet = {
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "-1",
            }
            subprocess.run([str(python), __file__, "--in-keras", str(model)], env=quiet, check=True)
            if asked.keep:
                shutil.copyfile(model / "model.onnx", asked.keep)
            fill_version_folder(project / "version", spec, dataset, snapshot, checkpoints=Checkpoints(project / "run"))
            scores = score(project / "version", columns_of(cut.test, spec.inputs))
            figures = metrics(spec.task, label_of(cut.test, features, spec), scores)
    said = ", ".join(f"{name} {figures[name]:.4f} (floor {floor:g})" for name, floor in spec.gate.floors.items())
    print(f"{len(cut.train)} rows trained on in Keras, {len(cut.test)} of the last days scored by the version: {said}")


if __name__ == "__main__":
    main()
