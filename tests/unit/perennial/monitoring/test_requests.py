"""The inbox of retraining requests."""

from __future__ import annotations

import tempfile
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.errors import UnknownName
from perennial.monitoring.requests import MAX_CLAIMS, Inbox
from perennial.store import FolderStore


@pytest.fixture
def inbox(tmp_path):
    """An empty inbox."""
    return Inbox(FolderStore(str(tmp_path)), "flight_delays")


def test_a_request_goes_from_open_to_claimed_to_ended(inbox):
    """Every state is visible to another reader of the same store."""
    other = Inbox(inbox.store, inbox.model)
    key = inbox.ask("drift", 34, {"columns": ["temp"]})
    assert key == "00000034-drift"
    assert [r.key for r in other.open()] == [key]
    claimed = other.claim(key, "run-1")
    assert claimed is not None
    assert (claimed.state, claimed.runs, claimed.evidence) == ("claimed", ("run-1",), {"columns": ["temp"]})
    assert inbox.open() == []
    assert inbox.active().key == key
    ended = inbox.end(key, "trained", "Version 13 was trained.")
    assert (ended.state, ended.outcome, ended.sentence) == ("ended", "trained", "Version 13 was trained.")
    assert other.active() is None


def test_the_same_request_is_made_once(inbox):
    """Snapshot and cause make a request the same, also after it has ended."""
    key = inbox.ask("drift", 34, {})
    assert inbox.ask("drift", 34, {}) is None
    inbox.end(key, "refused", "The data are bad.")
    assert inbox.ask("drift", 34, {}) is None
    assert inbox.ask("drift", 35, {}) == "00000035-drift"


def test_one_request_is_active_at_a_time(inbox):
    """While one is open or claimed, no other cause gets in."""
    key = inbox.ask("drift", 34, {})
    assert inbox.ask("performance", 34, {}) is None
    inbox.claim(key, "run-1")
    assert inbox.ask("performance", 35, {}) is None
    inbox.end(key, "trained", "Done.")
    assert inbox.ask("performance", 35, {}) is not None


def test_a_claim_of_a_dead_run_is_taken_over(inbox):
    """The next run takes the request; claiming again under the same name changes nothing."""
    key = inbox.ask("drift", 1, {})
    inbox.claim(key, "run-1")
    assert inbox.claim(key, "run-2").runs == ("run-1", "run-2")
    assert inbox.claim(key, "run-2").runs == ("run-1", "run-2")


def test_a_request_that_kills_its_runs_ends(inbox):
    """After the last allowed claim the request is refused with a sentence instead of being taken for ever."""
    key = inbox.ask("drift", 1, {})
    for i in range(MAX_CLAIMS):
        assert inbox.claim(key, f"run-{i}") is not None
    assert inbox.claim(key, "one-more") is None
    ended = inbox.get(key)
    assert (ended.state, ended.outcome) == ("ended", "refused")
    assert f"run-{MAX_CLAIMS - 1}" in ended.sentence


def test_the_first_end_counts(inbox):
    """A second end, and a claim after the end, change nothing."""
    key = inbox.ask("drift", 1, {})
    inbox.end(key, "refused", "first")
    assert inbox.end(key, "trained", "second").sentence == "first"
    assert inbox.claim(key, "run-1") is None


def test_an_unknown_key_is_named(inbox):
    """A key that nobody asked for gives a sentence."""
    with pytest.raises(UnknownName, match="no retraining request 'nothing'"):
        inbox.claim("nothing", "run-1")


def test_of_many_writers_one_wins(tmp_path):
    """Sixteen threads ask at once: one request comes to be and fifteen are told."""
    store, keys = FolderStore(str(tmp_path)), []
    start = threading.Barrier(16)

    def ask(number):
        start.wait()
        keys.append(Inbox(store, "m").ask("drift" if number % 2 else "performance", number, {}))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len([k for k in keys if k]) == 1
    assert len(Inbox(store, "m").all()) == 1


HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(["drift", "performance", "schedule"]), st.integers(0, 4)),
        st.tuples(st.just("claim"), st.sampled_from(["a", "b", "c"]), st.just(0)),
        st.tuples(st.just("end"), st.sampled_from(["trained", "refused"]), st.just(0)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES)
def test_in_any_history_no_request_is_lost_and_none_doubled(history):
    """Whatever is asked, claimed, ended and restarted: each granted key appears once, at most one is active, and an end stays."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        inbox, granted, ended = Inbox(store, "m"), [], {}
        for action, word, number in history:
            active = inbox.active()
            if action == "ask":
                key = inbox.ask(word, number, {})
                expected = active is None and f"{number:08d}-{word}" not in granted
                assert (key is not None) == expected
                granted += [key] if key else []
            elif action == "claim" and active:
                inbox.claim(active.key, word)
            elif action == "end" and active:
                inbox.end(active.key, word, f"ended {len(ended)}")
            elif action == "restart":
                inbox = Inbox(store, "m")
            for request in inbox.all():
                if request.state == "ended":
                    assert request.sentence
                    assert ended.setdefault(request.key, request.sentence) == request.sentence
            assert [r.key for r in inbox.all()] == granted
            assert len([r for r in inbox.all() if r.state != "ended"]) <= 1
            assert Inbox(store, "m").all() == inbox.all()
