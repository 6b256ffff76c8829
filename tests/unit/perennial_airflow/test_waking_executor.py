"""When the scheduler looks again."""

from __future__ import annotations

from multiprocessing import Pipe

import pytest
from airflow import settings

from perennial_airflow import waking_executor
from perennial_airflow.waking_executor import WakingExecutor, wait_for_news, written

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _written(*positions):
    """Tells these one after the other, then the last one for ever; and how often it was asked."""
    asked = []

    def tell():
        asked.append(None)
        return positions[min(len(asked), len(positions)) - 1]

    return tell, asked


@pytest.fixture
def finished():
    """Two ends: what is put into one can be read from the other."""
    reads, writes = Pipe(duplex=False)
    with reads, writes:
        yield reads, writes


def test_while_nothing_happens_it_looks_rarely(finished):
    """OP-05: Only the database's position is asked for meanwhile, ten times at most."""
    tell, asked = _written("0/1")
    wait_for_news(finished[0], tell, idle_seconds=0.2, look_seconds=0.02)
    assert 2 <= len(asked) <= 11


def test_what_is_written_wakes_it(finished):
    """OP-05: A person's click, a trigger's event and the end of a task are written into the database."""
    tell, asked = _written("0/1", "0/1", "0/2")
    wait_for_news(finished[0], tell, idle_seconds=600, look_seconds=0.01)
    assert len(asked) == 3


def test_a_finished_task_wakes_it(finished):
    """OP-05: Without a look at the database."""
    finished[1].send("done")
    tell, asked = _written("0/1")
    wait_for_news(finished[0], tell, idle_seconds=600, look_seconds=600)
    assert len(asked) == 1


def test_a_database_that_does_not_answer_is_no_news(finished):
    """OP-05: The scheduler meets it in its own next look."""
    tell, _ = _written("0/1", None, None, "0/1", None)
    wait_for_news(finished[0], tell, idle_seconds=0.1, look_seconds=0.01)
    assert written() is None, "the database of this test has no such position"


def test_it_waits_only_where_nothing_was_handed_over(monkeypatch):
    """OP-05: A scheduler that has work goes on at once, and what finished while it waited is taken in."""
    assert settings.engine is not None
    waited = []
    monkeypatch.setattr(waking_executor, "wait_for_news", lambda *_: waited.append(None))
    monkeypatch.setattr(WakingExecutor, "_spawn_workers_with_gc_freeze", lambda *_: None)
    executor = WakingExecutor(parallelism=1)
    executor.start()
    executor.sync()
    assert len(waited) == 1
    executor._process_workloads([])
    executor.sync()
    assert len(waited) == 1
    executor.sync()
    assert len(waited) == 2
    executor.result_queue.put(("key", "success", None))
    executor.sync()
    assert len(waited) == 2
    executor.end()
