"""Reads what Airflow's database knows of a run: its tasks, what they left, what led to it and what it led to. Sessions are short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from perennial_airflow.run_story import TaskEnd
from perennial_airflow.stage_end import ENDED

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

OURS = "perennial"  # tag of every DAG of the platform
RESULT = "return_value"
TASKS = 300  # of a run that are read at most
LINKS = 4  # runs one after another, from landed files to full traffic, and one more
STEPS = ("ingestion", "training", "release")  # what the runs of that way do, in order
LATER = 20  # runs that a run led to, at most


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    dag: str
    run: str
    state: str
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    by: str  # who started it; empty if nobody did
    landed: datetime | None  # when the files that started it were seen
    after: tuple[str, str] | None  # DAG and run that started it


def is_ours(session: Session, dag_id: str) -> bool:
    """Whether a DAG is one of the platform's."""
    from airflow.models.dag import DagTag
    from sqlalchemy import select

    return session.scalar(select(DagTag.name).where(DagTag.dag_id == dag_id, DagTag.name == OURS)) is not None


def ends(session: Session, dag_id: str, run_id: str) -> list[TaskEnd]:
    """The tasks of a run, in the order in which they began; those that did not begin come last."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    said: dict[tuple[str, int], dict[str, Any]] = {}
    xcoms = select(XComModel).where(XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key.in_((RESULT, ENDED)))
    for row in session.scalars(xcoms.limit(2 * TASKS)):
        value = XComModel.deserialize_value(row)
        if isinstance(value, Mapping) and isinstance(value.get("outcome"), str) and isinstance(value.get("sentence"), str):
            place = (row.task_id, row.map_index)
            said[place] = {**dict(value), **said.get(place, {})} if row.key == ENDED else {**said.get(place, {}), **dict(value)}
    columns = (TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state, TaskInstance.start_date, TaskInstance.end_date)
    tasks = session.execute(
        select(*columns)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .order_by(TaskInstance.start_date.is_(None), TaskInstance.start_date, TaskInstance.task_id, TaskInstance.map_index)
        .limit(TASKS)
    )
    return [
        TaskEnd(task, str(state) if state else None, said.get((task, part)), begun, done, part) for task, part, state, begun, done in tasks
    ]


def record(session: Session, dag_id: str, run_id: str) -> RunRecord | None:
    """A run, and what started it; None if there is none."""
    from airflow.models.asset import AssetEvent
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if run is None:
        return None
    by_events = select(AssetEvent.source_dag_id, AssetEvent.source_run_id, AssetEvent.timestamp)
    events = session.execute(by_events.where(AssetEvent.created_dagruns.any(DagRun.id == run.id)).order_by(AssetEvent.id).limit(1000)).all()
    before = [(dag, name) for dag, name, _ in events if dag and name]
    landed = [when for dag, _, when in events if not dag]
    return RunRecord(
        dag=dag_id,
        run=run_id,
        state=str(run.state),
        queued=run.queued_at,
        started=run.start_date,
        ended=run.end_date,
        by=run.triggering_user_name or "",
        landed=min(landed, default=None),
        after=before[-1] if before else None,
    )


def way(session: Session, last: RunRecord) -> list[RunRecord]:
    """The runs that led to a run, it included, oldest first: taking the files in, training, release."""
    runs = [last]
    while runs[0].after and len(runs) < LINKS and (before := record(session, *runs[0].after)):
        if any((run.dag, run.run) == (before.dag, before.run) for run in runs):
            break
        runs.insert(0, before)
    return runs


def later(session: Session, first: RunRecord) -> list[RunRecord]:
    """The runs that a run led to on the way from landed files to full traffic, trainings and their releases; each has what started it."""
    runs: list[RunRecord] = []
    starters = [first]
    while starters and len(runs) < LATER:
        starter = starters.pop(0)
        known = {(run.dag, run.run) for run in runs}
        fresh = [run for run in _started_by(session, starter) if (run.dag, run.run) not in known]
        runs += fresh[: LATER - len(runs)]
        starters += fresh
    return runs


def promoted(session: Session, run: RunRecord) -> bool:
    """Whether a run gave a version all traffic."""
    tasks = ends(session, run.dag, run.run) if _step(run.dag) == "release" else []
    return any(task.state == "success" and (task.result or {}).get("action") == "promoted" for task in tasks)


def _started_by(session: Session, starter: RunRecord) -> list[RunRecord]:
    """The runs of the next steps that the end of a run started."""
    from airflow.models.asset import AssetEvent
    from airflow.models.dagrun import DagRun
    from sqlalchemy import or_, select

    next_steps = STEPS[STEPS.index(step) + 1 :] if (step := _step(starter.dag)) in STEPS else ()
    if not next_steps:
        return []
    ids = session.execute(
        select(DagRun.dag_id, DagRun.run_id)
        .join(DagRun.consumed_asset_events)
        .where(AssetEvent.source_dag_id == starter.dag, AssetEvent.source_run_id == starter.run)
        .where(or_(*(DagRun.dag_id.endswith(f"_{step}", autoescape=True) for step in next_steps)))
        .distinct()
        .order_by(DagRun.dag_id, DagRun.run_id)
        .limit(LATER)
    ).all()
    known = (record(session, dag, run) for dag, run in ids if is_ours(session, dag))
    return [replace(run, after=(starter.dag, starter.run)) for run in known if run]


def _step(dag: str) -> str:
    return dag.rpartition("_")[2]
