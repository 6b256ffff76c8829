"""Airflow's plugin loader runs files of plugins/ as top-level modules named after the file."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "plugins"


def test_no_file_has_the_name_of_a_library() -> None:
    """OP-01: A file of that name would take the library's place for every DAG."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    ours = {file for file in PLUGINS.rglob("*.py") if file.stem != "__init__"}
    assert ours
    assert not {str(file.relative_to(PLUGINS)) for file in ours if file.stem in taken}


def test_the_plugin_loader_leaves_the_package_alone() -> None:
    """OP-01: Only perennial_plugin.py is run by the loader; the package is imported by its own name."""
    lines = (PLUGINS / ".airflowignore").read_text().splitlines()
    assert "perennial_airflow/" in lines
    assert {f.name for f in PLUGINS.glob("*.py")} <= {"perennial_plugin.py"}
