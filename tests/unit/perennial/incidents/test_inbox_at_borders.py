"""The inbox of retraining requests at its borders: the last claim that is given and what is stored."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from pydantic import ValidationError

from perennial.errors import StoredDataDamaged, UnknownName
from perennial.incidents.inbox import Inbox, Request


@pytest.fixture
def inbox(store):
    """An empty inbox."""
    return Inbox(store, "m")


UNSAID = {"cause": None, "snapshot": None, "evidence": {}, "run": "", "outcome": None, "sentence": ""}


def test_what_lies_in_the_store(inbox, store, events):
    """MN-10: one event each for the asking, the claim and the end; nothing for what changes nothing."""
    key = inbox.ask("drift", 34, {"columns": ["temp"]})
    inbox.claim(key, "run-1")
    inbox.end(key, "trained", "Done.")
    written = [
        {**UNSAID, "kind": "asked", "key": "00000034-drift", "cause": "drift", "snapshot": 34, "evidence": {"columns": ["temp"]}},
        {**UNSAID, "kind": "claimed", "key": key, "run": "run-1"},
        {**UNSAID, "kind": "ended", "key": key, "outcome": "trained", "sentence": "Done."},
    ]
    assert events(store, "requests/m") == written
    assert [item.key for item in store.list("requests/m")] == [f"requests/m/0000000{place}.json" for place in range(3)]
    assert inbox.claim(key, "run-2") is None
    assert inbox.end(key, "refused", "Never.").outcome == "trained"
    assert inbox.ask("drift", 34, {}) is None
    assert events(store, "requests/m") == written


def test_what_another_wrote_is_read(inbox, store):
    """MN-10: a request as it was asked, with all that its events say, after a claim and after its end."""
    asked = {"time": "2026-02-20T06:00:00Z", "writer": "a", "kind": "asked", "key": "00000007-schedule", "cause": "schedule", "snapshot": 7,
             "evidence": {"age": 3}}  # fmt: skip
    claimed = {"time": "2026-02-20T07:00:00Z", "writer": "b", "kind": "claimed", "key": "00000007-schedule", "run": "run-9"}
    ended = {
        "time": "2026-02-20T08:00:00Z",
        "writer": "c",
        "kind": "ended",
        "key": "00000007-schedule",
        "outcome": "refused",
        "sentence": "No.",
    }
    states = [("open", (), None, ""), ("claimed", ("run-9",), None, ""), ("ended", ("run-9",), "refused", "No.")]
    for place, (event, state) in enumerate(zip((asked, claimed, ended), states, strict=True)):
        store.write(f"requests/m/{place:08d}.json", json.dumps(event).encode())
        [found] = inbox.all()
        assert (found.key, found.cause, found.snapshot, found.evidence) == ("00000007-schedule", "schedule", 7, {"age": 3})
        assert found.asked == datetime(2026, 2, 20, 6, tzinfo=timezone.utc)
        assert (found.state, found.runs, found.outcome, found.sentence) == state
        assert (inbox.active() is not None, len(inbox.open())) == (place < 2, place == 0)


def test_a_request_is_what_was_asked():
    """MN-10: what was read is not changed in memory, holds nothing that is not known of requests, and lacks nothing that was asked."""
    facts = {"key": "00000007-drift", "cause": "drift", "snapshot": 7, "evidence": {}, "asked": datetime(2026, 2, 20, tzinfo=timezone.utc)}
    with pytest.raises(ValidationError, match="frozen"):
        Request(**facts).state = "ended"
    with pytest.raises(ValidationError, match="surplus"):
        Request(**facts, surplus=True)
    for name in facts:
        with pytest.raises(ValidationError, match=f"{name}\n.*required"):
            Request(**{field: value for field, value in facts.items() if field != name})


def test_three_runs_may_take_a_request(inbox, store, events):
    """MN-10: the third still gets it, however often it asks again; the fourth ends it with a sentence that names the last."""
    key = inbox.ask("drift", 1, {})
    for number in (1, 2, 3):
        for _ in range(2):  # a run that was restarted under its name goes on
            taken = inbox.claim(key, f"run-{number}")
            assert (taken.state, len(taken.runs), taken.runs[-1]) == ("claimed", number, f"run-{number}")
    assert inbox.claim(key, "run-4") is None
    [ended] = inbox.all()
    assert (ended.state, ended.outcome, ended.runs) == ("ended", "refused", ("run-1", "run-2", "run-3"))
    assert ended.sentence.startswith("3 runs took the request and none ended it, the last was run-3: ")
    assert inbox.claim(key, "run-3") is None
    assert len(events(store, "requests/m")) == 5
    assert inbox.active() is None


def test_who_had_it_before_takes_it_like_any_other(inbox):
    """MN-10: a run whose request was taken over is one of the claims when it comes back."""
    key = inbox.ask("drift", 1, {})
    for run in ("a", "b", "a"):
        assert inbox.claim(key, run).runs[-1] == run
    assert inbox.get(key).runs == ("a", "b", "a")
    assert inbox.claim(key, "b") is None


def test_an_open_request_can_end_without_a_run(inbox):
    """MN-10: it is refused before anybody took it; others are let in again at once, also of the same snapshot."""
    key = inbox.ask("drift", 5, {})
    ended = inbox.end(key, "refused", "The data are bad.")
    assert (ended.state, ended.runs, ended.outcome, ended.sentence) == ("ended", (), "refused", "The data are bad.")
    assert inbox.active() is None
    assert inbox.open() == []
    other = inbox.ask("performance", 5, {})
    assert (other, inbox.active().key, inbox.open()[0].key) == ("00000005-performance", "00000005-performance", "00000005-performance")
    assert [r.key for r in inbox.all()] == [key, other]
    assert inbox.get(key) == ended


@pytest.mark.parametrize("act", [lambda i: i.get("x"), lambda i: i.claim("x", "run"), lambda i: i.end("x", "trained", "s")])
def test_a_key_that_nobody_asked_for(inbox, store, act, events):
    """MN-10: whatever is wanted of it, the sentence names model and key and says where the requests are; nothing is written."""
    inbox.ask("drift", 5, {})
    with pytest.raises(UnknownName, match=r"^m has no retraining request 'x'; its requests are below requests/m in the store\.$"):
        act(inbox)
    assert len(events(store, "requests/m")) == 1


def test_models_have_inboxes_of_their_own(store):
    """MN-10: a request of one model keeps no other out, also where a name begins with another's."""
    assert Inbox(store, "m").ask("drift", 1, {}) == Inbox(store, "m2").ask("drift", 1, {})
    assert len(Inbox(store, "m").all()) == 1


@pytest.mark.parametrize("content", [b'{"kind": "asked', b"{}", b'{"kind": "asked", "key": "k", "more": 1}'])
def test_an_event_that_cannot_be_read_is_named(inbox, store, content):
    """MO-17: With its place and what to do, and nothing is written over it or behind it."""
    inbox.ask("drift", 34, {})
    store.write("requests/m/00000001.json", content)
    with pytest.raises(StoredDataDamaged, match=r"^The inbox of m cannot be read: requests/m/00000001.json is no event. Restore it"):
        inbox.ask("drift", 35, {})
    assert [item.key[-6:] for item in store.list("requests/m")] == ["0.json", "1.json"]
