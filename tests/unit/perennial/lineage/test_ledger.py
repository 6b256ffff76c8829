"""The ledger shows every edit, loss and reordering, and lets one of several writers win."""

import hashlib
import json
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial.errors import LedgerConflict, StoredDataDamaged
from perennial.lineage.ledger import AGAINST, FIRST, Entry, Kind, Ledger, known_models, retired_words, retirement_words
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
    """SC-03: Whatever is written, in whatever order clocks run, is found again, in order, and verifies."""
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
    """SC-03: One byte changed, one entry removed before the end, two exchanged, or one repeated: verify names an entry."""
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
    """SC-03: The chain that is left is whole in itself; the note of any entry that is gone, or was written anew, names it."""
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
    """SC-03: It proves nothing, so it is not passed over."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    entry = write(ledger)
    (problem,) = ledger.verify({1: entry.note, 2: "nonsense"})
    assert problem == "the note of version 2 is no number and hash of an entry: 'nonsense'"


def test_a_forged_entry_breaks_the_chain_behind_it(tmp_path):
    """SC-03: Recomputing an edited entry's own hash does not help: the next one names the old hash."""
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
    """SC-03: What was put into the folder by hand shows."""
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
    """DE-22: Of many that rest on the same entry exactly one writes; the others are told."""
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
    """SC-03: Who decided on what no longer holds must look again."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    write(ledger)
    with pytest.raises(LedgerConflict, match="place 0"):
        write(ledger)
    with pytest.raises(LedgerConflict, match="place 8"):
        write(ledger, after=7)


def test_what_an_entry_needs(tmp_path):
    """SC-03: Every version named has its digest; evidence is JSON."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    with pytest.raises(ValueError, match="version 3 is named without its digest"):
        write(ledger, good=(3,))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(ledger, evidence={"odds": float("nan")})
    assert ledger.last() is None


def test_a_damaged_entry_is_not_acted_on(tmp_path):
    """SC-03: Reading refuses with the command that tells more."""
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
    """SC-03: A number that JSON has not, a time without a zone: a sentence of `verify`, and a refusal to act on it."""
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
    """SC-03, SE-11: A release is under way or not; the version to go back to is the newest good one other than the champion."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    digests = {n: str(n) * 64 for n in range(1, 9)}
    first = write(ledger, "started", 2, champion=1, weights={1: 10_000, 2: 0}, versions=digests, good=(1, 3))
    assert (first.candidate, first.last_good, set(first.versions)) == (2, 3, {1, 2, 3})
    second = write(ledger, "promoted", 2, 0, weights={2: 10_000}, versions=digests, good=(8, 7, 6, 5, 4, 3))
    assert (second.candidate, second.good) == (None, (8, 7, 6, 5, 4))


def change(store, number, **fields):
    """Edit an entry by hand, its own hash included: only the chain and its place can tell."""
    key = f"ledger/m/{number:08d}.json"
    body = {**json.loads(store.read(key)), **fields}
    del body["hash"]
    store.write(key, canonical({**body, "hash": hashlib.sha256(canonical(body)).hexdigest()}))


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def three(tmp_path):
    """A store with a ledger of three entries, a minute apart."""
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "m")
    for number in range(3):
        write(ledger, after=number - 1 if number else None, now=BEGIN + timedelta(minutes=number))
    return store, ledger


def test_an_entry_written_by_hand(tmp_path):
    """SC-03: keys in order, no spaces, letters as they are, times in UTC, the hash over all else: any program can check it."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    begin = (
        '{"actor":"jo","champion":null,"evidence":{"odds":1.5,"who":"Jörg"},"good":[3,2],',
        '"kind":"paused","model":"m","previous":"' + "0" * 64 + '","reason":"größer","seq":0,"shadow":4,'
        '"time":"2026-11-21T10:00:00+00:00","version":1,"versions":{"1":"a","2":"b","3":"c","4":"d","5":"e"},"weights":{"5":10000}}',
    )
    seal = hashlib.sha256("".join(begin).encode()).hexdigest()
    entry = ledger.append(
        "paused",
        version=1,
        champion=None,
        weights={5: 10_000},
        versions={5: "e", 4: "d", 3: "c", 2: "b", 1: "a", 9: "not named"},
        reason="größer",
        actor="jo",
        after_seq=None,
        good=(3, 2),
        shadow=4,
        evidence={"who": "Jörg", "odds": 1.5},
        now=BEGIN.astimezone(timezone(timedelta(hours=5))),
    )
    stored = f'{begin[0]}"hash":"{seal}",{begin[1]}'.encode()
    assert FolderStore(str(tmp_path)).read("ledger/m/00000000.json") == stored
    assert entry == ledger.last() == ledger.entry(0) == Entry.model_validate_json(stored)
    assert (entry.note, entry.hash, entry.good, entry.last_good) == (f"0 {seal}", seal, (3, 2), 3)
    second = write(ledger, after=0)
    assert (second.seq, second.previous, second.good, second.shadow, second.evidence, second.last_good) == (1, seal, (), None, {}, None)
    assert ledger.verify({1: entry.note, 2: second.note}) == []


