"""How long the steps of a release take at the traffic there is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data.tables import Table
from perennial.serving.canary import Counts, Evidence, add, decide, requests_to_promote
from perennial.specs import ReleaseSpec
from perennial.stages._release_times import requests_a_day, waiting_words
from perennial.store import FolderStore

NOW = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
FIT = "set release.max_seconds, or release.min_requests, release.steps and release.max_error_rate to fit"


@pytest.mark.parametrize(
    ("more", "a_day", "words"),
    [
        ({}, 24, "it takes 83 days at 5 %, 17 days at 25 %, 9.5 days at 50 %. That is more than release.max_seconds, 1 hour, after which"),
        ({"shadow": True, "steps": (50, 100)}, 86400, "it takes 1.7 minutes in the shadow, 7.1 minutes at 50 %."),
        ({"min_seconds": 600, "steps": (50, 100)}, 864000, "it takes 10 minutes at 50 %."),
        ({"min_requests": 1}, 86400, "it takes 20 seconds at 5 %, 10 seconds at 25 %, 10 minutes at 50 %."),
        ({"max_seconds": 7200}, 0, "none came in the last day. Without requests it waits for release.max_seconds, 2 hours, after which"),
        ({}, None, "Each step wants 100 requests of the candidate, and promotion 314 in all, or more if some fail."),
        ({"steps": (100,)}, 86400, "it takes 5.2 minutes at 100 %."),  # a candidate that begins with all traffic is watched there
        ({"steps": (50, 100), "min_requests": 10, "max_error_rate": 0.1, "max_seconds": 7 * 86400}, 24, "it takes 2.5 days at 50 %."),
    ],
)
def test_what_a_step_waits_for_is_said(more: dict[str, object], a_day: float | None, words: str) -> None:
    """SE-06: Requests and time of each step, and what to set where a person would be asked before; never a time that nobody knows."""
    said = waiting_words(ReleaseSpec(**more), a_day)
    assert words in said
    assert (FIT in said) == ("max_seconds," in words)


@pytest.mark.parametrize("more", [{}, {"max_error_rate": 0.1}, {"promotion_alpha": 0.2, "max_error_rate": 0.05}, {"min_requests": 500}])
def test_promotion_comes_with_the_requests_that_were_named(more: dict[str, float]) -> None:
    """SE-06: A candidate of which no request fails is promoted with exactly so many, or with those of its step if these are more."""
    release = ReleaseSpec(**{"min_seconds": 0, **more})
    named = max(requests_to_promote(release), release.min_requests)

    def action(requests: int) -> str:
        return decide(add(Evidence(), {"errors": Counts(candidate_requests=requests)}, 0.5, release), release, 9.0, last_step=True).action

    assert (action(named - 1), action(named)) == ("hold", "promote")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def serve(store: FolderStore, batch: str, *hours_ago: float, rows: int = 1, shadow: bool = False) -> None:
    """Requests of so many rows, that long before now."""
    times = [NOW - timedelta(hours=hours) for hours in hours_ago for _ in range(rows)]
    ids = [f"{batch}{number}-{row}" for number in range(len(hours_ago)) for row in range(rows)]
    served = pa.table({"prediction_id": ids, "served_at": pa.array(times, pa.timestamp("us", "UTC")), "shadow": [shadow] * len(ids)})
    Table(store, "late_predictions").append(served, batch)


def test_the_rate_is_that_of_the_last_days_requests(store: FolderStore) -> None:
    """SE-06: Of requests, not of rows; what only a shadow answered, or what came before, does not count."""
    assert requests_a_day(store, "late", NOW) is None
    serve(store, "old", 25, 30)
    assert requests_a_day(store, "late", NOW) == 0
    serve(store, "new", 23.99, 12, 1, rows=3)
    serve(store, "copies", 5, shadow=True)
    assert requests_a_day(store, "late", NOW) == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize(("hours_ago", "a_day"), [((6, 3), 8), ((0.01, 0.02), 48)])
def test_traffic_that_only_just_began_is_no_slow_traffic(store: FolderStore, hours_ago: tuple[float, ...], a_day: float) -> None:
    """SE-06: The rate is taken since the first request, an hour at least."""
    serve(store, "new", *hours_ago)
    assert requests_a_day(store, "late", NOW) == pytest.approx(a_day)
