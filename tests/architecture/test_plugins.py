"""Airflow's plugin loader runs files of plugins/ as top-level modules named after the file."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "plugins"
DAGS = PLUGINS.with_name("dags")


def test_no_file_has_the_name_of_a_library() -> None:
    """OP-01: A file of that name would take the library's place for every DAG."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    ours = {file for file in PLUGINS.rglob("*.py") if file.stem != "__init__"}
    assert ours
    assert not {str(file.relative_to(PLUGINS)) for file in ours if file.stem in taken}


def test_the_plugin_loader_leaves_the_package_alone() -> None:
    """OP-01: Only these two are run by the loader; the package is imported by its own name."""
    lines = (PLUGINS / ".airflowignore").read_text().splitlines()
    assert "perennial_airflow/" in lines
    assert {f.name for f in PLUGINS.glob("*.py")} == {"perennial_plugin.py", "perennial_beforehand.py"}


def imported_by(file: Path) -> set[str]:
    """Modules and packages of ours that a file imports, or imports something from."""
    imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    named = {(str(node.module), f"{node.module}.{alias.name}") for node in imports for alias in node.names}
    return {whole if is_ours(whole) else module for module, whole in named if is_ours(whole) or is_ours(module)}


def is_ours(name: str) -> bool:
    """Whether a module or a package of ours has that name."""
    places = [folder / name.replace(".", "/") for folder in (PLUGINS, PLUGINS.with_name("include"))]
    return any(place.with_suffix(".py").is_file() or (place / "__init__.py").is_file() for place in places)


def test_what_dag_files_import_is_imported_beforehand() -> None:
    """OP-01: Airflow's programs have it before they fork a process for each parse and task, and no model or dataset: those may change."""
    wanted = set().union(*map(imported_by, DAGS.glob("*.py")))
    assert "perennial.specs" in wanted
    assert wanted == imported_by(PLUGINS / "perennial_beforehand.py")
