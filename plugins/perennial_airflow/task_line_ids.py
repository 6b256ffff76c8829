"""Gives every line of a task's log the ids of its run, model and stage, where lines are for a central log (PERENNIAL_LOG_FORMAT=json).

A listener: Airflow calls it in the task's own process before the task begins. Airflow writes each line of a task as a JSON object by
itself; without this only the file's path says which run it is of.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from airflow.listeners import hookimpl

from perennial.log_lines import TRACEPARENT_VARIABLE, ids_of_trace, wants_json

log = logging.getLogger(__name__)


class TaskLineIds:
    """Ids in the lines of tasks."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """Bind them to the process. Nothing it meets keeps the task from running."""
        del previous_state
        if not wants_json():
            return
        try:
            bind(task_instance)
        except Exception:
            log.exception("The lines of this task have no ids: the path of its log says which run it is of.")


def bind(ti: Any) -> None:
    """Have every further line of this process say whose task it is."""
    from structlog.contextvars import bind_contextvars

    task = getattr(ti, "task", None)
    arguments = getattr(task, "arguments", None)
    subject = {name: arguments[name] for name in ("model", "dataset") if arguments.get(name)} if isinstance(arguments, dict) else {}
    stage = {"stage": stage} if (stage := getattr(task, "stage", None)) else {}
    trace = ids_of_trace(os.environ.get(TRACEPARENT_VARIABLE, ""))
    bind_contextvars(dag=ti.dag_id, run=ti.run_id, task=ti.task_id, **{"try": ti.try_number}, **stage, **subject, **trace)
