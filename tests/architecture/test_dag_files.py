"""Every task parses its DAG file again: what a DAG file loads is paid at each task."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..parsing import MOST_CALLS, Parsed, parsed

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
HEAVY = ("torch", "pytorch_lightning", "mlflow", "great_expectations", "pandas", "deltalake", "duckdb", "onnxruntime", "seldon_core")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Parsed]:
    """All of them, parsed."""
    home = tmp_path_factory.mktemp("airflow")
    return parsed(FILES, AIRFLOW_HOME=str(home), AIRFLOW__CORE__LOAD_EXAMPLES="False")


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_parsing_a_dag_file_is_quick_and_loads_nothing_heavy(files: dict[Path, Parsed], file: Path) -> None:
    """OP-10: A DAG file needs so few calls that they take under 0.3 CPU seconds, and neither torch, MLflow, Great Expectations nor any
    model.py."""
    modules = files[file].modules
    assert not files[file].packages.intersection(HEAVY)
    assert not [m for m in modules if m.startswith("perennial_models.") and m.endswith((".model", ".features"))]
    assert "perennial.specs" in modules
    assert files[file].calls < MOST_CALLS


def test_the_dags_folder_holds_only_dag_files() -> None:
    """OP-01: Airflow parses whatever Python it finds there."""
    for file in (ROOT / "dags").rglob("*.py"):
        assert "from airflow.sdk import" in file.read_text(), f"{file} defines no DAG: its place is plugins/perennial_airflow/"
