"""Writes the decisive sentence of a run as its note when it ends, so that a refusal is told from a crash on the run's page at first sight.

A listener: Airflow calls it in the scheduler, inside of the scheduler's own transaction. So what it needs is read in a session of its own,
and an error stays here and is logged. The sentence is the note's last paragraph; what a person wrote stands before it and stays.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

log = logging.getLogger(__name__)


class RunNotes:
    """Notes on runs that failed, and on those that took traffic from a version; what an earlier try of a run was told is replaced."""

    @hookimpl
    def on_dag_run_failed(self, dag_run: DagRun, msg: str) -> None:
        """Say why."""
        del msg
        note(dag_run)

    @hookimpl
    def on_dag_run_success(self, dag_run: DagRun, msg: str) -> None:
        """Say that a person rolled back or rejected, if that is what it was."""
        del msg
        note(dag_run)


def note(dag_run: DagRun) -> None:
    """Give a run of the platform its note. Nothing it meets harms the one who calls."""
    try:
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from sqlalchemy.orm import object_session

        from perennial.views.run_story import noted, verdict
        from perennial_airflow.run_records import ends, is_ours

        with create_session(scoped=False) as session:
            if not is_ours(session, dag_run.dag_id):
                return
            # Of the scheduler's own session, or of none where a DAG is tried in one process (`airflow dags test`).
            run = dag_run if object_session(dag_run) else session.get_one(DagRun, dag_run.id)
            after = noted(run.note, verdict(ends(session, dag_run.dag_id, dag_run.run_id)))
            if after != (run.note or None):
                run.note = after
    except Exception:
        log.exception("The run %s of %s has no note: its page still says how its stages ended.", dag_run.run_id, dag_run.dag_id)
