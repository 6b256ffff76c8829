"""Incidents at their borders: the last day that is spoilt, the last that is told, how figures and files add up, and what is stored."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from itertools import product

import pytest
from pydantic import ValidationError

from perennial.errors import UnknownName
from perennial.incidents.incidents import Incident, Incidents, Summary, alarm_rate, awaits_verdict, due, known_names, named

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
MOMENT = timedelta(microseconds=1)
FILES = "refused files"


@pytest.fixture
def incidents(store):
    """A model without incidents."""
    return Incidents(store, "m")


def incident(ago=timedelta(days=1), **more):
    """One that opened so long ago, as it stands."""
    usual = {"id": "0001-drift", "kind": "drift", "key": "k", "severity": "warning", "sentence": "s", "evidence": {}}
    return Incident(**{**usual, "opened": NOW - ago, **more})


UNSAID = {
    "kind": None, "key": "", "severity": None, "sentence": "", "evidence": {}, "files": [], "channel": "", "news": None, "verdict": None,
    "by": "", "note": "",
}  # fmt: skip


def test_what_lies_in_the_store(incidents, store, events):
    """MN-11: one event for each thing that happened to an incident, with what it is of; nothing for what is known."""
    for _ in range(2):
        incidents.open("data quality", "nulls of x", "warning", "Half is missing.", {"share": 0.5})
        incidents.missed("1", "chat", "It does not answer.")
        incidents.told("1", "mail", "opened")
        incidents.ask("1", "run-1")
        incidents.verdict("1", "real", "ada", "A broken feed.")
    for _ in range(2):
        incidents.resolve("1", "All there again.", {"share": 0.0})
    id = "0001-data-quality"
    opened = {
        "kind": "data quality",
        "key": "nulls of x",
        "severity": "warning",
        "sentence": "Half is missing.",
        "evidence": {"share": 0.5},
    }
    assert events(store, "incidents/m") == [
        {**UNSAID, **opened, "what": "opened", "id": id},
        {**UNSAID, "what": "missed", "id": id, "channel": "chat", "sentence": "It does not answer."},
        {**UNSAID, "what": "told", "id": id, "channel": "mail", "news": "opened"},
        {**UNSAID, "what": "asked", "id": id, "by": "run-1"},
        {**UNSAID, "what": "judged", "id": id, "verdict": "real", "by": "ada", "note": "A broken feed."},
        {**UNSAID, "what": "resolved", "id": id, "sentence": "All there again.", "evidence": {"share": 0.0}},
    ]


def test_an_incident_as_its_events_left_it(incidents):
    """MN-11: every field, with the time of the event that set it."""
    incidents.open("drift", "x", "info", "Hardly.", {"p": 0.04, "old": 1, "Page": "http://a"})
    first = incidents.get("1")
    assert (first.id, first.kind, first.key, first.severity, first.sentence) == ("0001-drift", "drift", "x", "info", "Hardly.")
    assert (first.files, first.later_files, first.resolved, first.resolution, first.told, first.missed) == ((), (), None, "", {}, {})
    assert (first.asked, first.verdict, first.by, first.note, first.judged) == ("", None, "", "", None)
    assert (first.links, first.figures, first.is_open) == ({"Page": "http://a"}, {"p": 0.04, "old": 1}, True)
    incidents.open("drift", "x", "warning", "Much.", {"p": 0.001})
    incidents.missed("1", "chat", "Down.")
    incidents.missed("1", "mail", "Down too.")
    incidents.told("1", "mail", "opened")
    incidents.verdict("1", "known", "ada", "A sale.")
    incidents.resolve("1", "Over.", {"q": 1})
    last = Incidents(incidents.store, "m").get("1")
    assert (last.severity, last.sentence, last.evidence) == ("warning", "Much.", {"p": 0.001, "q": 1})
    assert (last.told, last.missed) == ({"mail": "opened"}, {"chat": "Down."})
    assert (last.verdict, last.by, last.note, last.resolution) == ("known", "ada", "A sale.", "Over.")
    assert first.opened == last.opened <= last.judged <= last.resolved
    assert not last.is_open


def test_an_incident_is_evidence():
    """MN-11: what was read is not changed in memory, has no field but those of incidents, and lacks none that tells what it is."""
    facts = incident().model_dump()
    with pytest.raises(ValidationError, match="frozen"):
        incident().severity = "info"
    with pytest.raises(ValidationError, match="surplus"):
        Incident(**facts, surplus=True)
    for name in ("id", "kind", "key", "severity", "sentence", "evidence", "opened"):
        with pytest.raises(ValidationError, match=f"{name}\n.*required"):
            Incident(**{field: value for field, value in facts.items() if field != name})
    assert (incident().files, incident().later_files) == ((), ())


def test_whatever_begins_like_a_page_is_a_link():
    """MN-11: http and https, and texts alone; all else is a figure."""
    evidence = {"a": "http://x", "b": "https://x", "c": "ftp://x", "d": "see http://x", "e": 1, "f": None, "g": ["http://x"], "h": ""}
    assert incident(evidence=evidence).links == {"a": "http://x", "b": "https://x"}
    assert list(incident(evidence=evidence).figures) == list("cdefgh")


@pytest.mark.parametrize(("before", "after"), list(product(("info", "warning", "critical"), repeat=2)))
def test_only_a_higher_severity_raises(incidents, before, after):
    """MN-11: what is seen is told anew only where it is worse by one step or more; one incident stays."""
    incidents.open("drift", "x", before, "first", {"n": 1})
    assert incidents.open("drift", "x", after, "second", {"n": 2}) is None
    worse = (before, after) in {("info", "warning"), ("info", "critical"), ("warning", "critical")}
    [found] = incidents.all()
    assert (found.severity, found.sentence, found.evidence["n"]) == ((after, "second", 2) if worse else (before, "first", 1))
    assert found.is_alarm == (found.severity != "info")


def test_kind_and_key_tell_incidents_apart(incidents):
    """MN-11: either of them makes another incident; of the open ones each is found by both."""
    for kind, key in product(("drift", "data quality"), ("x", "y")):
        assert incidents.find(kind, key) is None
        id = incidents.open(kind, key, "info", "s")
        assert incidents.find(kind, key).id == id
    assert [i.id for i in incidents.all()] == ["0001-drift", "0002-drift", "0003-data-quality", "0004-data-quality"]
    incidents.resolve("2", "over")
    assert incidents.find("drift", "y") is None
    assert incidents.open("drift", "y", "info", "s") == "0005-drift"
    assert [incidents.get(id).key for id in ("1", "02", "0003", "0004-data-quality", "5")] == ["x", "y", "x", "y", "y"]


def test_after_ninety_nine_comes_a_hundred(incidents):
    """MN-11: numbers count all incidents, ended ones included, and name each for itself."""
    for _ in range(11):
        incidents.resolve(incidents.open("drift", "x", "info", "s"), "over")
    assert [i.id for i in incidents.all()][-2:] == ["0010-drift", "0011-drift"]
    assert incidents.get("1").id == "0001-drift"
    assert incidents.get("11").id == "0011-drift"
    for unknown in ("0", "12", "1.0", "-1", "²"):
        with pytest.raises(UnknownName, match=f"^m has no incident '{unknown}'"):
            incidents.get(unknown)


@pytest.mark.parametrize("act", ["resolve", "told", "missed", "ask", "verdict"])
def test_nothing_is_noted_of_an_incident_that_is_not_there(incidents, store, act, events):
    """MN-11: whatever is said of it."""
    more = {"resolve": ["s"], "told": ["mail", "opened"], "missed": ["mail", "s"], "ask": ["run"], "verdict": ["real", "ada"]}[act]
    with pytest.raises(UnknownName):
        getattr(incidents, act)("1", *more)
    assert events(store, "incidents/m") == []


def test_what_is_said_twice_is_noted_once(incidents):
    """MN-11: each of the ways to note something says whether it was news."""
    id = incidents.open("drift", "x", "info", "s")
    assert [incidents.missed(id, channel, "Down.") for channel in ("mail", "mail", "chat")] == [True, False, True]
    assert [incidents.told(id, channel, "opened") for channel in ("mail", "mail", "chat")] == [True, False, True]
    assert incidents.missed(id, "mail", "Down again.")  # it worked in between
    assert [incidents.resolve(id, "over") for _ in range(2)] == [True, False]
    assert [incidents.told(id, "mail", news) for news in ("resolved", "resolved", "opened")] == [True, False, False]


def test_a_verdict_is_another_one_if_anything_of_it_is(incidents, store, events):
    """MN-11: another verdict, another person or other words; one that must not overrule leaves what is there."""
    id = incidents.open("drift", "x", "warning", "s")
    for count, said in enumerate(
        [("real", "ada"), ("real", "bo"), ("real", "bo", "n"), ("known", "bo", "n"), ("known", "bo", "n")], start=2
    ):
        judged = incidents.verdict(id, *said)
        assert (judged.verdict, judged.by, judged.note) == (*said, "")[:3]
        assert len(events(store, "incidents/m")) == min(count, 5)
    assert incidents.verdict(id, "false alarm", "cy", unless_judged=True).by == "bo"
    assert incidents.verdict(incidents.open("drift", "y", "warning", "s"), "false alarm", "cy", unless_judged=True).by == "cy"
    assert incidents.ask(id, "run") is None


def test_files_add_up_over_all_sights(incidents):
    """DM-10: those of the opening, those that came later, each once; a worse sight begins anew with its own."""
    incidents.open("data quality", FILES, "warning", "2 files.", {"Page": "http://1"}, ["a", "b"])
    first = incidents.get("1")
    assert (first.files, first.later_files, first.evidence) == (("a", "b"), (), {"files": 2, "Page": "http://1"})
    incidents.open("data quality", FILES, "info", "never said", {"Page": "http://2", "more": 1}, ["b", "c"])
    incidents.open("data quality", FILES, "warning", "never said", None, ["d", "a", "c"])
    grown = incidents.get("1")
    assert (grown.files, grown.later_files) == (("a", "b"), ("c", "d"))
    assert grown.evidence == {"files": 4, "Page": "http://2", "more": 1}
    assert grown.sentence == "2 files. Since then 2 more: c, d."
    incidents.open("data quality", FILES, "critical", "5 files.", {}, ["a", "b", "c", "d", "e"])
    worse = incidents.get("1")
    assert (worse.files, worse.later_files, worse.sentence) == (("a", "b", "c", "d", "e"), (), "5 files.")
    assert worse.evidence == {"files": 5}


def test_a_figure_of_files_may_be_given(incidents):
    """DM-10: instead of the count of the names; where it is no number, those that come later are counted."""
    incidents.open("data quality", FILES, "warning", "Many.", {"files": "many"}, ["a"])
    incidents.open("data quality", FILES, "warning", "never said", {}, ["b"])
    assert incidents.get("1").evidence == {"files": 1}
    incidents.open("drift", "x", "warning", "No file.")
    assert incidents.get("2").evidence == {}


@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 22])
def test_twenty_names_are_told(count):
    """MN-11: all of twenty, and how many more there are of twenty-one."""
    names = [f"f{number}" for number in range(count)]
    assert named(names) == ", ".join(names[:20]) + (f" and {count - 20} more" if count > 20 else "")


@pytest.mark.parametrize(
    ("over_since", "last_day"),
    [
        ("2026-02-06T00:00:00+00:00", 5),  # until the day before midnight
        ("2026-02-06T00:00:00.000001+00:00", 6),
        ("2026-02-06T23:59:59+00:00", 6),
    ],
)
@pytest.mark.parametrize("name", ["over_since", "last"])
def test_a_break_spoils_whole_days(over_since, last_day, name):
    """DM-11: from the day of its first moment to that of its last; the moment it is over belongs to it no more."""
    evidence = {"first": "2026-02-03T23:59:59+00:00", "last": "2026-02-04T00:00:00+00:00", name: over_since}
    broken = incident(kind="data quality", resolved=NOW, evidence=evidence)
    assert [day for day in range(1, 29) if broken.spoils(date(2026, 2, day))] == list(range(3, last_day + 1))
    for lacks in ("first", name):
        assert not incident(kind="data quality", evidence={**evidence, lacks: ""}).spoils(date(2026, 2, 4))


@pytest.mark.parametrize("days", [30, 31, 90, 200])
def test_the_alarm_rate_counts_its_whole_time(days):
    """MN-11: an alarm at either end of it, none just before it and none yet to come."""
    old = incident(timedelta(days=400), severity="info")
    within = [incident(timedelta(days=days)), incident(timedelta(0), severity="critical")]
    beyond = [incident(timedelta(days=days) + MOMENT), incident(-MOMENT)]
    rate = alarm_rate([old, *within, *beyond], NOW, days)
    assert (rate.alarms, rate.days) == (2, days)
    assert rate.per_month == pytest.approx(2 * 30.4375 / days)


def test_the_alarm_rate_looks_back_ninety_days_and_no_less_than_a_month(incidents):
    """MN-11: as far as the first incident, and that one counts; what merely informed counts for the time alone."""
    for age, days in ((89, 89), (90, 90), (91, 90), (31, 31), (30, 30.4375), (1, 30.4375)):
        first = incident(timedelta(days=age), severity="info", verdict="false alarm")
        rate = alarm_rate([first, incident()], NOW)
        assert (rate.days, rate.alarms, rate.judged, rate.false, rate.share_false) == (days, 1, 0, 0, None)
    incidents.open("drift", "x", "warning", "s")
    incidents.verdict("1", "false alarm", "ada")
    rate = incidents.alarm_rate(datetime.now(timezone.utc))
    assert rate.sentence == "1.0 alarms a month (1 in 30 days); 1 of 1 judged were false (100 %)."
    assert rate.share_false == 1.0
    assert incidents.alarm_rate(datetime.now(timezone.utc), days=15).days == 15


@pytest.mark.parametrize(("incident_is", "least"), list(product(("info", "warning", "critical"), repeat=2)))
def test_a_channel_hears_from_its_severity_on(incident_is, least):
    """MN-09: that one included; what opened and what ended alike."""
    heard = ("info", "warning", "critical").index(incident_is) >= ("info", "warning", "critical").index(least)
    assert due(incident(severity=incident_is), "mail", least, NOW) == ("opened" if heard else None)
    assert due(incident(severity=incident_is, resolved=NOW), "mail", least, NOW) == ("resolved" if heard else None)


def test_what_was_over_for_thirty_days_is_no_history_yet():
    """MN-09, MN-11: on the day itself it is still told and asked about, a moment later no more."""
    for since, is_history in ((timedelta(days=30), False), (timedelta(days=30) + MOMENT, True)):
        over = incident(timedelta(days=99), resolved=NOW - since)
        assert due(over, "mail", "info", NOW) == (None if is_history else "resolved")
        assert awaits_verdict(over, NOW) == (not is_history)
        assert due(incident(resolved=NOW - since, told={"chat": "opened"}), "chat", "info", NOW) == "resolved"
        assert due(incident(resolved=NOW - since, missed={"mail": "Down."}), "mail", "info", NOW) == "resolved"


def test_who_ever_had_an_incident_is_known(store):
    """MN-11: each once, in order of the alphabet."""
    assert known_names(store) == []
    for name in ("b", "a", "b"):
        Incidents(store, name).open("drift", "x", "info", f"{name}")
    store.write("requests/c/00000000.json", b"{}")
    assert known_names(store) == ["a", "b"]


def test_a_reader_that_was_there_before_sees_what_comes(incidents, store):
    """MN-11: readers add what is new to what they know, and none of it twice."""
    other = Incidents(store, "m")
    for number in range(1, 4):
        incidents.open("drift", f"{number}", "info", "s")
        assert [i.key for i in other.all()] == [str(n) for n in range(1, number + 1)]
        assert other.all() == incidents.all()
    other.resolve("2", "over")
    assert [i.key for i in incidents.open_ones()] == ["1", "3"]


def test_a_summary_is_evidence():
    """MN-11: Like an incident: not changed in memory, nothing beside its three facts and none of them left out; no count is negative."""
    facts = {"events": 0, "count": 0, "open": ()}
    with pytest.raises(ValidationError, match="frozen"):
        Summary(**facts).count = 1
    for wrong, said in (({"surplus": 1}, "surplus"), ({"events": -1}, "events\n"), ({"count": -1}, "count\n")):
        with pytest.raises(ValidationError, match=said):
            Summary(**{**facts, **wrong})
    for name in facts:
        with pytest.raises(ValidationError, match=f"{name}\n.*required"):
            Summary(**{field: value for field, value in facts.items() if field != name})


@pytest.mark.parametrize(("length", "noted"), [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 3)])
def test_a_note_counts_where_the_log_is_as_long(incidents, store, caplog, length, noted):
    """MN-09: One event more or fewer, and the log is read instead, which is said where details are asked for by its usual name."""
    for number in range(length):
        incidents.open("drift", f"{number}", "info", "s")
    store.write("views/incidents/m.json", Summary(events=noted, count=77, open=()).model_dump_json().encode())
    assert (Incidents(store, "m").summary().count == 77) == (length == noted)
    store.delete("views/incidents/m.json")
    with caplog.at_level("DEBUG", logger="perennial.incidents"):
        assert Incidents(store, "m").summary().count == length
    assert caplog.messages == ["The incidents of m are read anew: views/incidents/m.json is not there or cannot be read."]


def test_a_note_is_written_with_each_event_and_only_then(incidents, store):
    """MN-09: Whatever happens to an incident; what changes nothing leaves the note alone."""
    note = "views/incidents/m.json"
    for _ in range(2):
        for happens in (
            lambda: incidents.open("drift", "x", "info", "s"),
            lambda: incidents.missed("1", "chat", "Down."),
            lambda: incidents.told("1", "mail", "opened"),
            lambda: incidents.ask("1", "run"),
            lambda: incidents.verdict("1", "real", "ada"),
        ):
            before = len(list(store.list("incidents/m")))
            happens()
            now = Incidents(store, "m")
            if len(list(store.list("incidents/m"))) > before:
                assert Summary.model_validate_json(store.read(note)) == Summary(events=before + 1, count=1, open=tuple(now.open_ones()))
                store.delete(note)
            assert not store.exists(note)
    assert incidents.resolve("1", "over")
    assert Summary.model_validate_json(store.read(note)) == Summary(events=6, count=1, open=())
