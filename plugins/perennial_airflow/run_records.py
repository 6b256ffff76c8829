"""Reads what Airflow's database knows of a run: its tasks, what they left, what led to it and what it led to. Sessions are short."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from perennial.views.run import STEPS
from perennial.views.run_story import RunRecord, TaskEnd
from perennial_airflow.stage_end import ENDED

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

OURS = "perennial"  # tag of every DAG of the platform
RESULT = "return_value"
TASKS = 300  # of a run that are read at most
LINKS = 4  # runs one after another, from landed files to full traffic, and one more
CHANGES = ("training", "release", "rollback", "recalibration", "ingestion")  # DAGs whose runs change what is stored or serves
MOST_FOUND = 5  # runs that a name may mean
NEAREST_OF = 500  # runs among which the names nearest to a wrong one are looked for
DIGITS = 9  # of the number of a version
MADE = 1_000  # registrations that are looked through for a version
LATER = 20  # runs that a run led to, at most


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
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    if run is None:
        return None
    by_events = select(AssetEvent.source_dag_id, AssetEvent.source_run_id, AssetEvent.timestamp, AssetModel.name)
    by_events = by_events.outerjoin(AssetModel, AssetModel.id == AssetEvent.asset_id)
    events = session.execute(by_events.where(AssetEvent.created_dagruns.any(DagRun.id == run.id)).order_by(AssetEvent.id).limit(1000)).all()
    before = [(dag, name) for dag, name, _, _ in events if dag and name]
    landed = [when for dag, _, when, _ in events if not dag]
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
        kind=str(getattr(run.run_type, "value", run.run_type) or ""),
        asset=next((asset for _, _, _, asset in reversed(events) if asset), ""),
        conf=dict(run.conf) if isinstance(run.conf, Mapping) else {},
        waits_for=_at_work(session, dag_id) if str(run.state) == "queued" else "",
    )


def found(session: Session, what: str) -> list[tuple[str, str]]:
    """DAG and run of what a person named, newest first: `DAG/run`, the id of a run, a DAG, or a model or dataset, of which the run that
    changed something last counts; and `model/7`, the run that made a version."""
    from airflow.models.dag import DagTag
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    ours = select(DagRun.dag_id, DagRun.run_id).join(DagTag, DagTag.dag_id == DagRun.dag_id).where(DagTag.name == OURS)
    newest = ours.order_by(DagRun.run_after.desc(), DagRun.id.desc()).limit(MOST_FOUND)
    dag, _, run = what.partition("/")
    if run and (named := session.execute(newest.where(DagRun.dag_id == dag, DagRun.run_id == run)).all()):
        return [(one.dag_id, one.run_id) for one in named]
    if run.isdecimal() and len(run) <= DIGITS:
        return _maker(session, dag, int(run))
    dags = [what, *(f"{what}_{kind}" for kind in CHANGES)]
    for condition in (DagRun.run_id == what, DagRun.dag_id.in_(dags)):
        if named := session.execute(newest.where(condition)).all():
            return [(one.dag_id, one.run_id) for one in named]
    return []


def nearest(session: Session, what: str, may_read: Callable[[str], bool]) -> list[str]:
    """Names of runs, of DAGs that a person may read, that are like what they named and what there is not, best first."""
    from difflib import get_close_matches

    from airflow.models.dag import DagTag
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    known = session.execute(
        select(DagRun.dag_id, DagRun.run_id)
        .join(DagTag, DagTag.dag_id == DagRun.dag_id)
        .where(DagTag.name == OURS)
        .order_by(DagRun.run_after.desc(), DagRun.id.desc())
        .limit(NEAREST_OF)
    ).all()
    readable = {dag: may_read(dag) for dag in {dag for dag, _ in known}}
    shown = [(dag, run) for dag, run in known if readable[dag]]
    named: dict[str, str] = {}
    for dag, run in shown:
        for name in (f"{dag}/{run}", run, dag, dag.rpartition("_")[0]):
            named.setdefault(name, f"{dag}/{run}")
    close = get_close_matches(what, named, n=3, cutoff=0.5)
    return list(dict.fromkeys(named[name] for name in close)) or [f"{dag}/{run}" for dag, run in shown[:3]]


def _maker(session: Session, model: str, number: int) -> list[tuple[str, str]]:
    """The run that registered a version, by what its tasks left."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    makers = {f"{model}_training": "register", f"{model}_recalibration": "recalibrate"}
    left = select(XComModel).where(XComModel.dag_id.in_(makers), XComModel.task_id.in_(makers.values()), XComModel.key == RESULT)
    for row in session.scalars(left.order_by(XComModel.timestamp.desc()).limit(MADE)):
        value = XComModel.deserialize_value(row)
        if isinstance(value, Mapping) and value.get("version") == number and value.get("outcome") == "done":
            return [(row.dag_id, row.run_id)]
    return []


def _at_work(session: Session, dag_id: str) -> str:
    """The run of a DAG that is at work; empty if none is."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    running = select(DagRun.run_id).where(DagRun.dag_id == dag_id, DagRun.state == "running").order_by(DagRun.id).limit(1)
    return session.scalar(running) or ""


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
