"""Runs in a real database of Airflow's own tables, in a file of the test."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import sessionmaker

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
TABLES = ("dag", "dag_tag", "dag_run", "dag_run_note", "task_instance", "xcom", "asset", "asset_event", "dagrun_asset_event")
Left = dict[str, Any] | None


def left(outcome: str, sentence: str, **more: Any) -> dict[str, Any]:
    """What a stage leaves: its result."""
    return {"outcome": outcome, "sentence": sentence, "links": {}, "seconds": 1.0, **more}


class Runs:
    """Airflow's database.

    Args:
        path: file for it.
        patch: makes it the one that Airflow's own sessions are of.
    """

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        from airflow import settings
        from airflow.models import import_all_models
        from airflow.models.base import Base

        import_all_models()  # each declares its table

        engine = create_engine(f"sqlite:///{path}")
        self._tables = Base.metadata.tables
        Base.metadata.create_all(engine, tables=[self._tables[name] for name in TABLES])
        self.sessions = sessionmaker(engine, expire_on_commit=False)
        patch.setattr(settings, "NonScopedSession", self.sessions)

    def add(
        self, dag: str, run: str, tasks: dict[str, tuple[str | None, Left]], *, tag: str = "perennial", note: str = "", **facts: Any
    ) -> None:
        """A run.

        Args:
            dag: its DAG.
            run: its id.
            tasks: by name: the state, and what it left. They began one after another, ten seconds each; None left nothing.
            tag: of the DAG.
            note: what a person wrote.
            facts: other columns of the run.
        """
        row = {
            "run_type": "manual",
            "run_after": START,
            "log_template_id": None,
            "state": "failed",
            "start_date": START,
            "end_date": START + timedelta(seconds=10 * len(tasks)),
        }
        with self.sessions.begin() as session:
            if session.scalar(select(self._tables["dag_tag"].c.name).where(self._tables["dag_tag"].c.dag_id == dag)) is None:
                session.execute(insert(self._tables["dag_tag"]).values(dag_id=dag, name=tag))
            made = session.execute(insert(self._tables["dag_run"]).values(dag_id=dag, run_id=run, **{**row, **facts}))
            (number,) = made.inserted_primary_key
            if note:
                session.execute(insert(self._tables["dag_run_note"]).values(dag_run_id=number, content=note, user_id="ada"))
            for place, (name, (state, said)) in enumerate(tasks.items()):
                at = START + timedelta(seconds=10 * place)
                times = {"start_date": at, "end_date": at + timedelta(seconds=10)} if state in ("success", "failed", "skipped") else {}
                of_task = {"dag_id": dag, "run_id": run, "task_id": name}
                session.execute(
                    insert(self._tables["task_instance"]).values(pool="default_pool", pool_slots=1, state=state, **of_task, **times)
                )
                if said is not None:
                    key = "return_value" if "links" in said else "ended"
                    session.execute(insert(self._tables["xcom"]).values(dag_run_id=number, key=key, value=said, **of_task))

    def asset(self, name: str) -> None:
        """The asset that all events are of."""
        with self.sessions.begin() as session:
            known = {"name": name, "uri": name, "group": "asset", "extra": {}, "created_at": START, "updated_at": START}
            session.execute(insert(self._tables["asset"]).values(id=1, **known))

    def start(self, by: tuple[str, str] | None, run: tuple[str, str], at: datetime) -> None:
        """Let an event start a run: of a run that ended, or of files that landed."""
        with self.sessions.begin() as session:
            runs = self._tables["dag_run"]
            number = session.scalar(select(runs.c.id).where(runs.c.dag_id == run[0], runs.c.run_id == run[1]))
            source = {"source_dag_id": by[0], "source_run_id": by[1]} if by else {}
            made = session.execute(insert(self._tables["asset_event"]).values(asset_id=1, timestamp=at, extra={}, **source))
            session.execute(insert(self._tables["dagrun_asset_event"]).values(dag_run_id=number, event_id=made.inserted_primary_key[0]))

    def note(self, dag: str, run: str) -> str | None:
        """The note that a run has."""
        from airflow.models.dagrun import DagRun

        with self.sessions() as session:
            return session.scalar(select(DagRun).where(DagRun.dag_id == dag, DagRun.run_id == run)).note
