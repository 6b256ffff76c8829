"""The incidents of a model: one for each thing that is wrong, told and judged."""

from __future__ import annotations

import json
import random
import threading
from datetime import date, datetime, timedelta, timezone

import pytest

from perennial.errors import StoreUnreachable, UnknownName
from perennial.incidents import event_log
from perennial.incidents.incidents import (
    LATE_DAYS,
    MONTH_DAYS,
    REFUSED_FILES,
    Incident,
    Incidents,
    alarm_rate,
    awaits_verdict,
    due,
    named,
)
from perennial.store import FolderStore

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
HISTORIES = 2000


@pytest.fixture
def incidents(tmp_path):
    """A model without incidents."""
    return Incidents(FolderStore(str(tmp_path)), "flight_delays")


def _drift(incidents, key="dep_hour", severity="warning"):
    return incidents.open("drift", key, severity, f"`{key}` drifted.", {"Report": "http://reports.test/w", "share": 0.19})


def _incident(days_ago=1.0, **told):
    return Incident(
        **{
            "id": "0001-drift",
            "kind": "drift",
            "key": "k",
            "severity": "warning",
            "sentence": "s",
            "evidence": {},
            "opened": NOW - timedelta(days=days_ago),
            **told,
        }
    )


BREAK = {"first": "2026-02-03T06:00:00+00:00", "last": "2026-02-04T06:00:00+00:00"}
OVER = {"resolved": NOW, "evidence": {**BREAK, "over_since": "2026-02-06T00:00:00+00:00"}}


@pytest.mark.parametrize(
    ("told", "days"),
    [
        ({"evidence": BREAK}, range(3, 29)),  # it goes on
        (OVER, range(3, 6)),
        ({"resolved": NOW, "evidence": BREAK}, range(3, 5)),  # over, and nobody noted since when
        ({**OVER, "verdict": "real"}, range(3, 6)),
        ({**OVER, "verdict": "known"}, ()),
        ({**OVER, "verdict": "false alarm"}, ()),
        ({**OVER, "key": REFUSED_FILES}, ()),
        ({**OVER, "kind": "drift"}, ()),
        ({"evidence": {}}, ()),  # no times: not of live traffic
    ],
)
def test_which_days_a_broken_feed_spoils(told, days):
    """DM-11: Whole days, from the first window with it to the first without it; unless a person says that nothing was broken."""
    incident = _incident(**{"kind": "data quality", "key": "unit of temp", **told})
    february = [date(2026, 2, day) for day in range(1, 29)]
    assert [day.day for day in february if incident.spoils(day)] == list(days)


def test_an_incident_goes_from_open_to_resolved(incidents):
    """MN-09: Another reader of the store sees every state."""
    other = Incidents(incidents.store, incidents.model)
    id = _drift(incidents)
    assert id == "0001-drift"
    [found] = other.open_ones()
    assert (found.kind, found.key, found.severity, found.sentence) == ("drift", "dep_hour", "warning", "`dep_hour` drifted.")
    assert found.evidence == {"Report": "http://reports.test/w", "share": 0.19}
    assert incidents.resolve(id, "Like the reference again.")
    assert other.open_ones() == []
    assert other.get(id).resolution == "Like the reference again."
    assert other.get(id).resolved >= found.opened


def test_what_is_open_is_not_opened_again(incidents):
    """MN-09: However often it is seen; after its end the same is a new incident, and another key is another one at any time."""
    first = _drift(incidents)
    assert [_drift(incidents) for _ in range(5)] == [None] * 5
    assert _drift(incidents, "carrier") == "0002-drift"
    incidents.resolve(first, "Over.")
    assert _drift(incidents) == "0003-drift"
    assert [i.id for i in incidents.open_ones()] == ["0002-drift", "0003-drift"]


def test_a_worse_sight_raises_an_incident(incidents):
    """MN-09: It stays the same incident and never gets milder."""
    id = _drift(incidents, severity="warning")
    assert incidents.open("drift", "dep_hour", "critical", "Every row.", {"share": 1.0}) is None
    assert incidents.open("drift", "dep_hour", "info", "Hardly.") is None
    [found] = incidents.all()
    assert (found.id, found.severity, found.sentence, found.evidence) == (id, "critical", "Every row.", {"share": 1.0})


