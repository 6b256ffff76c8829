"""The inbox of retraining requests."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from random import Random

import pytest

from perennial.errors import UnknownName
from perennial.incidents.inbox import MAX_CLAIMS, Inbox
from perennial.store import FolderStore, StoredObject


@pytest.fixture
def inbox(tmp_path):
    """An empty inbox."""
    return Inbox(FolderStore(str(tmp_path)), "flight_delays")


def test_a_request_goes_from_open_to_claimed_to_ended(inbox):
    """MN-10, SY-06: Every state is visible to another reader of the same store."""
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
    """MN-10: Snapshot and cause make a request the same, also after it has ended."""
    key = inbox.ask("drift", 34, {})
    assert inbox.ask("drift", 34, {}) is None
    inbox.end(key, "refused", "The data are bad.")
    assert inbox.ask("drift", 34, {}) is None
    assert inbox.ask("drift", 35, {}) == "00000035-drift"
    inbox.end("00000035-drift", "refused", "Too few.")
    assert inbox.ask("drift", 35, {}, labels=4) == "00000035-00000004-drift"  # other labels of the same rows may be asked for anew


def test_one_request_is_active_at_a_time(inbox):
    """MN-10: While one is open or claimed, no other cause gets in."""
    key = inbox.ask("drift", 34, {})
    assert inbox.ask("performance", 34, {}) is None
    inbox.claim(key, "run-1")
    assert inbox.ask("performance", 35, {}) is None
    inbox.end(key, "trained", "Done.")
    assert inbox.ask("performance", 35, {}) is not None


def test_a_claim_of_a_dead_run_is_taken_over(inbox):
    """MN-10, DE-22: The next run takes the request; claiming again under the same name changes nothing."""
    key = inbox.ask("drift", 1, {})
    inbox.claim(key, "run-1")
    assert inbox.claim(key, "run-2").runs == ("run-1", "run-2")
    assert inbox.claim(key, "run-2").runs == ("run-1", "run-2")


def test_a_request_that_kills_its_runs_ends(inbox):
    """MN-10: After the last allowed claim the request is refused with a sentence instead of being taken for ever."""
    key = inbox.ask("drift", 1, {})
    for i in range(MAX_CLAIMS):
        assert inbox.claim(key, f"run-{i}") is not None
    assert inbox.claim(key, "one-more") is None
    ended = inbox.get(key)
    assert (ended.state, ended.outcome) == ("ended", "refused")
    assert f"run-{MAX_CLAIMS - 1}" in ended.sentence


def test_the_first_end_counts(inbox):
    """MN-10: A second end, and a claim after the end, change nothing."""
    key = inbox.ask("drift", 1, {})
    inbox.end(key, "refused", "first")
    assert inbox.end(key, "trained", "second").sentence == "first"
    assert inbox.claim(key, "run-1") is None


def test_an_unknown_key_is_named(inbox):
    """MN-10: A key that nobody asked for gives a sentence."""
    with pytest.raises(UnknownName, match="no retraining request 'nothing'"):
        inbox.claim("nothing", "run-1")


def test_of_many_writers_one_wins(tmp_path):
    """MN-10, DE-22: Sixteen threads ask at once: one request comes to be and fifteen are told."""
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


class Died(Exception):
    """A writer is killed."""


class Shelf:
    """A store in memory whose writers are killed and overtaken.

    Before a put others may act, and a put may kill its writer before or after it counts.
    """

    def __init__(self, random):
        self.objects, self.random, self.meanwhile, self.calm = {}, random, None, False

    def list(self, prefix):
        return [StoredObject(key, len(data), 0.0, "") for key, data in sorted(self.objects.items()) if key.startswith(f"{prefix}/")]

    def read(self, key):
        return self.objects[key]

    def put_if_absent(self, key, data):
        luck = 1.0 if self.calm else self.random.random()
        if luck < 0.3 and self.meanwhile:
            overtakes, self.meanwhile = self.meanwhile, None  # one at a time: the one that overtakes is not overtaken
            overtakes()
            self.meanwhile = overtakes
        if 0.3 <= luck < 0.37:
            raise Died
        is_mine = self.objects.setdefault(key, data) is data
        if 0.37 <= luck < 0.44:
            raise Died
        return is_mine


class History:
    """Monitors that ask, runs that claim and end, all at once, killed at any put, and told to do it again."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.shelf = Shelf(self.random)
        self.shelf.meanwhile = self.act
        self.granted, self.started = [], 0

    def act(self):
        """One writer does one thing; a killed one may do it again."""
        what = self.random.choice((self.ask, self.ask, self.claim, self.claim, self.end))()
        for _ in range(self.random.choice((1, 1, 1, 2))):
            with suppress(Died):
                what(Inbox(self.shelf, "m"))  # every writer is a process of its own

    def ask(self):
        cause, snapshot = self.random.choice(("drift", "performance", "schedule")), self.random.randrange(3)

        def do(inbox):
            key = inbox.ask(cause, snapshot, {"window": snapshot})
            if key:
                self.granted.append(key)
            else:  # nothing that was asked for is dropped: the same is there, or another is active
                assert any(r.key == f"{snapshot:08d}-{cause}" or r.state != "ended" for r in Inbox(self.shelf, "m").all())

        return do

    def claim(self):
        self.started += 1
        run, known = f"run-{self.started}", Inbox(self.shelf, "m").all()
        key = self.random.choice(known).key if known else None

        def do(inbox):
            taken = inbox.claim(key, run) if key else None
            if taken:
                assert (taken.key, taken.state, taken.runs[-1]) == (key, "claimed", run)

        return do

    def end(self):
        outcome, known = self.random.choice(("trained", "refused")), Inbox(self.shelf, "m").all()
        key = self.random.choice(known).key if known else None
        return lambda inbox: key and inbox.end(key, outcome, f"{outcome} by {self.random.random()}")

    def run(self, acts):
        """All acts, then runs that all die, until nothing waits any more."""
        for _ in range(acts):
            self.act()
        self.shelf.calm = True
        inbox = Inbox(self.shelf, "m")
        for number in range(MAX_CLAIMS + 1):
            if waiting := inbox.active():
                inbox.claim(waiting.key, f"last-{number}")
        return inbox.all()


