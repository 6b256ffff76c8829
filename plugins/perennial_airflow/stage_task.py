"""What DAG files call: a stage of a dataset or model as a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stage_command import check_arguments
from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.operators.stage import StageOperator
from perennial_airflow.stage_pod import compute_of, pod_template

if TYPE_CHECKING:
    from airflow.sdk import XComArg
    from airflow.sdk.definitions.mappedoperator import MappedOperator

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
    operator, where = _operator(stage, spec)
    limit = {"execution_timeout": spec.compute.longest(stage)}
    return operator(**{"task_id": stage, "stage": stage, "arguments": {**subject, **arguments}, **limit, **where, **(task or {})})


def stage_tasks(stage: str, spec: DatasetSpec | ModelSpec, arguments: XComArg, *, task: Mapping[str, Any] | None = None) -> MappedOperator:
    """Equal tasks that run a stage side by side, one for each set of arguments.

    Args:
        stage: name of the stage.
        spec: the dataset or model it works on.
        arguments: output of a task that gives a list of sets of arguments, the subject's included (see `ShareOut`).
        task: arguments for Airflow's side of the tasks, such as `task_id`.

    Raises:
        SettingMissing: stages cannot run where PERENNIAL_RUNTIME says.
    """
    operator, where = _operator(stage, spec)
    limit = {"execution_timeout": spec.compute.longest(stage)}
    return operator.partial(**{"task_id": stage, "stage": stage, **limit, **where, **(task or {})}).expand(arguments=arguments)


def _operator(stage: str, spec: DatasetSpec | ModelSpec) -> tuple[type[StageOperator], dict[str, Any]]:
    """The only place that knows where stages run: the operator, and what it must be told about that."""
    settings = Settings.from_environment()
    if settings.runtime == "process":
        return _as_process(stage), {}
    pod_template(settings, stage)  # a missing one is told here, not by every task
    compute = compute_of(spec, stage)
    # Imported late: whoever runs stages as processes need not wait for a Kubernetes client at each parse.
    if stage == "train" and compute and compute.nodes > 1:
        from perennial_airflow.operators.job_stage import JobStage

        return JobStage, {"compute": compute}
    from perennial_airflow.operators.pod_stage import PodCollectStage, PodExperimentStage, PodReleaseStage, PodStage

    as_pods: dict[str, type[StageOperator]] = {"release": PodReleaseStage, "experiment": PodExperimentStage, "collect": PodCollectStage}
    return as_pods.get(stage, PodStage), {"compute": compute}


def _as_process(stage: str) -> type[StageOperator]:
    """The operator of a stage that runs as a process; those of single stages are imported where a DAG file has one."""
    if stage == "release":
        from perennial_airflow.operators.release_stage import ReleaseStage

        return ReleaseStage
    if stage == "experiment":
        from perennial_airflow.operators.experiment_stage import ExperimentStage

        return ExperimentStage
    if stage == "collect":
        from perennial_airflow.operators.collect_stage import CollectStage

        return CollectStage
    return ProcessStage


def param(name: str) -> str:
    """Template of a run's Param; empty where it is not set."""
    return f"{{{{ '' if params['{name}'] is none else params['{name}'] }}}}"


def result_of(task_id: str, field: str) -> str:
    """Template of one field of an earlier task's result; empty where the result or the field is missing."""
    return f"{{% set found = (ti.xcom_pull(task_ids='{task_id}') or {{}}).get('{field}') %}}{{{{ '' if found is none else found }}}}"


def run_page() -> str:
    """Template of the address of this run in the web UI."""
    return f"{Settings.from_environment().airflow_url}/dags/{{{{ dag.dag_id }}}}/runs/{{{{ run_id | urlencode }}}}"
