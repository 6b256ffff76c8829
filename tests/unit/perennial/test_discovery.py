"""Models and datasets are found by walking their packages."""

import sys

import pytest

import perennial_datasets
from perennial import discovery
from perennial.errors import UnknownName

FILE = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name={name!r}, title="T", owner="o", columns=(Column(name="at", type="timestamp"),), key=("at",), event_time="at")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A second folder of datasets beside the project's own."""
    monkeypatch.setattr(perennial_datasets, "__path__", [*perennial_datasets.__path__, str(tmp_path)])
    yield tmp_path
    for name in [m for m in sys.modules if m.startswith("perennial_datasets.extra")]:
        del sys.modules[name]


def test_a_new_file_is_a_new_dataset(folder):
    """No list is extended."""
    (folder / "extra_a.py").write_text(FILE.format(name="extra_a"))
    assert "extra_a" in discovery.datasets()
    assert discovery.dataset_module("extra_a").DATASET.name == "extra_a"


def test_a_file_named_otherwise_than_its_spec_is_refused(folder):
    """One word: the file and the spec agree."""
    (folder / "extra_b.py").write_text(FILE.format(name="other"))
    with pytest.raises(ValueError, match="its place says 'extra_b'"):
        discovery.datasets()


def test_a_mistake_inside_a_file_raises_its_own_error(folder):
    """Discovery does not hide a typo."""
    (folder / "extra_c.py").write_text("import no_such_module")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        discovery.datasets()


def test_an_unknown_name_suggests_the_nearest():
    """A typo in a name gets a suggestion."""
    with pytest.raises(UnknownName, match="Did you mean flights"):
        discovery.dataset("flihgts")
    with pytest.raises(UnknownName, match="no model 'zzz'"):
        discovery.model("zzz")
