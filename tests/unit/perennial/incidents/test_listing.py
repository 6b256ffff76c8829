"""The list of a model's incidents: what its notes say is what the events say, whoever wrote them and whatever became of them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest

from perennial.incidents import listing
from perennial.incidents.incidents import Incident, Incidents
from perennial.incidents.kinds import KINDS, SEVERITIES
from perennial.incidents.listing import TEXT, Notes, Wanted, line_of, listing_of

WANTED = [
    Wanted(),
    Wanted(state="open"),
    Wanted(state="over"),
    Wanted(kind="service"),
    Wanted(unjudged=True),
    Wanted(kind="drift", state="over"),
]


def _shown(of):
    return [list(of.lines(wanted)) for wanted in WANTED], of.counts(), of.months(), of.index.recent, of.index.first


def _noted(store):
    """What is listed from the notes alone: reading an event is an error."""
    incidents = Incidents(store, "m")
    incidents.all = lambda: pytest.fail("the events were read")
    return _shown(incidents.listing())


def test_notes_say_what_the_events_say(store, monkeypatch):
    """MN-09: In any history of two writers: nothing is left out of a block, counted twice or kept as it was."""
    monkeypatch.setattr(listing, "BLOCK", 3)
    chance = random.Random(7)
    writers = [Incidents(store, "m") for _ in range(2)]
    for step in range(36):
        writer, known = chance.choice(writers), Incidents(store, "m").all()
        if not known or chance.random() < 0.5:
            writer.open(chance.choice(KINDS), str(step), chance.choice(SEVERITIES), "Seen.", {"Report": "http://r.test/w"})
        else:
            one = chance.choice(known)
            if chance.random() < 0.5:
                writer.resolve(one.id, "Over.")
            else:
                writer.verdict(one.id, chance.choice(["real", "false alarm", "known"]), "ada", str(step))
        every = Incidents(store, "m").all()
        assert _noted(store) == _shown(listing_of(every, 0))
        lines = [line_of(one) for one in reversed(every)]
        shown = Incidents(store, "m").listing()
        assert list(shown.lines()) == lines
        for kind in KINDS:
            for state in ("open", "over"):
                assert list(shown.lines(Wanted(kind=kind, state=state))) == [
                    line for line in lines if line.kind == kind and (line.resolved is None) == (state == "open")
                ]
    assert len(every) > 12
    unjudged = [one.id for one in reversed(every) if one.verdict is None and one.is_alarm]
    assert [line.id for line in Incidents(store, "m").listing().lines(Wanted(unjudged=True))] == unjudged


@pytest.mark.parametrize("place", ["index", "00000", "00001", "00002"])
@pytest.mark.parametrize("harm", [None, b"", b"{}", b"[]"])
def test_a_note_that_is_gone_or_garbled_changes_no_answer(store, monkeypatch, place, harm):
    """MN-09: Events are read instead; whoever looks after notes makes the note again."""
    monkeypatch.setattr(listing, "BLOCK", 2)
    incidents = Incidents(store, "m")
    for number in range(5):
        incidents.open("drift", str(number), "warning", "Seen.")
    key = f"views/incidents/m/{place}.json"
    whole, now = store.read(key), _shown(listing_of(incidents.all(), 5))
    store.delete(key) if harm is None else store.write(key, harm)
    assert _shown(Incidents(store, "m").listing()) == now
    Incidents(store, "m").note_anew()
    assert store.read(key) == whole
    assert _noted(store) == now


def test_a_store_from_before_the_notes_is_listed(store):
    """MN-09: Its events are read, until somebody who may write makes the notes; nothing is written where they are whole."""
    Incidents(store, "m").open("drift", "x", "warning", "Seen.")
    for name in ("m.json", "m/index.json", "m/00000.json"):
        store.delete(f"views/incidents/{name}")
    assert [line.id for line in Incidents(store, "m").listing().lines()] == ["0001-drift"]
    assert not list(store.list("views"))
    Incidents(store, "m").note_anew()
    written = {item.key: item.etag for item in store.list("views")}
    assert set(written) == {"views/incidents/m.json", "views/incidents/m/index.json", "views/incidents/m/00000.json"}
    Incidents(store, "m").note_anew()
    assert {item.key: item.etag for item in store.list("views")} == written


def test_a_block_is_written_when_one_of_its_incidents_changes(store, monkeypatch):
    """MN-09: Of ten thousand incidents an event writes fifty lines and the index, in a new process too."""
    monkeypatch.setattr(listing, "BLOCK", 2)
    incidents = Incidents(store, "m")
    for number in range(6):
        incidents.open("drift", str(number), "warning", "Seen.")
    written = []
    monkeypatch.setattr(store, "write", lambda key, data: written.append(key) or type(store).write(store, key, data))
    for writer in (incidents, Incidents(store, "m")):
        written.clear()
        writer.verdict("3", "real", "ada", "" if writer is incidents else "again")
        assert written == ["views/incidents/m.json", "views/incidents/m/00001.json", "views/incidents/m/index.json"]


def test_a_line_is_short_whatever_was_said(store):
    """MN-09: A sentence of a million characters, or a hundred links, make no page of a megabyte; the events keep them."""
    evidence = {f"Page {n}": f"http://r.test/{n}" for n in range(100)}
    incidents = Incidents(store, "m")
    incidents.open("drift", "k" * 10**6, "warning", "s" * 10**6, evidence)
    incidents.missed("1", "mail", "w" * 10**6)
    incidents.verdict("1", "real", "b" * 10**6, "n" * 10**6)
    incidents.resolve("1", "r" * 10**6)
    [line] = incidents.listing().lines()
    for text in (line.key, line.sentence, line.resolution, line.by, line.note, line.missed["mail"]):
        assert len(text) == TEXT
        assert text.endswith(" …")
    assert len(line.links) == 8
    assert len(incidents.get("1").sentence) == 10**6


def test_pages_of_ten_thousand_read_a_few_blocks(store, monkeypatch):
    """MN-09: A page reads the index and the blocks that it shows, which have what is wanted; the alarm rate none."""
    start = datetime(2025, 1, 1, tzinfo=timezone.utc)
    every = [
        Incident(
            id=f"{n + 1:04d}-{'service' if n == 77 else 'drift'}",
            kind="service" if n == 77 else "drift",
            key=str(n),
            severity="warning",
            sentence="Seen.",
            evidence={},
            opened=start + timedelta(hours=n),
            resolved=None if n % 100 == 1 else start + timedelta(hours=n + 1),
        )
        for n in range(10_000)
    ]
    Notes(store, "m").keep(every, 1, ())
    store.write("incidents/m/00000000.json", b"{}")  # one event, that nobody needs
    read, reads = type(store).read, []
    monkeypatch.setattr(type(store), "read", lambda self, key: reads.append(key) or read(self, key))
    shown = Incidents(store, "m").listing()
    assert [next(shown.lines()).id, next(shown.lines(Wanted(kind="service"))).id] == ["10000-drift", "0078-service"]
    assert reads == [f"views/incidents/m/{place}.json" for place in ("index", "00199", "00001")]
    assert sum(shown.counts().values()) == 10_000
    assert len([alarm for alarm in shown.index.recent if every[-1].opened - alarm.opened < timedelta(days=90)]) == 90 * 24
    assert len(read(store, "views/incidents/m/index.json")) < 300_000
