"""What a model imports from its project counts as its own code does, and what no digest covers is named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial import discovery
from perennial.lineage.imported import imports, unpinned
from perennial.lineage.manifest import code_digest, code_files, run_code, unpinned_imports

DATASET = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="elsewhere", title="E", owner="tests", key=("id",), event_time="", columns=(
    Column(name="id", type="int"), Column(name="size", type="float"), Column(name="late", type="int")))
"""
SPEC = """
from perennial.specs import GateSpec, ModelSpec, SplitSpec
MODEL = ModelSpec(name="elsewhere", title="E", owner="tests", dataset="elsewhere", task="binary", classes=("a", "b"), label="late",
    inputs=("size",), learner="boosted", split=SplitSpec(by="random"), gate=GateSpec(floors={"log_loss": 0.69}))
"""
FEATURES = "from shared_of_tests.sizes import doubled\nfrom shared_of_tests import names as words\nimport numpy, far_away_of_tests\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """Another project with a model that imports from a package beside it; its `include`."""
    include = tmp_path / "include"
    files = {
        "perennial_datasets/elsewhere.py": DATASET,
        "perennial_models/elsewhere/__init__.py": "",
        "perennial_models/elsewhere/spec.py": SPEC,
        "perennial_models/elsewhere/features.py": FEATURES,
        "shared_of_tests/__init__.py": "",
        "shared_of_tests/sizes.py": "from . import units\ndef doubled(x):\n    return 2 * x * units.ONE\n",
        "shared_of_tests/units.py": "ONE = 1\n",
        "shared_of_tests/names.py": "",
        "shared_of_tests/unused.py": "",
    }
    for name, text in files.items():
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).write_text(text)
    with discovery.also_in(tmp_path):
        yield include
    for name in [name for name in sys.modules if name.startswith("shared_of_tests")]:
        del sys.modules[name]


def test_what_a_model_imports_from_its_project_counts(project: Path) -> None:
    """MO-16, DE-03: Directly or through another file; what nothing imports does not, and a comment neither."""
    own = {name for name in code_files("elsewhere") if not name.startswith("perennial/")}
    assert own == {
        "perennial_models/elsewhere/features.py",
        *(f"shared_of_tests/{name}.py" for name in ("__init__", "sizes", "units", "names")),
    }
    spec = discovery.model("elsewhere")
    before = code_digest("elsewhere"), run_code(spec)
    (project / "shared_of_tests/unused.py").write_text("ONE = 2\n")
    (project / "shared_of_tests/units.py").write_text("# the unit\nONE = 1\n")
    assert (code_digest("elsewhere"), run_code(spec)) == before
    (project / "shared_of_tests/units.py").write_text("ONE = 2\n")
    after = code_digest("elsewhere"), run_code(spec)
    assert after[0] != before[0]
    assert after[1] != before[1]


def test_what_no_digest_covers_is_named(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-16: A package that is neither in the project nor in the lock file, with the place that it is from; NumPy is locked."""
    assert unpinned_imports("elsewhere") == ["far_away_of_tests, which is not here"]
    (tmp_path / "by_hand/far_away_of_tests").mkdir(parents=True)
    (tmp_path / "by_hand/far_away_of_tests/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "by_hand"))
    (clause,) = unpinned_imports("elsewhere")
    assert clause == f"far_away_of_tests, which is imported from {tmp_path / 'by_hand/far_away_of_tests'}"
    assert unpinned(["numpy"], ["numpy"]) == []
    assert unpinned(["numpy"], []) == ["numpy, which is installed and not in the lock file"]


def test_a_circle_of_imports_ends(tmp_path: Path) -> None:
    """MO-16: Two files that import each other, and themselves."""
    (tmp_path / "one.py").write_text("import two, one\n")
    (tmp_path / "two.py").write_text("from one import x\n")
    found = imports([tmp_path / "one.py"], [tmp_path])
    assert [file.name for file in found.files] == ["two.py"]
    assert not found.packages