def is_sound(shelf):
    """What holds for the events, one after the other: no gap, no key asked twice, one active at most, nothing after an end."""
    keys = sorted(shelf.objects)
    assert keys == [f"requests/m/{place:08d}.json" for place in range(len(keys))]
    active, asked, claims = None, [], {}
    for key in keys:
        event = json.loads(shelf.objects[key])
        if event["kind"] == "asked":
            assert active is None
            assert event["key"] not in asked
            active = event["key"]
            asked.append(active)
            continue
        assert event["key"] == active
        if event["kind"] == "claimed":
            claims[active] = claims.get(active, 0) + 1
            assert claims[active] <= MAX_CLAIMS
        else:
            assert event["outcome"]
            assert event["sentence"]
            active = None
    return asked


def test_of_ten_thousand_histories_none_loses_or_doubles_a_request():
    """MN-10, DE-22: Asks, claims and ends by many writers at once, killed before and after a put and repeated: every request is there once,
    one is active at a time, and each ends in a run or a stated refusal."""
    requests = ends = overtaken = 0
    for seed in range(10_000):
        history = History(seed)
        found = history.run(history.random.randrange(1, 12))
        asked = is_sound(history.shelf)
        assert [r.key for r in found] == asked
        assert set(history.granted) <= set(asked)
        assert len(history.granted) == len(set(history.granted))
        assert all(r.state == "ended" and r.outcome and r.sentence for r in found)
        requests += len(asked)
        ends += sum("runs took the request and none ended it" in r.sentence for r in found)
        overtaken += len(asked) - len(history.granted)
    assert requests > 10_000
    assert ends > 1000  # histories in which every run died
    assert overtaken > 500  # requests whose writer was killed after the put


def test_a_history_that_loses_a_request_would_be_found():
    """The check itself: a second active request, a doubled key, a gap and an event after the end are each told."""

    def shelf(*events):
        found = Shelf(Random(0))
        found.objects = {f"requests/m/{place:08d}.json": json.dumps(event).encode() for place, event in events}
        return found

    asked, other = {"kind": "asked", "key": "a"}, {"kind": "asked", "key": "b"}
    ended = {"kind": "ended", "key": "a", "outcome": "trained", "sentence": "done"}
    assert is_sound(shelf((0, asked), (1, ended), (2, other))) == ["a", "b"]
    for wrong in (
        shelf((0, asked), (1, other)),
        shelf((0, asked), (1, ended), (2, asked)),
        shelf((0, asked), (2, ended)),
        shelf((0, asked), (1, ended), (2, ended)),
    ):
        with pytest.raises(AssertionError):
            is_sound(wrong)


def test_real_writers_race_on_a_real_store(tmp_path):
    """MN-10, DE-22: Eight threads ask, claim and end as fast as they can on one folder: the log they leave is sound."""
    store = FolderStore(str(tmp_path))
    start = threading.Barrier(8)

    def work(number):
        random, inbox = Random(number), Inbox(store, "m")
        start.wait()
        for turn in range(12):
            inbox.ask(random.choice(("drift", "performance")), random.randrange(6), {})
            if waiting := inbox.active():
                inbox.claim(waiting.key, f"run-{number}-{turn}")
                inbox.end(waiting.key, "trained", f"by {number}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    shelf = Shelf(Random(0))
    shelf.objects = {item.key: store.read(item.key) for item in store.list("requests/m")}
    assert len(is_sound(shelf)) == len(Inbox(store, "m").all()) > 1
