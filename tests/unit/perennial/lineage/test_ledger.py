"""The ledger shows every edit, loss and reordering, and lets one of several writers win."""

import json
import tempfile
import threading
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.errors import LedgerConflict, StoredDataDamaged
from perennial.lineage.ledger import FIRST, Ledger
from perennial.store import FolderStore

BEGIN = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)
KINDS = ["started", "weights", "paused", "released", "promoted", "rolled_back"]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(1, 9),
        st.integers(-100, 1000),
        st.text(max_size=20),
        st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    ),
    min_size=1,
    max_size=8,
)


def write(ledger, kind="released", version=1, after=None, **changes):
    fields = {"champion": version, "weights": {version: 10_000}, "versions": {version: "a" * 64}, "reason": "because", "actor": "jo"}
    return ledger.append(kind, version=version, after_seq=after, **(fields | changes))


def history(ledger, changes):
    after, moment = None, BEGIN
    for kind, version, seconds, reason, evidence in changes:
        moment += timedelta(seconds=seconds)
        after = write(ledger, kind, version, after, reason=reason, evidence=evidence, now=moment).seq
    return ledger.entries()


@settings(max_examples=60)
@given(CHANGES)
def test_any_history_is_sound_and_reads_back(changes):
    """Whatever is written, in whatever order clocks run, is found again, in order, and verifies."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(FolderStore(folder), "m")
        entries = history(ledger, changes)
        assert [(e.kind, e.version, e.reason, e.evidence) for e in entries] == [(k, v, r, ev) for k, v, _, r, ev in changes]
        assert [e.time for e in entries] == sorted(e.time for e in entries)
        assert entries[0].previous == FIRST
        assert ledger.verify() == []
        for entry in entries:
            held = ledger.served_at(entry.time)
            assert held is not None
            assert held.seq == max(e.seq for e in entries if e.time <= entry.time)


@settings(max_examples=150)
@given(CHANGES, st.data())
def test_every_edit_loss_or_swap_is_found(changes, data):
    """One byte changed, one entry removed before the end, two exchanged, or one repeated: verify names an entry."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        ledger = Ledger(store, "m")
        count = len(history(ledger, changes))
        key = lambda number: f"ledger/m/{number:08d}.json"  # noqa: E731
        number = data.draw(st.integers(0, count - 1))
        kinds = ["byte", "extra"] + (["remove"] if number < count - 1 else []) + (["swap"] if count > 1 else [])
        match data.draw(st.sampled_from(kinds)):
            case "byte":
                content = bytearray(store.read(key(number)))
                place = data.draw(st.integers(0, len(content) - 1))
                content[place] ^= data.draw(st.integers(1, 255))
                store.write(key(number), bytes(content))
            case "remove":
                store.delete(key(number))
            case "extra":
                store.write(key(count), store.read(key(number)))
            case "swap":
                other = (number + 1) % count
                first, second = store.read(key(number)), store.read(key(other))
                store.write(key(number), second)
                store.write(key(other), first)
        assert any("entr" in problem for problem in ledger.verify())


@settings(max_examples=60)
@given(CHANGES, st.data())
def test_a_cut_end_shows_against_what_was_noted(changes, data):
    """The chain that is left is whole in itself; the note of any entry that is gone, or was written anew, names it."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        ledger = Ledger(store, "m")
        entries = history(ledger, changes)
        noted = {number: entry.note for number, entry in enumerate(entries, 1)}
        assert ledger.verify(noted) == []
        left = data.draw(st.integers(0, len(entries) - 1))
        for entry in entries[left:]:
            store.delete(f"ledger/m/{entry.seq:08d}.json")
        assert ledger.verify() == []
        gone = range(left, len(entries))
        assert ledger.verify(noted) == [f"entry {n}, which was noted for version {n + 1}, is not there" for n in gone]
        write(ledger, after=left - 1 if left else None, reason="another story")
        assert ledger.verify({7: entries[left].note}) == [f"entry {left} is not the one that was noted for version 7"]


def test_a_garbled_note_is_named(tmp_path):
    """It proves nothing, so it is not passed over."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    entry = write(ledger)
    (problem,) = ledger.verify({1: entry.note, 2: "nonsense"})
    assert problem == "the note of version 2 is no number and hash of an entry: 'nonsense'"