def test_the_first_end_counts(incidents):
    """MN-09: Resolving again changes nothing."""
    id = _drift(incidents)
    assert incidents.resolve(id, "first")
    assert not incidents.resolve(id, "second")
    assert incidents.get(id).resolution == "first"


def test_a_number_names_an_incident(incidents):
    """MN-11: A person need not type the kind."""
    id = _drift(incidents)
    assert incidents.get("1") == incidents.get(id)
    assert incidents.verdict("1", "real", "ada").id == id


@pytest.mark.parametrize("id", ["2", "0002-drift", "0001", "", "-", "drift"])
def test_an_unknown_id_is_named(incidents, id):
    """MN-11: With the command that lists those there are; a number with zeros in front is the number."""
    _drift(incidents)
    if id == "0001":
        assert incidents.get(id).key == "dep_hour"
        return
    with pytest.raises(UnknownName, match=r"no incident .*perennial incidents --model flight_delays"):
        incidents.verdict(id, "real", "ada")


def test_the_last_verdict_counts(incidents):
    """MN-11: A person may think again, also after the end; saying the same twice is saying it once."""
    id = _drift(incidents)
    incidents.resolve(id, "Over.")
    incidents.verdict(id, "false alarm", "ada", "A holiday.")
    judged = incidents.verdict(id, "real", "grace", "No holiday.")
    assert incidents.verdict(id, "real", "grace", "No holiday.") == judged
    assert (judged.verdict, judged.by, judged.note) == ("real", "grace", "No holiday.")
    assert len(incidents._log.events()) == 4


def test_one_run_asks(incidents):
    """MN-11: The run that began to ask may go on after a restart; others, and whoever comes after the verdict, need not."""
    id = _drift(incidents)
    assert incidents.ask(id, "run-1").id == id
    assert incidents.ask(id, "run-1").asked == "run-1"
    assert incidents.ask(id, "run-2") is None
    incidents.verdict(id, "known", "ada")
    assert incidents.ask(id, "run-1") is None


def test_channels_remember_what_they_were_told(incidents):
    """MN-09: Each on its own; an end that was told stays told, and a channel that works again has missed nothing any more."""
    id = _drift(incidents)
    assert incidents.missed(id, "webhook", "It does not answer.")
    assert not incidents.missed(id, "webhook", "Still not.")
    assert incidents.told(id, "mail", "opened")
    assert not incidents.told(id, "mail", "opened")
    assert incidents.get(id).missed == {"webhook": "It does not answer."}
    incidents.resolve(id, "Over.")
    assert incidents.told(id, "webhook", "resolved")
    assert not incidents.told(id, "webhook", "opened")
    assert (incidents.get(id).told, incidents.get(id).missed) == ({"mail": "opened", "webhook": "resolved"}, {})


@pytest.mark.parametrize(
    ("incident", "news"),
    [
        ({}, "opened"),
        ({"severity": "info"}, None),
        ({"severity": "critical"}, "opened"),
        ({"told": {"mail": "opened"}}, None),
        ({"told": {"webhook": "opened"}}, "opened"),
        ({"told": {"mail": "opened"}, "resolved": NOW}, "resolved"),
        ({"told": {"mail": "opened"}, "resolved": NOW - timedelta(days=LATE_DAYS + 1)}, "resolved"),
        ({"told": {"mail": "resolved"}, "resolved": NOW}, None),
        ({"resolved": NOW}, "resolved"),
        ({"severity": "info", "resolved": NOW}, None),
        ({"resolved": NOW - timedelta(days=LATE_DAYS + 1)}, None),
        ({"resolved": NOW - timedelta(days=LATE_DAYS + 1), "missed": {"mail": "It was down."}}, "resolved"),
        ({"days_ago": 1000.0}, "opened"),
    ],
)
def test_what_is_due(incident, news):
    """MN-09: What a channel was not told and should be: once when it opens, once when it is over, both in one if it was over before;
    nothing that is history."""
    assert due(_incident(**incident), "mail", "warning", NOW) == news