def test_an_entry_is_as_strict_as_its_chain(tmp_path):
    """SC-03: it cannot be changed, a field that nobody knows or a place below zero is refused, and what may be absent has its default."""
    entry = write(Ledger(FolderStore(str(tmp_path)), "m"))
    with pytest.raises(ValueError, match="frozen"):
        entry.champion = 7
    for bad in ({"seq": -1}, {"unheard_of": 1}, {"time": "2026-11-21T10:00:00"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Entry.model_validate({**entry.model_dump(), **bad})
    shortest = {name: value for name, value in entry.model_dump().items() if name not in ("good", "shadow", "evidence")}
    assert Entry.model_validate(shortest) == entry


def test_when_an_entry_is_dated(tmp_path):
    """SC-03: by the clock where nobody says, and never before its predecessor, however far behind a writer's clock is."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    before = datetime.now(timezone.utc)
    first = write(ledger)
    assert before <= first.time <= datetime.now(timezone.utc)
    assert write(ledger, after=0, now=first.time - timedelta(days=1)).time == first.time
    later = first.time + timedelta(seconds=1)
    assert write(ledger, after=1, now=later).time == later
    assert ledger.verify() == []


def test_what_holds_at_a_time(tmp_path):
    """SC-03: from its own moment on an entry holds, of several of one moment the last; before the first nothing does."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    assert (ledger.last(), ledger.entries(), ledger.served_at(BEGIN), ledger.last_move(), ledger.retirement()) == (
        None,
        [],
        None,
        None,
        None,
    )
    for number, minute in enumerate((0, 2, 2, 5)):
        write(ledger, after=number - 1 if number else None, now=BEGIN + timedelta(minutes=minute))
    second = timedelta(seconds=1)
    moments = (BEGIN - second, BEGIN, BEGIN + 119 * second, BEGIN + 120 * second, BEGIN + 299 * second, BEGIN + 300 * second)
    held = [ledger.served_at(moment) for moment in moments]
    assert [entry and entry.seq for entry in held] == [None, 0, 0, 2, 2, 3]


@pytest.mark.parametrize(
    ("kind", "weights", "candidate", "serves"),
    [
        ("started", {1: 10_000}, 2, True),
        ("started", {}, 2, True),
        ("weights", {1: 9_000, 2: 1_000}, 2, True),
        ("paused", {1: 10_000}, 2, True),
        ("released", {2: 10_000}, None, True),
        ("promoted", {2: 10_000}, None, True),
        ("rolled_back", {1: 10_000}, None, True),
        ("rejected", {1: 10_000}, None, True),
        ("rejected", {}, None, False),
        ("retired", {}, None, False),
    ],
)
def test_what_follows_from_a_kind(tmp_path, kind, weights, candidate, serves):
    """SC-03: which version is being released, and whether anything runs."""
    entry = write(Ledger(FolderStore(str(tmp_path)), "m"), kind, 2, champion=None, weights=weights, versions={1: "a", 2: "b"})
    assert (entry.candidate, entry.serves) == (candidate, serves)


def test_rejections_move_nothing(tmp_path):
    """SC-03: what said where traffic goes is older than they are; a retirement ends with the next release."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    kinds = ("released", "rejected", "retired", "rejected", "started")
    seen = []
    for number, kind in enumerate(kinds):
        write(ledger, kind, after=number - 1 if number else None)
        retirement = ledger.retirement()
        seen.append((ledger.last_move().seq, retirement and retirement.seq))
    assert seen == [(0, None), (0, None), (2, 2), (2, 2), (4, None)]


def test_a_rejection_alone_moves_nothing(tmp_path):
    """SC-03: of a model that never served."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    write(ledger, "rejected", champion=None, weights={})
    assert (ledger.last_move(), ledger.retirement()) == (None, None)


def test_models_that_have_a_ledger(tmp_path):
    """SC-03: each once, in order, by the store and not by what folders are there."""
    store = FolderStore(str(tmp_path))
    assert known_models(store) == []
    for model in ("b", "a", "b"):
        last = Ledger(store, model).last()
        write(Ledger(store, model), after=last and last.seq)
    assert known_models(store) == ["a", "b"]


def test_a_retirement_says_who_why_and_how_to_serve_again(tmp_path):
    """SC-03: a sentence that ends once, with a command that can be pasted."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    entry = write(ledger, "retired", 3, champion=None, weights={}, reason="Nobody asks it.", now=BEGIN)
    assert retired_words(entry) == (
        "m was retired on 2026-11-21 10:00 UTC by jo (Nobody asks it). "
        "To serve it again: `perennial release --model m --version 3 --again --actor YOU`."
    )


def test_who_is_told_to_look_again(tmp_path):
    """SC-03: which place is taken, whether it was seen before writing or at it; the first and the one behind the last seen."""
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "m")
    write(ledger)
    for after, place in ((None, 0), (1, 2)):
        with pytest.raises(LedgerConflict, match=f"took place {place} in the ledger of m"):
            write(ledger, after=after)
    with pytest.raises(ValueError, match="version 2 is named"):
        write(ledger, after=0, shadow=2, weights={1: 5000, 3: 5000})

    class Late(FolderStore):
        """A store in which another writer is a moment earlier."""

        def put_if_absent(self, key, data):
            super().put_if_absent(key, b"{}")
            return super().put_if_absent(key, data)

    with pytest.raises(LedgerConflict, match="took place 1 in the ledger of m"):
        write(Ledger(Late(str(tmp_path)), "m"), after=0)


def test_one_version_alone_lacks_its_digest(tmp_path):
    """SC-03: of several the lowest is named, whatever role it has; the champion, a weight, the shadow and a good one each need one."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    for fields in ({"champion": 2}, {"weights": {2: 10_000}}, {"shadow": 2}, {"good": (2, 3)}):
        with pytest.raises(ValueError, match="version 2 is named without its digest"):
            write(ledger, **fields)


def test_a_sound_chain_has_nothing_to_say(tmp_path):
    """SC-03: neither three entries, nor none."""
    assert three(tmp_path / "a")[1].verify() == []
    assert Ledger(FolderStore(str(tmp_path / "b")), "m").verify() == []


@pytest.mark.parametrize(
    ("number", "fields", "problems"),
    [
        (2, {"champion": 7}, []),  # sealed anew at the end: only a note kept elsewhere tells
        (1, {"champion": 7}, ["entry 2 does not follow the entry before it"]),
        (2, {"seq": 5}, ["entry 2 was moved: it calls itself 5"]),
        (2, {"model": "n"}, ["entry 2 belongs to the model n"]),
        (2, {"previous": "f" * 64}, ["entry 2 does not follow the entry before it"]),
        (0, {"previous": "f" * 64}, ["entry 0 does not follow the entry before it", "entry 1 does not follow the entry before it"]),
        (2, {"time": "2026-11-21T10:01:00+00:00"}, []),
        (2, {"time": "2026-11-21T10:00:59+00:00"}, ["entry 2 is dated before the entry before it"]),
        (2, {"time": "2026-11-21T10:00:59"}, ["entry 2 is dated before the entry before it", "entry 2 lacks or garbles time"]),
        (2, {"time": "2026-11-21T10:01:01"}, ["entry 2 lacks or garbles time"]),
        (2, {"time": "noon"}, ["entry 2 is dated before the entry before it", "entry 2 lacks or garbles time"]),
        (2, {"reason": None}, ["entry 2 lacks or garbles reason"]),
        (2, {"unheard_of": 1}, ["entry 2 lacks or garbles unheard_of"]),
        (2, {"weights": {"1": "all"}}, ["entry 2 lacks or garbles weights"]),
    ],
)
def test_each_fault_is_named_once(tmp_path, number, fields, problems):
    """SC-03: of an entry that was edited and sealed anew: what is wrong with it, and with the one that follows."""
    store, ledger = three(tmp_path)
    change(store, number, **fields)
    assert ledger.verify() == problems


def test_what_stands_in_the_folder_and_is_no_entry(tmp_path):
    """SC-03: each is named, and what comes behind it is looked at: a stray file, a deeper folder, text that is no JSON or no object."""
    store, ledger = three(tmp_path)
    store.write("ledger/m/00000000.json.bak", b"")
    store.write("ledger/m/00000001.d/00000002.json", b"{}")
    store.write("ledger/m/00000003.json", b"[1]")
    store.write("ledger/m/00000004.json", b"{")
    store.delete("ledger/m/00000002.json")
    assert sorted(ledger.verify()) == sorted(
        [
            "ledger/m/00000000.json.bak is no entry of this ledger",
            "ledger/m/00000001.d/00000002.json is no entry of this ledger",
            "entry 2 is missing",
            "entry 3 is not readable",
            "entry 4 is not readable",
        ]
    )
    assert [item.seq for item in map(ledger.entry, (0, 1))] == [0, 1]


@pytest.mark.parametrize(
    ("gone", "problems"), [((1,), ["entry 1 is missing"]), ((0, 1), ["entries 0 to 1 are missing"]), ((0,), ["entry 0 is missing"])]
)
def test_a_gap_is_named_once(tmp_path, gone, problems):
    """SC-03: the entry behind it cannot be compared with what is not there, and is not blamed for it."""
    store, ledger = three(tmp_path)
    for number in gone:
        store.delete(f"ledger/m/{number:08d}.json")
    assert ledger.verify() == problems


def test_an_entry_written_in_another_way_shows(tmp_path):
    """SC-03: the same content with a space, which a note kept elsewhere would not tell."""
    store, ledger = three(tmp_path)
    key = "ledger/m/00000001.json"
    store.write(key, store.read(key).replace(b'"seq":1', b'"seq": 1'))
    assert ledger.verify() == ["entry 1 was changed: it is not written as entries are"]
    store.write(key, store.read(key).replace(b"because", b"BECAUSE"))
    assert ledger.verify() == ["entry 1 was changed: its hash does not fit its content"]


def test_every_note_is_compared(tmp_path):
    """SC-03: those that fit are passed over, of the others each is named."""
    _, ledger = three(tmp_path)
    notes = [entry.note for entry in ledger.entries()]
    noted = {1: notes[0], 2: notes[1].replace("1 ", "2 "), 3: notes[2], 4: f"7 {'a' * 64}", 5: notes[0] + "x"}
    assert ledger.verify(noted) == [
        "entry 2 is not the one that was noted for version 2",
        "entry 7, which was noted for version 4, is not there",
        f"the note of version 5 is no number and hash of an entry: {notes[0] + 'x'!r}",
    ]


def test_an_entry_that_is_not_there_is_damage(tmp_path):
    """SC-03: whoever asks for one by its place is told where it was to be, and what to run."""
    store, ledger = three(tmp_path)
    store.delete("ledger/m/00000001.json")
    for ask in (lambda: ledger.entry(1), lambda: Ledger(store, "m").entry(1)):
        with pytest.raises(
            StoredDataDamaged,
            match=r"Entry 1 of the ledger of m is missing \(ledger/m/00000001.json\)\. Run `perennial ledger verify --model m`",
        ):
            ask()
    assert [entry.seq for entry in ledger.entries()] == [0, 2]
    store.write("ledger/m/00000002.json", store.read("ledger/m/00000002.json").replace(b"because", b"BECAUSE"))
    with pytest.raises(StoredDataDamaged, match=r"Entry 2 of the ledger of m was changed \(ledger/m/00000002.json\)"):
        ledger.last()
    store.write("ledger/m/00000002.json", b"[]")
    with pytest.raises(StoredDataDamaged, match=r"Entry 2 of the ledger of m cannot be read \(ledger/m/00000002.json\)"):
        ledger.last()


@pytest.mark.parametrize("fact", ["seq", "time", "model", "kind", "version", "champion", "weights", "versions", "reason", "actor", "hash"])
def test_an_entry_that_lacks_a_fact_is_none(tmp_path, fact):
    """SC-03: Nothing is filled in for what was not written: each fact is there, or it is no entry."""
    document = write(Ledger(FolderStore(str(tmp_path)), "m")).model_dump(mode="json")
    assert Entry.model_validate(document)
    with pytest.raises(ValidationError, match=fact):
        Entry.model_validate({name: value for name, value in document.items() if name != fact})


def test_what_speaks_against_a_version_is_a_kind_of_entry():
    """SE-10, SC-03: An end that no entry can have would keep no version from being released again."""
    assert set(AGAINST) < set(get_args(Kind))


def test_times_are_utc_wherever_the_machine_is(tmp_path, monkeypatch):
    """SC-03: A clock of the machine's zone writes the same moment, in UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        ledger = Ledger(FolderStore(str(tmp_path)), "m")
        before = datetime.now(timezone.utc)
        entry = write(ledger)
        stored = json.loads(next(tmp_path.rglob("00000000.json")).read_text())["time"]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert datetime.fromisoformat(stored).utcoffset() == timedelta(0)
    assert before <= entry.time <= before + timedelta(minutes=10)


def test_the_words_of_a_retirement_end_with_one_full_stop():
    """SC-09, SE-12: The person's reason stands as it was given, but for its own full stop."""
    words = [retirement_words("m", 3, BEGIN, "jo", reason) for reason in ("replaced by model X", "replaced by model X.")]
    assert words[0] == words[1]
    assert "(replaced by model X). " in words[0]


@pytest.mark.parametrize("note", [None, b"0", b"1", b"2", b"9", b"", b"two"], ids=str)
def test_the_newest_entry_is_found_whatever_is_noted_of_it(tmp_path, note):
    """SC-03: Whatever the note of the newest entry says, the newest is found, and the next follows it."""
    store = FolderStore(str(tmp_path))
    ledger, after = Ledger(store, "m"), None
    for version in (1, 2, 3):
        after = write(ledger, version=version, after=after).seq
    if note is None:
        store.delete("views/ledger/m")
    else:
        store.write("views/ledger/m", note)
    assert ledger.last().version == 3
    assert [entry.seq for entry in ledger.newest_first()] == [2, 1, 0]
    assert write(ledger, version=4, after=2).seq == 3
    assert ledger.verify() == []


def test_the_newest_entry_is_found_without_a_listing(tmp_path, monkeypatch):
    """A long ledger is not listed to know what holds."""
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "m")
    write(ledger)
    monkeypatch.setattr(FolderStore, "list", None)
    assert ledger.last().version == 1


