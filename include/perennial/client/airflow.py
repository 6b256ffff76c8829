"""A training by its DAG: started through Airflow's API, watched until it ends, and what it made."""

from __future__ import annotations

import time
from typing import Any

from perennial.client.connection import Connection
from perennial.client.process import Say
from perennial.client.training import Candidate, candidate_of
from perennial.errors import Refused
from perennial.lineage.progress import progress
from perennial.local.airflow_api import ENDED, AirflowApi, Run
from perennial.results import EvaluateResult, RegisterResult, TrainResult

LOOK_SECONDS = 2.0
STAGES = ("validate", "train", "evaluate", "register")


def train_in_airflow(here: Connection, model: str, tell: Say, asked: dict[str, Any]) -> Candidate:
    """Start the DAG `<model>_training` with these parameters, and wait for its end.

    A candidate that the gate refused is returned too: its `register` says why.

    Raises:
        Refused: the run made no candidate; the sentence is what the run came to.
        Fault: Airflow does not answer, or refuses the run.
    """
    api = here.airflow()
    dag = f"{model}_training"
    try:
        run = api.trigger(dag, force=True, **asked)
    except KeyError:
        raise Refused(
            f"Airflow at {here.settings.airflow_url} has no DAG {dag}: does it read this checkout? Its page of imports says why."
        ) from None
    tell(f"Started {dag}: {run.url}")
    run = _watched(here, api, run, model, tell)
    note = api.note(run)
    if note:
        tell(note)
    results = {stage: api.result(run, stage) or {} for stage in STAGES}
    if not results["train"].get("digest"):
        raise Refused(note or f"The run of {dag} made no candidate ({run.state}): {run.url}")
    candidate = candidate_of(model, TrainResult.model_validate(results["train"]), str(results["validate"].get("code") or ""))
    if results["evaluate"].get("evaluation"):
        candidate._evaluation = EvaluateResult.model_validate(results["evaluate"])
    if results["register"].get("version"):
        candidate._registered = RegisterResult.model_validate(results["register"])
    return candidate


def _watched(here: Connection, api: AirflowApi, run: Run, model: str, tell: Say) -> Run:
    """Wait, and tell of each stage that begins and ends, and of epochs, as the training notes them in the store."""
    states: dict[str, str | None] = {}
    epoch, store = 0, here.store
    while True:
        run = api.run(run.dag, run.id)
        for stage, state in api.tasks(run).items():
            if stage in STAGES and state != states.get(stage) and state in ("running", "success", "failed", "skipped", "up_for_retry"):
                tell(f"{stage}: {state.replace('_', ' ')}")
            states[stage] = state
        note = progress(store, model) if states.get("train") == "running" else None
        if note and note.epoch > epoch and note.loss is not None:
            epoch = note.epoch
            tell(f"Epoch {epoch} of at most {note.limit}: validation loss {note.loss:.5f}, {note.seconds:.1f} s.")
        if run.state in ENDED:
            return run
        time.sleep(LOOK_SECONDS)
