"""Airflow's LocalExecutor, which also says when the scheduler looks again: at once where something happened, rarely where nothing did.

Airflow's scheduler looks at the database again and again, `scheduler_idle_sleep_time` apart: often means CPU for nothing, rarely means that
every task begins late (docs/decisions/0107-what-runs-while-nothing-happens.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from airflow.executors.local_executor import LocalExecutor

IDLE_SECONDS = 2.0  # between two looks of the scheduler while nothing happens
LOOK_SECONDS = 0.2  # after which at the latest it looks at what somebody wrote into the database


def wait_for_news(
    finished: Connection, written: Callable[[], str | None], idle_seconds: float = IDLE_SECONDS, look_seconds: float = LOOK_SECONDS
) -> None:
    """Wait until a task has finished or something was written into the database, or for `idle_seconds`.

    Args:
        finished: has something to read once a task has finished.
        written: how much was written into the database so far; None if that cannot be told, which is no news.
        idle_seconds: how long to wait at most.
        look_seconds: how often `written` is asked.
    """
    end, before = time.monotonic() + idle_seconds, written()
    while (left := end - time.monotonic()) > 0:
        if wait([finished], min(left, look_seconds)):
            return
        now = written()
        if now is not None and now != before:
            return


class WakingExecutor(LocalExecutor):
    """Runs tasks as LocalExecutor does. The scheduler calls `sync` once in each of its loops: with nothing to do it waits there."""

    _given = False  # whether this loop of the scheduler has handed tasks over

    def sync(self) -> None:
        """Take in what has finished; wait for it if nothing else is to be done."""
        super().sync()
        given, self._given = self._given, False
        if not given and not self.event_buffer:
            wait_for_news(self.result_queue._reader, written)  # type: ignore[attr-defined]
            self._read_results()  # type: ignore[no-untyped-call]

    def _process_workloads(self, workload_list: Sequence[Any]) -> None:
        super()._process_workloads(workload_list)  # type: ignore[no-untyped-call]
        self._given = True


def written() -> str | None:
    """Position of PostgreSQL's write-ahead log, which every change moves; None if it does not answer."""
    from airflow import settings
    from sqlalchemy.exc import SQLAlchemyError

    assert settings.engine is not None, "the scheduler has set it up"
    try:
        with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return str(connection.exec_driver_sql("SELECT pg_current_wal_insert_lsn()").scalar())
    except SQLAlchemyError:  # the scheduler's own look, which follows, meets the same and says so
        return None
