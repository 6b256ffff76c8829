"""Files are seen, and none is lost."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from airflow.triggers.base import BaseEventTrigger

from perennial.data.landing import receipt_key, waiting_files
from perennial.errors import StoreUnreachable
from perennial.settings import Settings
from perennial.store import open_store
from perennial_airflow.sensors.landing_sensor import WaitForFiles
from perennial_airflow.stage_end import StageFault
from perennial_airflow.triggers import landing
from perennial_airflow.triggers.landing import LandingTrigger
from perennial_airflow.triggers.moment import MomentTrigger


@pytest.fixture
def store(home, monkeypatch):
    """The store of a test; the trigger looks often."""
    monkeypatch.setattr(landing, "POLL_SECONDS", 0.02)
    return open_store(Settings.from_environment().store)


def _land(store, name, age=60.0):
    store.write(f"landing/flights/{name}", b"carrier\nUA\n")
    moment = time.time() - age
    os.utime(store.path / "landing" / "flights" / name, (moment, moment))


def _give_receipts(store):
    ready, _ = waiting_files(store, "flights", 0)
    for file in ready:
        store.write(receipt_key("flights", file.id), b"{}")


def _first_events(trigger, count, meanwhile=None):
    async def collect():
        events = []
        async for event in trigger.run():
            events.append(event.payload)
            if len(events) == count:
                break
            if meanwhile:
                meanwhile(len(events))
        return events

    return asyncio.run(asyncio.wait_for(collect(), 30))


def _silent(trigger, seconds=0.3):
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(anext(trigger.run()), seconds))


def test_it_fires_for_ready_files(store):
    """OP-02, DM-16: What is ready is told by name and number."""
    _land(store, "b.csv")
    _land(store, "a.csv")
    assert _first_events(LandingTrigger("flights"), 1) == [{"files": 2, "names": ["a.csv", "b.csv"]}]


def test_it_waits_while_nothing_is_ready(store):
    """OP-02, DM-16: Neither an absent folder, nor a file still being written, nor one with a receipt is an event."""
    _silent(LandingTrigger("flights"))
    _land(store, "a.csv", age=-60)
    _silent(LandingTrigger("flights"))
    _land(store, "a.csv")
    _give_receipts(store)
    _silent(LandingTrigger("flights"))


def test_no_storm_while_the_same_files_wait(store):
    """OP-02, DM-16: A second event needs another file."""
    _land(store, "a.csv")
    events = _first_events(LandingTrigger("flights"), 2, meanwhile=lambda _: _land(store, "b.csv"))
    assert [event["files"] for event in events] == [1, 2]


def test_files_that_arrive_together_make_one_event(store):
    """OP-02, DM-16: It waits for a neighbour that is still being written."""
    _land(store, "a.csv")
    _land(store, "b.csv", age=1.6)  # settled in 0.4 s
    assert _first_events(LandingTrigger("flights"), 1)[0]["files"] == 2


def test_a_file_does_not_wait_for_ever_for_its_neighbours(store, monkeypatch):
    """OP-02, DM-16: A steady stream of files cannot hold back those that are ready."""
    monkeypatch.setattr(landing, "GATHER_SECONDS", 0.1)
    _land(store, "a.csv")
    _land(store, "b.csv", age=-60)
    assert _first_events(LandingTrigger("flights"), 1)[0]["files"] == 1


def test_files_left_lying_are_announced_again(store, monkeypatch):
    """DM-16, DE-22: A lost event delays a file, it does not lose it."""
    monkeypatch.setattr(landing, "REMIND_SECONDS", 0.1)
    _land(store, "a.csv")
    assert len(_first_events(LandingTrigger("flights"), 3)) == 3


def test_a_new_trigger_announces_what_waits(store):
    """DM-16, DE-22: A restarted triggerer loses nothing: only a receipt ends a file's wait."""
    _land(store, "a.csv")
    for _ in range(2):
        assert _first_events(LandingTrigger("flights"), 1)[0]["names"] == ["a.csv"]


def test_it_outlives_an_outage_of_the_store(store, monkeypatch):
    """DM-16, DE-22: An unreachable store is waited for."""
    monkeypatch.setattr(landing, "OUTAGE_SECONDS", 0.01)
    answers = iter([StoreUnreachable("The store does not answer."), StoreUnreachable("The store does not answer.")])
    really = landing.look

    def look(dataset, watch, *, sure):
        failure = next(answers, None)
        if failure:
            raise failure
        return really(dataset, watch, sure=sure)

    monkeypatch.setattr(landing, "look", look)
    _land(store, "a.csv")
    assert _first_events(LandingTrigger("flights"), 1)[0]["files"] == 1


def test_it_gives_up_in_time(store):
    """OP-02, DM-16: A sensor's wait has an end."""
    assert _first_events(LandingTrigger("flights", until=time.time() + 0.1), 1) == [{"files": 0, "names": []}]


@pytest.mark.parametrize("trigger", [LandingTrigger("flights"), LandingTrigger("flights", until=5.0), MomentTrigger(7.0)])
def test_the_triggerer_can_make_it_again(trigger):
    """OP-10: Class path and arguments give the same trigger."""
    path, arguments = trigger.serialize()
    module, name = path.rsplit(".", 1)
    again = getattr(__import__(module, fromlist=[name]), name)(**arguments)
    assert again.serialize() == trigger.serialize()


def test_an_asset_can_be_watched_with_it():
    """DM-16: Airflow takes only event triggers."""
    assert isinstance(LandingTrigger("flights"), BaseEventTrigger)


def test_a_moment_that_has_passed_is_now():
    """OP-10: A triggerer that was down for longer than the wait goes on at once."""
    assert _first_events(MomentTrigger(time.time() - 100), 1)
    _silent(MomentTrigger(time.time() + 100), 0.1)


def _sensor(seconds="0"):
    return WaitForFiles(task_id="wait_for_files", dataset="flights", seconds=seconds)


def test_the_sensor_sees_files_at_once(store, task_log):
    """OP-02, DM-16: Most runs start because files are there: no waiting in the triggerer."""
    _land(store, "a.csv")
    assert _sensor().execute({})["files"] == 1


def test_the_sensor_defers(store, task_log):
    """OP-10: It holds no worker slot while it waits."""
    with pytest.raises(TaskDeferred) as deferred:
        _sensor("60").execute({})
    assert deferred.value.trigger.until > time.time() + 50
    assert getattr(_sensor(), deferred.value.method_name)({}, {"files": 1, "names": ["a.csv"]})["files"] == 1


def test_the_sensor_skips_when_nothing_came(store, task_log):
    """DE-15: No file is no failure, and says so."""
    with pytest.raises(AirflowSkipException, match="Nothing new has landed in landing/flights"):
        _sensor().execute({})
    with pytest.raises(AirflowSkipException, match="Nothing new has landed"):
        _sensor().go_on({}, {"files": 0, "names": []})


def test_the_sensor_tells_of_an_unreachable_store(home, task_log):
    """DE-15: A fault, tried again; a store that is a file does not look like one where nothing has landed."""
    (home / "store").write_text("a file where a folder is needed")
    with pytest.raises(StageFault, match="it is a file, and must be a folder"):
        _sensor().execute({})


def test_at_the_end_of_its_wait_it_tells_what_is_ready(store):
    """OP-02, DM-16: A file that is ready counts although another one, still being written, held its event back."""
    _land(store, "ready.csv")
    _land(store, "growing.csv", age=-60.0)
    assert _first_events(LandingTrigger("flights", until=time.time() + 0.1), 1) == [{"files": 1, "names": ["ready.csv"]}]
