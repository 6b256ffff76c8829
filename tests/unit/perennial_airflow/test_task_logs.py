"""Where the lines of a running task are read."""

from __future__ import annotations

import logging.config

import pytest
from airflow.utils.log.file_task_handler import FileTaskHandler

from perennial_airflow.task_logs import LOGGING, SharedDiskHandler


@pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")
def test_airflow_gets_the_handler_that_asks_no_log_server(tmp_path):
    """MN-18: It is built from the configuration, and what it replaces is still there to be replaced."""
    settings = LOGGING["handlers"]["task"] | {"base_log_folder": str(tmp_path), "filters": []}
    logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": False, "formatters": LOGGING["formatters"], "handlers": {"task": settings}}
    )
    handler = logging.getHandlerByName("task") if hasattr(logging, "getHandlerByName") else logging._handlers["task"]
    assert type(handler) is SharedDiskHandler
    assert SharedDiskHandler._read_from_logs_server.__name__ in vars(FileTaskHandler)
    assert handler._read_from_logs_server(None, "any.log") == ([], [])