def test_a_forged_entry_breaks_the_chain_behind_it(tmp_path):
    """Recomputing an edited entry's own hash does not help: the next one names the old hash."""
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "m")
    write(ledger)
    write(ledger, "promoted", 2, 0, versions={2: "b" * 64})
    store.delete("ledger/m/00000000.json")
    forged = Ledger(store, "m2")
    write(forged, reason="nothing happened")
    content = store.read("ledger/m2/00000000.json").replace(b'"model":"m2"', b'"model":"m"')
    store.write("ledger/m/00000000.json", content)
    problems = ledger.verify()
    assert "entry 0 was changed: its hash does not fit its content" in problems
    assert "entry 1 does not follow the entry before it" in problems


def test_entries_of_another_model_and_strange_files_are_named(tmp_path):
    """What was put into the folder by hand shows."""
    store = FolderStore(str(tmp_path))
    write(Ledger(store, "other"))
    store.write("ledger/m/00000000.json", store.read("ledger/other/00000000.json"))
    store.write("ledger/m/notes.txt", b"x")
    store.write("ledger/m/00000001.json", b"not json")
    store.write("ledger/m/00000004.json", b"{}")
    problems = Ledger(store, "m").verify()
    for wanted in (
        "entry 0 belongs to the model other",
        "ledger/m/notes.txt is no entry",
        "entry 1 is not readable",
        "entries 2 to 3 are missing",
    ):
        assert any(wanted in problem for problem in problems), wanted


def test_two_writers_cannot_both_win(tmp_path):
    """Of many that rest on the same entry exactly one writes; the others are told."""
    store = FolderStore(str(tmp_path))
    write(Ledger(store, "m"))
    outcomes, gate = [], threading.Barrier(8)

    def writer(number):
        gate.wait()
        try:
            outcomes.append(write(Ledger(store, "m"), "promoted", number, 0, versions={number: "c" * 64}).version)
        except LedgerConflict:
            outcomes.append(None)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([o for o in outcomes if o is not None]) == 1
    assert Ledger(store, "m").verify() == []
    assert len(Ledger(store, "m").entries()) == 2


def test_a_decision_on_an_old_entry_is_refused(tmp_path):
    """Who decided on what no longer holds must look again."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    write(ledger)
    with pytest.raises(LedgerConflict, match="place 0"):
        write(ledger)
    with pytest.raises(LedgerConflict, match="place 8"):
        write(ledger, after=7)


def test_what_an_entry_needs(tmp_path):
    """Every version named has its digest; evidence is JSON."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    with pytest.raises(ValueError, match="version 3 is named without its digest"):
        write(ledger, good=(3,))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(ledger, evidence={"odds": float("nan")})
    assert ledger.last() is None


def test_a_damaged_entry_is_not_acted_on(tmp_path):
    """Reading refuses with the command that tells more."""
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "m")
    write(ledger)
    body = json.loads(store.read("ledger/m/00000000.json"))
    store.write("ledger/m/00000000.json", json.dumps({**body, "champion": 7}).encode())
    with pytest.raises(StoredDataDamaged, match="was changed"):
        ledger.last()
    store.write("ledger/m/00000000.json", b"{}")
    with pytest.raises(StoredDataDamaged, match="cannot be read"):
        ledger.entries()


@pytest.mark.parametrize(("old", "new"), [(b'"evidence":{}', b'"evidence":{"odds":NaN}'), (b"+00:00", b"")])
def test_what_no_entry_can_hold_is_named(tmp_path, old, new):
    """A number that JSON has not, a time without a zone: a sentence of `verify`, and a refusal to act on it."""
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "m")
    write(ledger)
    write(ledger, after=0)
    data = store.read("ledger/m/00000001.json")
    assert old in data
    store.write("ledger/m/00000001.json", data.replace(old, new))
    assert any("entry 1" in problem for problem in ledger.verify())
    with pytest.raises(StoredDataDamaged, match="cannot be read"):
        ledger.last()


def test_roles_follow_from_the_entry(tmp_path):
    """A release is under way or not; the version to go back to is the newest good one other than the champion."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    digests = {n: str(n) * 64 for n in range(1, 9)}
    first = write(ledger, "started", 2, champion=1, weights={1: 10_000, 2: 0}, versions=digests, good=(1, 3))
    assert (first.candidate, first.last_good, set(first.versions)) == (2, 3, {1, 2, 3})
    second = write(ledger, "promoted", 2, 0, weights={2: 10_000}, versions=digests, good=(8, 7, 6, 5, 4, 3))
    assert (second.candidate, second.good) == (None, (8, 7, 6, 5, 4))
