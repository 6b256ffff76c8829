"""A dataset and a model from pictures and arrays: `add` writes what declares and reads them."""

from __future__ import annotations

import importlib
import io
import zipfile

import numpy as np
import pytest

from perennial import discovery
from perennial.commands import add
from perennial.commands._sample import read_sample
from perennial.pictures import as_png
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import check_model

SETTINGS = Settings(store="unused")


def pictures(file):
    """Forty pictures in two folders, of two sizes."""
    rng, out = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(40):
            size = (6, 5) if number else (9, 9)
            archive.writestr(f"{'cat' if number % 2 else 'dog'}/{number}.png", as_png(rng.integers(256, size=size).astype(np.uint8)))
    file.write_bytes(out.getvalue())


def arrays(file):
    """Forty maps and their kind."""
    rng = np.random.default_rng(0)
    np.savez(file, heat=rng.normal(size=(40, 3, 2)), kind=np.arange(40) % 2, id=np.arange(40) + 500)


@pytest.mark.parametrize(
    ("name", "write", "label", "column"),
    [
        ("pets.zip", pictures, "folder", ("image", "image", "", (6, 5), "L")),
        ("pets.npz", arrays, "kind", ("heat", "array", "float", (3, 2), "")),
    ],
    ids=["pictures", "arrays"],
)
def test_a_dataset_and_a_model_are_made_of_a_sample(project, name, write, label, column):
    """DM-01, MO-01: The columns say shape and mode, the suite takes the sample, and the model keeps every promise."""
    file = project / name
    write(file)
    sample = read_sample(file)
    assert column in [(c.name, c.type, c.of, c.shape, c.mode) for c in sample.columns]
    assert any("pictures of 2 sizes" in note for note in sample.notes) == (name == "pets.zip")
    store = FolderStore(str(project / "store"))
    add.run(SETTINGS, store, "dataset", "pets", sample=file, project=project)
    importlib.invalidate_caches()
    made = discovery.dataset("pets").column(column[0])
    assert (made.name, made.type, made.of, made.shape, made.mode) == column
    add.run(SETTINGS, store, "model", "pets_kind", dataset="pets", label=label, sample=file, project=project)
    importlib.invalidate_caches()
    assert discovery.model("pets_kind").inputs == (column[0],)
    check_model("pets_kind")
