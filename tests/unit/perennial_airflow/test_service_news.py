"""News of what serves wakes the DAG that tells people."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone

import pytest

from perennial.errors import StoreUnreachable
from perennial.incidents import news
from perennial.settings import Settings
from perennial.store import open_store
from perennial_airflow import assets
from perennial_airflow.triggers import service_news
from perennial_airflow.triggers.service_news import ServiceNewsTrigger


@pytest.fixture
def store(home, monkeypatch):
    """The store of a test; the trigger looks often."""
    monkeypatch.setattr(service_news, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(service_news, "OUTAGE_SECONDS", 0.02)
    return open_store(Settings.from_environment().store)


def _events(count, seconds, meanwhile=lambda: None):
    """The events that come in some time, so many at most."""

    async def collect():
        events = []
        try:
            async with asyncio.timeout(seconds):
                async for event in ServiceNewsTrigger().run():
                    events.append(event.payload["news"])
                    if len(events) == count:
                        break
                    meanwhile()
        except TimeoutError:
            pass
        return events

    return asyncio.run(collect())


def test_it_fires_once_for_each_news(store):
    """MN-09: None while there never was any; news of before it began is told, the same news only once."""
    assert _events(1, 0.3) == []
    news.announce(store, datetime(2013, 7, 4, tzinfo=timezone.utc))
    assert len(_events(2, 1.0)) == 1
    times = iter(range(5, 30))
    first, second = _events(2, 30, lambda: news.announce(store, datetime(2013, 7, next(times), tzinfo=timezone.utc)))
    assert first != second


def test_an_outage_is_waited_for(store, monkeypatch):
    """DE-22: A store that does not answer ends no trigger, and what came meanwhile is told."""
    news.announce(store, datetime(2013, 7, 4, tzinfo=timezone.utc))
    answers = iter([StoreUnreachable("It is away."), StoreUnreachable("It is away.")])
    look = service_news.look

    def sometimes():
        if error := next(answers, None):
            raise error
        return look()

    monkeypatch.setattr(service_news, "look", sometimes)
    assert len(_events(1, 30)) == 1


def test_its_asset_wakes_one_dag(store):
    """MN-09: The trigger is what the asset is watched by, and can be made again by the triggerer."""
    (watcher,) = assets.service_news().watchers
    path = "perennial_airflow.triggers.service_news.ServiceNewsTrigger"
    assert watcher.trigger.serialize() == ServiceNewsTrigger().serialize() == (path, {})
