"""A training whose process is killed while it tells MLflow that it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from perennial.registry.mlflow_server import MlflowServer
from perennial.registry.model_registry import ORCHESTRATOR, ModelRegistry
from perennial.settings import Settings
from perennial.testing.versions import small_manifest

PAGE = "http://localhost:8080/dags/small_training/runs/manual__1"


class Dies:
    """An MLflow in memory whose caller dies once a run was made."""

    def __init__(self) -> None:
        self.runs: list[dict[str, str]] = []

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """One experiment."""
        return {"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}}

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Makes a run, and dies at the next."""
        if path == "runs/create":
            self.runs.append({pair["key"]: pair["value"] for pair in body["tags"]})
            return {"run": {"info": {"run_id": "r", "status": "RUNNING"}, "data": {}}}
        if path == "runs/search":
            return {}
        raise KeyboardInterrupt


def test_a_run_knows_who_began_it_from_its_first_moment(tmp_path: Path) -> None:
    """MO-10: One that is killed between two writes is found by what closes it, and is not shown as running for ever."""
    server = Dies()
    registry = ModelRegistry(Settings(home=tmp_path, store=str(tmp_path)), cast("MlflowServer", server))
    with pytest.raises(KeyboardInterrupt):
        registry.begin_run(small_manifest(run_key="e" * 24), {ORCHESTRATOR: PAGE})
    (said,) = server.runs
    assert {"run_key": "e" * 24, ORCHESTRATOR: PAGE}.items() <= said.items()