def test_a_ledger_without_entries_has_no_newest(tmp_path):
    """SC-03: Nor any other, whatever is noted."""
    store = FolderStore(str(tmp_path))
    for _ in range(2):
        assert (Ledger(store, "m").last(), list(Ledger(store, "m").newest_first())) == (None, [])
        store.write("views/ledger/m", b"0")


def test_lines_are_read_from_notes_and_are_those_of_the_entries(tmp_path, monkeypatch):
    """SC-03: More entries than one note has: all lines, newest first, without reading an entry; with notes lost or garbled, the same; an
    entry that is missing is told, and stops no writer."""
    monkeypatch.setattr("perennial.lineage.ledger.LINES", 3)
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "m")
    assert ledger.lines() == []
    for number in range(8):
        write(ledger, KINDS[number % 6], number, number - 1 if number else None, versions={number: f"{number}" * 64}, shadow=number)
    right = [(e.seq, e.time, e.kind, e.version, e.versions[e.version], e.weights, e.shadow) for e in ledger.newest_first()]

    def lines():
        return [tuple(getattr(line, name) for name in type(line).model_fields) for line in Ledger(store, "m").lines()]

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_read", lambda *_: pytest.fail("an entry was read"))
        assert lines() == right
    assert [item.key.rpartition("/")[2] for item in store.list("views/entries/m")] == [f"{part:06d}.json" for part in range(3)]
    store.delete("views/entries/m/000001.json")
    store.write("views/entries/m/000000.json", b"{")
    assert lines() == right
    store.delete("views/entries/m/000002.json")
    for place in (4, 6):
        data = store.read(f"ledger/m/{place:08d}.json")
        store.delete(f"ledger/m/{place:08d}.json")
        with pytest.raises(StoredDataDamaged, match=f"Entry {place} of the ledger of m is missing"):
            ledger.lines()
        store.write(f"ledger/m/{place:08d}.json", data)
    assert lines() == right
    store.write("ledger/m/00000006.json", b"{")
    assert write(ledger, after=7).seq == 8


