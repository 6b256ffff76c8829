"""Airflow's logging on one machine: task logs are read from the disk that all of its components share."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG
from airflow.utils.log.file_task_handler import FileTaskHandler

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory


class SharedDiskHandler(FileTaskHandler):
    """Reads the lines of a running task where they are written.

    Airflow would ask a log server for them too, which listens on all addresses of the machine and cannot be told
    otherwise; without one, every running task's log begins with the error that it could not be reached.
    """

    def _read_from_logs_server(self, ti: TaskInstance | TaskInstanceHistory, worker_log_rel_path: str) -> tuple[list[str], list[Any]]:
        """Nothing more: the files have been read already."""
        return [], []


LOGGING: dict[str, Any] = deepcopy(DEFAULT_LOGGING_CONFIG)
LOGGING["handlers"]["task"]["class"] = f"{__name__}.{SharedDiskHandler.__name__}"
