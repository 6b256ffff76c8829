"""What DAG files call: a stage of a dataset or model as a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator

from perennial.errors import SettingMissing
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.operators.release_stage import ReleaseStage
from perennial_airflow.stage_command import check_arguments

STARTED_BY = "{{ dag_run.triggering_user_name or 'perennial' }}"


def stage_task(stage: str, spec: DatasetSpec | ModelSpec, *, task: Mapping[str, Any] | None = None, **arguments: object) -> BaseOperator:
    """The task that runs a stage; its id is the stage's name.

    Args:
        stage: name of the stage.
        spec: the dataset or model it works on.
        task: arguments for Airflow's side of the task, such as `task_id`, `outlets` and `announces`.
        arguments: arguments of the stage; values may be templates (see `param` and `result_of`).

    Raises:
        ValueError: the stage has no such argument.
        SettingMissing: stages cannot run where PERENNIAL_RUNTIME says.
    """
    subject = {"dataset" if isinstance(spec, DatasetSpec) else "model": spec.name}
    check_arguments(stage, {**subject, **arguments})
    return _operator(stage)(**{"task_id": stage, "stage": stage, "arguments": {**subject, **arguments}, **(task or {})})


def _operator(stage: str) -> type[ProcessStage]:
    """The only place that knows where stages run."""
    runtime = Settings.from_environment().runtime
    if runtime == "pod":
        raise SettingMissing("PERENNIAL_RUNTIME is pod, but this installation can only run stages as processes. Unset it.")
    return ReleaseStage if stage == "release" else ProcessStage


def param(name: str) -> str:
    """Template of a run's Param; empty where it is not set."""
    return f"{{{{ '' if params['{name}'] is none else params['{name}'] }}}}"


def result_of(task_id: str, field: str) -> str:
    """Template of one field of an earlier task's result; empty where the result or the field is missing."""
    return f"{{% set found = (ti.xcom_pull(task_ids='{task_id}') or {{}}).get('{field}') %}}{{{{ '' if found is none else found }}}}"


def run_page() -> str:
    """Template of the address of this run in the web UI."""
    return f"{Settings.from_environment().airflow_url}/dags/{{{{ dag.dag_id }}}}/runs/{{{{ run_id | urlencode }}}}"
