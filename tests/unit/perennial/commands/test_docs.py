from __future__ import annotations

import pytest

from perennial import options, specs
from perennial.commands import docs
from perennial.errors import Fault
from perennial.settings import Settings
from perennial.store import FolderStore

DAGS = [
    {
        "file": "training.py",
        "manual": "Trains {title}.\n\n# When\n\nEvery night, from `{dataset}`; see `{name}_release`.",
        "dags": [
            {
                "id": "digits_training",
                "tasks": ["train"],
                "params": [{"name": "force", "type": ["null", "boolean"], "default": "False", "meaning": "Train | anyway."}],
            }
        ],
    }
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose DAG files are as the test says."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "_dag_files", lambda settings: DAGS)
    monkeypatch.setattr(docs.discovery, "models", lambda: {"digits": None})
    monkeypatch.setattr(docs.discovery, "datasets", lambda: {"digits": None})
    return tmp_path


@pytest.fixture
def run(project):
    """Runs the command."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(project / "home")})
    return lambda **arguments: docs.run(settings, FolderStore(str(project / "store")), **arguments)


def test_a_stale_page_is_found_written_and_then_right(run, project, capsys):
    """MN-19: CI compares, a person writes."""
    assert run(check=True) == 1
    assert "Run `make docs`" in capsys.readouterr().out
    assert not list((project / "docs").iterdir())
    assert run() == 0
    assert run(check=True) == 0
    (project / "docs/settings.md").write_text("changed by hand")
    assert run(check=True) == 1
    assert "docs/settings.md" in capsys.readouterr().out


def test_every_setting_argument_and_field_is_told():
    """MN-19: Whoever reads the pages misses nothing."""
    settings, commands, fields = docs.settings_page(), docs.commands_page(), docs.specs_page()
    assert all(f"`PERENNIAL_{name.upper()}`" in settings for name in Settings.model_fields)
    for name, (_, wanted) in {**options.STAGES, **options.COMMANDS}.items():
        assert f"### `perennial {name}" in commands
        assert all(f"`{o.name}`" in commands for o in wanted)
    for spec in (specs.DatasetSpec, specs.ModelSpec, specs.ReleaseSpec, specs.RetrainSpec):
        assert all(f"`{field}`" in fields for field in spec.model_fields)


def test_types_and_defaults_read_like_words():
    """MN-19: Nobody should have to know Python's typing to read them."""
    fields = docs.specs_page()
    assert "Annotated" not in fields  # says nothing of a type
    assert "| `steps` | int, ... | `(5, 25, 50, 100)` |" in fields
    assert "| `max_age_days` | float or none | `30` |" in fields
    assert "| `mode` | `automatic` or `approval` or `manual` | `automatic` |" in fields
    assert "| `split` | SplitSpec | `SplitSpec()` |" in fields


def test_the_dag_page_does_not_change_when_a_model_is_added(project):
    """MN-19: It speaks of <model>, not of each one."""
    page = docs.dags_page(DAGS)
    assert "| `<model>_training` | `dags/training.py` | Trains a model. |" in page
    assert "### When" in page
    assert "see `<model>_release`" in page
    assert "| `force` | null or boolean | `False` | Train \\| anyway. |" in page
    assert docs._patterns(["everything"], "model") == ["everything"]


def test_dag_files_that_cannot_be_read_are_said_in_one_sentence(tmp_path, monkeypatch):
    """MN-19: The last line of the traceback says why."""
    python = tmp_path / "venvs/airflow/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'ImportError: no such module' >&2; exit 1\n")
    python.chmod(0o755)
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    with pytest.raises(Fault, match="no such module"):
        docs._dag_files(settings)