@pytest.mark.parametrize(
    ("incident", "waits"),
    [
        ({}, True),
        ({"resolved": NOW}, True),
        ({"severity": "info"}, False),
        ({"verdict": "real"}, False),
        ({"asked": "run-1"}, False),
        ({"resolved": NOW - timedelta(days=LATE_DAYS + 1)}, False),
        ({"days_ago": 1000.0}, True),
    ],
)
def test_who_awaits_a_verdict(incident, waits):
    """MN-11: Alarms that nobody judged or was asked about, over or not."""
    assert awaits_verdict(_incident(**incident), NOW) == waits


@pytest.mark.parametrize(
    ("incident", "blocks"),
    [
        ({}, False),
        ({"kind": "data quality"}, True),
        ({"kind": "data quality", "key": REFUSED_FILES}, False),
        ({"kind": "data quality", "resolved": NOW}, False),
        ({"kind": "data quality", "verdict": "real"}, True),
        ({"kind": "data quality", "verdict": "known"}, False),
        ({"kind": "data quality", "verdict": "false alarm"}, False),
    ],
)
def test_what_blocks_training(incident, blocks):
    """MN-10, DM-11: A break of data quality that goes on, until a person calls it known or false; refused files are in no table."""
    assert _incident(**incident).blocks_training == blocks


def test_the_alarm_rate_of_nothing():
    """MN-11: No alarms in a month, none judged."""
    rate = alarm_rate([], NOW)
    assert (rate.alarms, rate.per_month, rate.share_false) == (0, 0.0, None)
    assert rate.sentence == "0.0 alarms a month (0 in 30 days); none was judged."


def test_the_alarm_rate_counts_verdicts():
    """MN-11: Of the last ninety days; what merely informs is no alarm, and what is known is none that was false."""
    told = [
        ("warning", "false alarm", 80),
        ("critical", "real", 50),
        ("warning", "known", 20),
        ("warning", None, 10),
        ("warning", "real", 1),
    ]
    past = [_incident(91.0), _incident(5.0, severity="info", verdict="false alarm")]
    rate = alarm_rate([*past, *(_incident(days, severity=s, verdict=v) for s, v, days in told)], NOW)
    assert (rate.alarms, rate.days, rate.judged, rate.false) == (5, 90, 4, 1)
    assert rate.per_month == pytest.approx(5 * 30.4375 / 90)
    assert rate.share_false == 0.25
    assert rate.sentence == "1.7 alarms a month (5 in 90 days); 1 of 4 judged were false (25 %)."


def test_no_rate_is_told_from_a_few_days():
    """MN-11: One alarm on the first day is one in a month, not thirty."""
    assert alarm_rate([_incident(1.0)], NOW).per_month == pytest.approx(1.0)


def test_the_alarm_rate_agrees_with_counting():
    """MN-11: Over random incidents: alarms, judged and false ones are those of the days that were looked at, and the parts never exceed the
    whole."""
    chance = random.Random(7)
    for _ in range(HISTORIES):
        ages = [chance.randrange(200 * 24) / 24 for _ in range(chance.randrange(12))]
        found = [
            _incident(
                age, severity=chance.choice(["info", "warning", "critical"]), verdict=chance.choice([None, "real", "false alarm", "known"])
            )
            for age in ages
        ]
        rate = alarm_rate(found, NOW)
        assert rate.days == pytest.approx(min(90, max([MONTH_DAYS, *ages])))
        within = [i for i, age in zip(found, ages, strict=True) if age <= rate.days and i.severity != "info"]
        assert rate.alarms == len(within)
        assert rate.judged == sum(i.verdict is not None for i in within)
        assert rate.false == sum(i.verdict == "false alarm" for i in within)
        assert rate.per_month * rate.days == pytest.approx(rate.alarms * MONTH_DAYS)


class Killed(Exception):
    """The writer died here."""


