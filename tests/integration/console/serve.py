"""The console's pages on loopback, without Airflow: `serve.py FOLDER` writes its address into `FOLDER/address`. Run with Airflow's Python.

Who asks is who the cookie `who` names: `reader` may see every model and start nothing, anybody else may do all. In the folder lie `store`,
unless another is named (`serve.py FOLDER STORE`), and `specs.json`, the models and datasets that there are; without it they are the
project's. What a page starts by Airflow's API is kept and told by `/started`. The runs of `specs.json` are
in a database of Airflow's own tables.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
folder = Path(sys.argv[1])
sys.path[:0] = [str(ROOT / "plugins"), str(ROOT / "include"), str(ROOT / "tests/unit/perennial_airflow")]
os.environ["AIRFLOW_HOME"] = str(folder / "airflow")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{folder}/airflow.db"

import airflow.api_fastapi.app  # noqa: E402 - Airflow reads its configuration when it is loaded
import pytest  # noqa: E402
from airflow_runs import START, Runs  # noqa: E402
from fastapi import FastAPI, HTTPException, Request  # noqa: E402


class Guard:
    """Stands for the auth manager."""

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: str, method: str) -> set[str]:
        """All of them."""
        return set(dag_ids)

    def is_authorized_dag(self, *, method: str, user: str, **_: Any) -> bool:
        """Reading, for everybody; all else but for a reader."""
        return method == "GET" or user != "reader"


airflow.api_fastapi.app.get_auth_manager = Guard  # before any page is loaded

from airflow.api_fastapi.core_api.security import get_user  # noqa: E402

from perennial import discovery  # noqa: E402
from perennial.settings import Settings  # noqa: E402
from perennial.specs import DatasetSpec, ModelSpec  # noqa: E402
from perennial_airflow.console.app import make_app  # noqa: E402


def write_runs(runs: list[dict[str, Any]]) -> None:
    """Airflow's database, with these runs: each was started by the one before it a minute later, and the one that ingests by files."""
    database, before = Runs(folder / "airflow.db", pytest.MonkeyPatch()), None
    for place, run in enumerate(runs):
        begun = START + timedelta(minutes=place)
        state = "failed" if run["result"]["outcome"] == "refused" else "success"
        times = {"start_date": begun, "end_date": begun + timedelta(seconds=30)}
        database.add(run["dag"], run["run"], {run["task"]: (state, run["result"])}, state=state, triggering_user_name=run["by"], **times)
        database.start(None if run["task"] == "ingest" else before, (run["dag"], run["run"]), begun)
        before = (run["dag"], run["run"])


if (folder / "specs.json").exists():
    known = json.loads((folder / "specs.json").read_text())
    models = {name: ModelSpec.model_validate(spec) for name, spec in known["models"].items()}
    datasets = {name: DatasetSpec.model_validate(spec) for name, spec in known["datasets"].items()}
    broken = {one["name"]: discovery.Broken(**one) for one in known["broken"]}
    discovery._models = lambda: (models, broken)
    discovery._datasets = lambda: (datasets, {})
    write_runs(known["runs"])
store = sys.argv[2] if len(sys.argv) > 2 else str(folder / "store")
console = make_app(Settings.from_environment({"PERENNIAL_STORE": store, "PERENNIAL_HOME": str(folder)}))


def somebody(request: Request) -> str:
    """Who asks."""
    return request.cookies.get("who", "owner")


console.dependency_overrides[get_user] = somebody
outer = FastAPI()
started: list[dict[str, Any]] = []


@outer.get("/routes")
def routes() -> list[str]:
    """Every address of the console that can be read, with its variables in braces."""
    return [route.path for route in console.routes if "GET" in (getattr(route, "methods", None) or ())]


@outer.get("/started")
def what_was_started() -> list[dict[str, Any]]:
    """What pages started."""
    return started


@outer.post("/api/v2/dags/{dag}/dagRuns")
async def start(dag: str, request: Request) -> dict[str, Any]:
    """Stands for Airflow: keep it."""
    started.append({"dag": dag, **await request.json()})
    return {"dag_run_id": "manual__1"}


@outer.get("/api/v2/dags/{dag}")
def dag_of_that_name(dag: str) -> dict[str, Any]:
    """Stands for Airflow: monitoring has a time, the DAGs of a release are paused. Of the project's own models it knows nothing."""
    if not (folder / "specs.json").exists():
        raise HTTPException(404)
    return {"is_paused": dag.endswith("_release"), "next_dagrun_run_after": None if "train" in dag else "2026-03-30T10:15:00Z"}


@outer.get("/api/v2/dags/{dag}/dagRuns")
def runs(dag: str) -> dict[str, Any]:
    """Stands for Airflow: trainings run."""
    return {"dag_runs": [{"start_date": "2026-03-30T09:15:00Z"}] if dag.endswith("_training") else []}


@outer.get("/perennial/run.json")
def run(dag_id: str, run_id: str) -> dict[str, Any]:
    """Stands for the console's page of a run, which reads Airflow's database: a training is skipped, all else runs."""
    over = dag_id.endswith("_training") and run_id == "manual__1"
    return {
        "state": "success" if over else "running",
        "word": "Skipped",
        "task": "validate",
        "sentence": "No row is new since <b>then</b>.",
    }


outer.mount("/perennial", console)

if __name__ == "__main__":
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as server:
        (folder / "address.made").write_text(f"http://127.0.0.1:{server.getsockname()[1]}")
        (folder / "address.made").rename(folder / "address")
        uvicorn.Server(uvicorn.Config(outer, log_level="warning", access_log=False)).run([server])