def test_who_asks_for_versions_or_one_of_them_reads_no_other_entry(tmp_path, monkeypatch):
    """OP-10, SC-03: The versions' addresses are known without reading an entry; of a version its own entries are read, newest first, and
    of the newest entries as many as are asked for."""
    ledger, read = Ledger(FolderStore(str(tmp_path)), "m"), Ledger._read
    for place in range(30):
        write(ledger, KINDS[place % 3], place // 3 + 1, place - 1 if place else None)
    entries, count = ledger.entries(), []
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_read", lambda self, seq: (count.append(seq), read(self, seq))[1])
        assert ledger.digests() == {number: digest for entry in entries for number, digest in entry.versions.items()}
        assert count == []
        assert list(ledger.about(4)) == entries[11:8:-1]
        assert count == [11, 10, 9]
        assert list(ledger.about(99)) == []
        assert ledger.newest(2) == entries[:27:-1]
        assert count == [11, 10, 9, 29, 28]


@pytest.mark.parametrize(
    ("kind", "weights", "told"),
    [("started", {}, {3: 10_000}), ("weights", {1: 9_000, 2: 1_000, 3: 0}, {1: 9_000, 2: 1_000}), ("retired", {}, {})],
)
def test_a_line_has_the_weights_of_those_with_traffic(tmp_path, kind, weights, told):
    """SC-03: A version that is warm without traffic has none; a first one that starts has all; after a retirement nothing has."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    versions = {number: "a" * 64 for number in (1, 2, 3)}
    write(ledger, kind, 3, champion=None, weights=weights, versions=versions)
    (line,) = ledger.lines()
    assert line.weights == told
    assert all(field.is_required() for field in type(line).model_fields.values())  # a note that lacks one is not taken
    with pytest.raises(ValidationError):
        line.weights = {}


def test_what_served_at_a_moment_is_found_by_a_few_entries(tmp_path, monkeypatch):
    """SC-03: Of 64 entries at most eight are read, wherever the moment is."""
    ledger = Ledger(FolderStore(str(tmp_path)), "m")
    for number in range(64):
        write(ledger, after=number - 1 if number else None, now=BEGIN + timedelta(hours=number))
    entries, read = ledger.entries(), Ledger._read
    for entry in entries:
        count = []
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "_read", lambda self, seq, count=count: (count.append(seq), read(self, seq))[1])
            assert ledger.served_at(entry.time) == entry
        assert len(count) <= 8