class MemoryStore:
    """The part of a store that an event log needs, in memory.

    A writer may be killed before or after what it writes, or overtaken by another.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.before = self.after = lambda: None

    def list(self, prefix):
        """In key order."""
        return iter([_Key(key) for key in sorted(self.objects) if key.startswith(f"{prefix}/")])

    def read(self, key):
        """What was written."""
        return self.objects[key]

    def put_if_absent(self, key, data):
        """The first writer wins."""
        self.before()
        won = self.objects.setdefault(key, data) is data
        self.after()
        return won

    def write(self, key, data):
        """The last writer wins."""
        self.objects[key] = data

    def exists(self, key):
        """Whether it was written."""
        return key in self.objects


class _Key:
    def __init__(self, key) -> None:
        self.key = key


KINDS = [("drift", "a"), ("drift", "b"), ("data quality", "a")]


def _history(seed):
    """One random history: several writers that see, resolve, tell and judge, are killed between any two steps, and overtake one another.

    Checks after every step what a plain model of it says: which are open, which were opened and told, and how often.
    """
    chance, store = random.Random(seed), MemoryStore()
    writers = [Incidents(store, "m") for _ in range(3)]
    open_now, ended, sent = {}, {}, []

    def overtake():
        """Another writer opens something first, just before this one writes."""
        store.before = lambda: None
        kind, key = chance.choice(KINDS)
        id = writers[2].open(kind, key, "warning", "seen by another")
        if id:
            assert (kind, key) not in open_now
            open_now[kind, key] = id

    def die(where):
        def killed():
            store.before = store.after = lambda: None
            raise Killed

        setattr(store, where, killed)

    for _ in range(chance.randrange(4, 16)):
        number = chance.randrange(2)
        one, (kind, key) = writers[number], chance.choice(KINDS)
        fate = chance.choice([None, None, None, "before", "after", "overtaken"])
        if fate == "overtaken":
            store.before = overtake
        elif fate:
            die(fate)
        action = chance.choice(["open", "open", "resolve", "tell", "judge"])
        known = Incidents(store, "m").all()
        try:
            if action == "open":
                was = (kind, key) in open_now
                id = one.open(kind, key, chance.choice(["warning", "critical"]), "seen")
                if id:
                    assert not was
                    assert (kind, key) not in open_now
                    open_now[kind, key] = id
            elif known and action == "resolve":
                id = chance.choice(known).id
                one.resolve(id, f"ended {len(ended)}")
            elif known and action == "tell":
                incident = chance.choice(known)
                news = due(one.get(incident.id), "mail", "warning", datetime.now(timezone.utc))
                if news:
                    sent.append((incident.id, news))  # the message leaves before that is noted
                    one.told(incident.id, "mail", news)
            elif known:
                one.verdict(chance.choice(known).id, chance.choice(["real", "false alarm"]), "ada")
        except Killed:
            writers[number] = Incidents(store, "m")
        finally:
            store.before = store.after = lambda: None
        now = Incidents(store, "m").all()
        for incident in now:  # a killed writer may have written before it died
            if incident.is_open:
                open_now.setdefault((incident.kind, incident.key), incident.id)
            else:
                assert ended.setdefault(incident.id, incident.resolution) == incident.resolution
                if open_now.get((incident.kind, incident.key)) == incident.id:
                    del open_now[incident.kind, incident.key]
        assert sorted(open_now.values()) == sorted(i.id for i in now if i.is_open)
        assert [int(i.id[:4]) for i in now] == list(range(1, len(now) + 1))
        assert all(w.all() == now for w in writers)
        summary = Incidents(store, "m").summary()
        assert (summary.count, summary.open) == (len(now), tuple(i for i in now if i.is_open))
    # At the end every channel hears what it has not: whatever happened before, each incident was told.
    for incident in writers[0].all():
        news = due(incident, "mail", "warning", datetime.now(timezone.utc))
        if news:
            sent.append((incident.id, news))
            writers[0].told(incident.id, "mail", news)
    now = writers[0].all()
    assert {id for id, _ in sent} == {i.id for i in now}
    assert all(due(i, "mail", "warning", datetime.now(timezone.utc)) is None for i in now)
    assert {id for id, news in sent if news == "resolved"} == {i.id for i in now if not i.is_open}
    return sent


def test_in_any_history_no_incident_is_lost_and_none_doubled():
    """DE-22, MN-09: Thousands of random histories of writers that overtake one another and are killed: one open incident for each kind and
    key, none without its telling."""
    told = [_history(seed) for seed in range(HISTORIES)]
    assert sum(map(len, told)) > HISTORIES


def test_without_kills_nothing_is_told_twice():
    """MN-09: Whoever is not killed between sending and noting it tells each piece of news once."""
    for seed in range(100):
        chance, one = random.Random(seed), Incidents(MemoryStore(), "m")
        sent = []
        for _ in range(20):
            kind, key = chance.choice(KINDS)
            one.open(kind, key, "warning", "seen")
            if chance.random() < 0.4 and (found := one.find(kind, key)):
                one.resolve(found.id, "over")
            for incident in one.all():
                if news := due(incident, "mail", "warning", datetime.now(timezone.utc)):
                    sent.append((incident.id, news))
                    one.told(incident.id, "mail", news)
        assert len(sent) == len(set(sent))


def test_of_many_writers_one_opens(tmp_path):
    """DE-22, MN-09: Sixteen threads see the same at once: one incident comes to be. Sixteen others see different things: all come to be,
    each with a number of its own."""
    store, ids = FolderStore(str(tmp_path)), []
    start = threading.Barrier(32)

    def see(number):
        start.wait()
        key = "same" if number % 2 else f"other {number}"
        ids.append(Incidents(store, "m").open("drift", key, "warning", "seen"))

    threads = [threading.Thread(target=see, args=(i,)) for i in range(32)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    found = Incidents(store, "m").all()
    assert sorted(i for i in ids if i) == [i.id for i in found]
    assert len({i.id for i in found}) == 17
    assert sum(i.key == "same" for i in found) == 1


def test_what_comes_while_one_decides_is_not_opened_twice(tmp_path, monkeypatch):
    """DE-22, MN-09: Another writer opens the same just after this one has looked: this one looks again and opens nothing."""
    store = FolderStore(str(tmp_path))
    mine, other, reading, looks = Incidents(store, "m"), Incidents(store, "m"), store.read, []

    def looked(key):
        looks.append(key)
        try:
            return reading(key)
        finally:
            if len(looks) == 1:
                other.open("drift", "same", "warning", "seen")

    monkeypatch.setattr(store, "read", looked)
    assert mine.open("drift", "same", "warning", "seen") is None
    assert [i.id for i in Incidents(store, "m").all()] == ["0001-drift"]


def test_a_log_that_cannot_be_written_says_so(incidents, monkeypatch):
    """MN-09, DE-22: When others are always faster, the writer gives up with a sentence instead of trying for ever."""
    monkeypatch.setattr(event_log, "LOOKS", 3)
    monkeypatch.setattr(type(incidents.store), "put_if_absent", lambda *_: False)
    with pytest.raises(StoreUnreachable, match="The incidents of flight_delays could not be written: other writers took 3 places"):
        _drift(incidents)


OPENED = {
    "time": "2026-02-20T06:00:00Z", "writer": "a", "what": "opened", "id": "0001-data-quality", "kind": "data quality",
    "key": "refused files", "severity": "warning", "sentence": "1 file was refused and lies in quarantine: a.csv. It is empty.",
    "evidence": {"files": 1, "Data Docs": "http://reports.test/a"}, "channel": "", "news": None, "verdict": None, "by": "", "note": "",
}  # fmt: skip


def test_files_that_come_while_it_is_open_are_added(incidents):
    """MN-09: Named and counted, once however often they are seen, on top of a log from before names were kept; no channel hears it again,
    the newest page is linked."""
    incidents.store.write("incidents/flight_delays/00000000.json", json.dumps(OPENED).encode())
    incidents.told("1", "mail", "opened")
    for files in (["b.csv"], ["b.csv"], ["c.csv", "b.csv"]):
        link = {"Data Docs": f"http://reports.test/{files[0]}"}
        assert incidents.open("data quality", REFUSED_FILES, "warning", "never said", link, files) is None
    [found] = Incidents(incidents.store, "flight_delays").all()
    assert found.sentence == "1 file was refused and lies in quarantine: a.csv. It is empty. Since then 2 more: b.csv, c.csv."
    assert found.evidence == {"files": 3, "Data Docs": "http://reports.test/c.csv"}
    assert due(found, "mail", "warning", NOW) is None
    assert len(list(incidents.store.list("incidents/flight_delays"))) == 4


def test_of_many_files_twenty_are_named(incidents):
    """MN-09: And all are counted, also when a look at them is repeated."""
    first, later = ([f"{kind}{n:03d}.csv" for n in range(50)] for kind in "ab")
    incidents.open("data quality", REFUSED_FILES, "warning", f"50 files: {named(first)}.", {}, first)
    for _ in range(2):
        incidents.open("data quality", REFUSED_FILES, "warning", "never said", {}, [*first, *later])
    [found] = incidents.all()
    assert found.evidence["files"] == 100
    assert "a019.csv and 30 more. Since then 50 more: b000.csv" in found.sentence
    assert found.sentence.endswith("b019.csv and 30 more.")
    assert found.sentence.count(".csv") == 40


@pytest.mark.parametrize(
    "note", [None, b"", b"{}", b'{"events": 9, "count": 9, "open": []}', b'{"events": 1, "count": 1, "open": []}'], ids=str
)
def test_a_summary_is_of_now_whatever_is_noted(tmp_path, note):
    """MN-09: What a list shows of the open incidents is what the log says, also if the note is gone, garbled, old or of another log."""
    store = FolderStore(str(tmp_path))
    incidents = Incidents(store, "m")
    first = incidents.open("drift", "a", "warning", "seen")
    incidents.open("drift", "b", "critical", "seen")
    incidents.resolve(first, "over")
    if note is None:
        store.delete("views/incidents/m.json")
    else:
        store.write("views/incidents/m.json", note)
    summary = Incidents(store, "m").summary()
    assert (summary.events, summary.count, [incident.key for incident in summary.open]) == (3, 2, ["b"])


def test_a_summary_reads_one_object(tmp_path, monkeypatch):
    """MN-09: However long the log is, the open incidents are read from one note; without any incident there is none."""
    store = FolderStore(str(tmp_path))
    incidents = Incidents(store, "m")
    for number in range(5):
        incidents.open("drift", str(number), "warning", "seen")
    reads = []
    read = FolderStore.read
    monkeypatch.setattr(FolderStore, "read", lambda self, key: reads.append(key) or read(self, key))
    assert len(Incidents(store, "m").summary().open) == 5
    assert reads == ["views/incidents/m.json"]
    assert Incidents(store, "other").summary().count == 0


def test_what_is_open_is_asked_and_seen_again_without_the_events(tmp_path, monkeypatch):
    """MN-09, OP-10: Each look asks what is open, and sees again what it saw: one note is read, however long the log. What is new, worse or
    of further files is an event all the same, and so is what another has ended meanwhile."""
    store = FolderStore(str(tmp_path))
    Incidents(store, "m").open("drift", "temp", "warning", "seen")
    Incidents(store, "m").open("data quality", "refused files", "warning", "seen", files=["a.csv"])
    reads = []
    read = FolderStore.read
    monkeypatch.setattr(FolderStore, "read", lambda self, key: reads.append(key) or read(self, key))
    for severity in ("info", "warning"):
        assert Incidents(store, "m").open("drift", "temp", severity, "again") is None
    assert [one.id for one in Incidents(store, "m").open_ones()] == ["0001-drift", "0002-data-quality"]
    assert Incidents(store, "m").find("drift", "temp").sentence == "seen"
    assert set(reads) == {"views/incidents/m.json"}
    Incidents(store, "m").open("drift", "temp", "critical", "worse")
    assert Incidents(store, "m").find("drift", "temp").severity == "critical"
    Incidents(store, "m").open("data quality", "refused files", "warning", "seen", files=["b.csv"])
    assert Incidents(store, "m").find("data quality", "refused files").later_files == ("b.csv",)
    reader = Incidents(store, "m")
    assert len(reader.all()) == 2
    Incidents(store, "m").resolve("1", "over")
    assert [one.id for one in reader.open_ones()] == ["0002-data-quality"], "who has read the events reads what came since"
    assert Incidents(store, "m").open("drift", "temp", "warning", "again") == "0003-drift"
