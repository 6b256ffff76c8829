"""Prints what the DAG files define, as JSON, for the generated documentation: `python -m perennial_airflow.dag_listing FOLDER`."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG


def listing(folder: Path) -> list[dict[str, Any]]:
    """One entry for each DAG file: its docstring, and each of its DAGs with typed parameters.

    Raises:
        ImportError: a DAG file cannot be parsed.
    """
    bag = DagBag(folder)
    for path, trace in bag.import_errors.items():
        raise ImportError(f"{path}: {trace.strip().splitlines()[-1]}")
    sound = [d for _, d in sorted(bag.dags.items()) if "broken" not in d.tags]  # a broken spec's own DAG is no part of the documentation
    files = {path: [d for d in sound if Path(d.fileloc) == path] for path in sorted(folder.glob("*.py"))}
    return [
        {"file": path.name, "manual": ast.get_docstring(ast.parse(path.read_text())) or "", "dags": [_dag(d) for d in dags]}
        for path, dags in files.items()
    ]


def _dag(dag: DAG) -> dict[str, Any]:
    return {"id": dag.dag_id, "tasks": sorted(dag.task_dict), "params": [_param(name, dag.params.get_param(name)) for name in dag.params]}


def _param(name: str, param: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": param.schema.get("type"),
        "default": repr(param.value),
        "meaning": param.schema.get("description") or param.description or "",
    }


if __name__ == "__main__":
    print(json.dumps(listing(Path(sys.argv[1]))))
