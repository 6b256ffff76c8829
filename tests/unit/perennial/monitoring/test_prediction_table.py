"""Segments become rows of a table exactly once, whatever is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import threading
from collections import Counter

import pytest

from perennial.data.tables import Table
from perennial.errors import StoredDataDamaged
from perennial.monitoring.prediction_table import Collected, collect_predictions, set_aside
from perennial.served_ids import find_ids
from perennial.served_log import growing_name, last_batch, segments
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.store import FolderStore

DATASET = DatasetSpec(
    name="flights",
    title="Flights",
    owner="tests",
    columns=(
        Column(name="id", type="int"),
        Column(name="when", type="timestamp"),
        Column(name="carrier", type="string", nullable=True),
        Column(name="distance", type="int", nullable=True),
        Column(name="time", type="float", nullable=True),
        Column(name="cargo", type="bool", nullable=True),
    ),
    key=("id",),
    event_time="when",
)
MODEL = ModelSpec(
    name="delays", title="Delays", owner="tests", dataset="flights", task="binary", classes=("on_time", "late"), label="late",
    inputs=("when", "carrier", "distance", "time", "cargo"), gate=GateSpec(floors={}),
)  # fmt: skip


ROW = {"when": "2013-02-01T06:30:00", "carrier": "UA", "distance": 719, "time": 1.5, "cargo": False}


def a_line(identity, **more):
    """A line of the prediction log."""
    line = {
        "id": identity,
        "model": "delays",
        "version": 7,
        "time": "2026-11-01T10:00:00+00:00",
        "event_time": "2013-02-01T06:30:00",
        "row": ROW,
        "scores": [0.75, 0.25],
        "ms": 1.25,
    }
    return json.dumps({**line, **more})


class Killed(BaseException):
    """What no handler catches."""


class Dying(FolderStore):
    """A store whose process dies at the given change, counted from now."""

    def __init__(self, root, after):
        super().__init__(root)
        self.left = after

    def _live(self):
        if self.left == 0:
            raise Killed
        self.left -= 1

    def put_if_absent(self, key, data):
        """Or die."""
        self._live()
        return super().put_if_absent(key, data)

    def write(self, key, data):
        """Or die."""
        self._live()
        super().write(key, data)

    def delete(self, key):
        """Or die."""
        self._live()
        super().delete(key)

    def read(self, key):
        """Or die."""
        self._live()
        return super().read(key)


class DyingTable(Table):
    """A table whose process dies just before or just after its commit."""

    when = "never"

    def append(self, rows, batch_digest, **more):
        """Or die before or after."""
        if self.when == "before":
            raise Killed
        version = super().append(rows, batch_digest, **more)
        if self.when == "after":
            raise Killed
        return version


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return FolderStore(str(tmp_path))


def logged(store, name, *lines):
    """Write a segment."""
    store.write(f"predictions/delays/{name}.jsonl", "".join(f"{line}\n" for line in lines).encode())


def collected(store):
    """Collect once."""
    return collect_predictions(store, MODEL, DATASET, Table(store, "delays_predictions"))


def ids(store):
    """Ids in the table."""
    return sorted(Table(store, "delays_predictions").scan(["prediction_id"])["prediction_id"].to_pylist())


def test_every_field_arrives_with_its_type(store):
    """SE-13: Inputs have the dataset's types, times are UTC, shadows are marked, a missing event time is the time of serving.
    MN-13: A line may name its trace, which the table does not need."""
    logged(
        store,
        "a",
        a_line("x-0", trace="ab" * 16),
        a_line("x-1", shadow=True, event_time=None, row={"carrier": None, "distance": 719.0, "when": "2013-02-01T01:30:00-05:00"}),
    )
    assert collected(store) == Collected(segments=1, rows=2)
    table = Table(store, "delays_predictions").scan().sort_by("prediction_id")
    first, second = table.to_pylist()
    assert {n: str(table.schema.field(n).type) for n in table.column_names if n.startswith("input_")} == {
        "input_when": "timestamp[us, tz=UTC]", "input_carrier": "string", "input_distance": "int64", "input_time": "double",
        "input_cargo": "bool",
    }  # fmt: skip
    assert (first["prediction_id"], first["model_version"], first["shadow"], first["scores"], first["milliseconds"]) == (
        "x-0",
        7,
        False,
        [0.75, 0.25],
        1.25,
    )
    assert (first["event_time"].isoformat(), first["served_at"].isoformat()) == ("2013-02-01T06:30:00+00:00", "2026-11-01T10:00:00+00:00")
    assert (first["input_carrier"], first["input_distance"], first["input_time"], first["input_cargo"]) == ("UA", 719, 1.5, False)
    assert (second["shadow"], second["event_time"], second["input_carrier"], second["input_distance"], second["input_time"]) == (
        True,
        second["served_at"],
        None,
        719,
        None,
    )
    assert second["input_when"].isoformat() == "2013-02-01T06:30:00+00:00"


def test_event_time_is_the_datasets_wall_time(store):
    """SE-13, DM-18: Days of predictions are days of the dataset's own clock, whether a caller or the server named the moment; `served_at`
    stays a moment."""
    eastern = DATASET.model_copy(update={"time_zone": "America/New_York"})
    logged(
        store,
        "a",
        a_line("x-0", event_time="2013-02-02T02:30:00+00:00"),
        a_line("x-1", event_time=None, time="2013-07-01T03:00:00+00:00"),
        a_line("x-2", row={**ROW, "when": "2013-02-01T11:30:00Z"}),
    )
    collect_predictions(store, MODEL, eastern, Table(store, "delays_predictions"))
    found = Table(store, "delays_predictions").scan().sort_by("prediction_id").to_pylist()
    assert [row["event_time"].replace(tzinfo=None).isoformat() for row in found] == [
        "2013-02-01T21:30:00",
        "2013-06-30T23:00:00",
        "2013-02-01T06:30:00",
    ]
    assert found[1]["served_at"].isoformat() == "2013-07-01T03:00:00+00:00"
    assert found[2]["input_when"].replace(tzinfo=None).isoformat() == "2013-02-01T06:30:00"


def test_segments_are_taken_once_and_removed(store):
    """SE-13: A second call finds nothing; new segments go into one more commit."""
    logged(store, "a", a_line("x-0"))
    logged(store, "b", a_line("y-0"))
    assert collected(store) == Collected(segments=2, rows=2)
    assert collected(store) == Collected()
    logged(store, "c", a_line("z-0"))
    assert collected(store).rows == 1
    assert ids(store) == ["x-0", "y-0", "z-0"]
    assert len({r["_batch"] for r in Table(store, "delays_predictions").scan(["_batch"]).to_pylist()}) == 2
    assert not any(o.key.endswith(".jsonl") for o in store.list("predictions/delays"))


def test_damaged_lines_are_set_aside_and_the_others_kept(store):
    """SE-13: A line cut off by a crash, and one of another format, cost themselves alone and are kept with the reason."""
    logged(store, "a", a_line("x-0"), a_line("x-1")[:60], '{"id": "x-2"}', a_line("x-3"))
    assert collected(store) == Collected(segments=1, rows=2, damaged=2)
    logged(store, "b", "{")
    store.write("predictions/delays/c.jsonl", b"")
    assert collected(store) == Collected(segments=2, rows=0, damaged=1)
    assert collected(store) == Collected()
    assert ids(store) == ["x-0", "x-3"]
    found = set_aside(store, "predictions/delays")
    assert (found.lines, found.newest) == (3, "predictions/delays/damaged/00000002-1.jsonl")
    assert "predictions/delays/damaged/ keeps them" in found.sentence
    kept = [json.loads(line) for line in store.read("predictions/delays/damaged/00000001-2.jsonl").splitlines()]
    assert [(line["segment"], line["line"], line["fault"]) for line in kept] == [
        ("a.jsonl", 2, "it is no JSON"),
        ("a.jsonl", 3, "it has no version"),
    ]
    assert kept[0]["text"] == a_line("x-1")[:60]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"row": {**ROW, "distance": 1e19}}, "distance is no whole number of 64 bits"),
        ({"row": {**ROW, "distance": 2**63}}, "distance is no whole number of 64 bits"),
        ({"row": {**ROW, "distance": -(10**400)}}, "distance is no whole number of 64 bits"),
        ({"row": {**ROW, "distance": -1e308}}, "distance is no whole number of 64 bits"),
        ({"row": {**ROW, "distance": 1.5}}, "distance is no whole number of 64 bits"),
        ({"row": {**ROW, "distance": "far"}}, "distance is no whole number of 64 bits"),
        ({"row": {**ROW, "time": [1]}}, "time is no number"),
        ({"row": {**ROW, "time": True}}, "time is no number"),
        ({"row": {**ROW, "carrier": 7}}, "carrier is no text"),
        ({"row": {**ROW, "cargo": "yes"}}, "cargo is neither true nor false"),
        ({"row": {**ROW, "when": "tomorrow"}}, "when is no time"),
        ({"row": {**ROW, "when": "9999-12-31T23:59:00-14:00"}}, "when is no time"),
        ({"event_time": "0001-01-01T00:00:00+14:00"}, "event_time is no time"),
        ({"event_time": "infinity"}, "event_time is no time"),
        ({"time": "now"}, "time is no time"),
        ({"time": "epoch"}, "time is no time"),
        ({"time": None}, "it has no time"),
        ({"scores": [0.5]}, "scores is no list of 2 numbers"),
        ({"scores": [0.5, None]}, "scores is no list of 2 numbers"),
        ({"scores": ["a", "b"]}, "scores is no list of 2 numbers"),
        ({"scores": 0.5}, "scores is no list of 2 numbers"),
        ({"version": "seven"}, "version is no number of a version"),
        ({"version": 2**40}, "version is no number of a version"),
        ({"id": ""}, "id is no text"),
        ({"id": 5}, "id is no text"),
        ({"shadow": "no"}, "shadow is neither true nor false"),
        ({"ms": "fast"}, "ms is no number"),
    ],
)
def test_a_line_that_does_not_fit_stops_nothing(store, changes, fault):
    """SE-13: Whatever is in a line, from an older release or somebody else: it is set aside with its field named, and its neighbours are
    taken."""
    logged(store, "a", a_line("x-0"), a_line("bad", **changes), a_line("x-1"))
    assert collected(store) == Collected(segments=1, rows=2, damaged=1)
    assert ids(store) == ["x-0", "x-1"]
    assert json.loads(store.read("predictions/delays/damaged/00000001-1.jsonl"))["fault"] == fault


@pytest.mark.parametrize(
    "content", [b"\x00\xff\xfe" * 1000, b"[" * 200_000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"null\n5\n[]\n\n{}\n", b'"\\ud800"']
)
def test_a_segment_of_anything_stops_nothing(store, content):
    """SE-13: Binary, nesting without end, JSON of another kind: every line is set aside, and the next segment is taken in the same
    commit."""
    store.write("predictions/delays/a.jsonl", content)
    logged(store, "b", a_line("x-0"))
    lines = sum(1 for line in content.split(b"\n") if line)
    assert collected(store) == Collected(segments=2, rows=1, damaged=lines)
    assert set_aside(store, "predictions/delays").lines == lines


def test_a_batch_that_an_older_release_could_not_read_is_finished(store):
    """SE-13: A batch was noted, and every look broke at a line of it: the next look takes the rest of it and goes on."""
    logged(store, "a", a_line("x-0"), a_line("x-1", row={**ROW, "distance": 1e19}))
    store.write("predictions/delays/batches/00000001.json", b'{"segments": ["a.jsonl"]}')
    logged(store, "b", a_line("y-0"))
    assert collected(store) == Collected(segments=2, rows=2, damaged=1)
    assert ids(store) == ["x-0", "y-0"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_a_batch_that_does_not_say_what_it_is_of_is_named(store, content):
    """MO-17: With its place and what to do: what it was of may be in already."""
    store.write("predictions/delays/batches/00000001.json", content)
    with pytest.raises(StoredDataDamaged, match=r"^predictions/delays/batches/00000001.json does not say .* Restore it"):
        collected(store)


def test_other_objects_are_left_alone(store):
    """SE-13: Only finished segments directly below the folder are taken."""
    store.write("predictions/delays/notes.txt", b"x")
    store.write("predictions/delays/old/a.jsonl", a_line("x-0").encode())
    assert collected(store) == Collected()
    assert store.exists("predictions/delays/old/a.jsonl")


@pytest.mark.parametrize("after", range(8))
def test_killed_at_any_change_of_the_store_nothing_doubles(tmp_path, after):
    """SE-13, DE-22: Two batches with a kill at each possible change: the next call completes it, every row is in once, no segment stays."""
    store = FolderStore(str(tmp_path))
    logged(store, "a", a_line("x-0"), a_line("x-1"))
    collected(store)
    logged(store, "b", a_line("y-0"))
    logged(store, "c", a_line("z-0"))
    dying = Dying(str(tmp_path), after)
    with pytest.raises(Killed):
        collect_predictions(dying, MODEL, DATASET, Table(store, "delays_predictions"))
    logged(store, "d", a_line("zz-0"))
    collected(store)
    assert ids(store) == ["x-0", "x-1", "y-0", "z-0", "zz-0"]
    assert {id: len(find_ids(store, "delays", id)) for id in ("x", "x-0", "x-1", "x-2", "y", "z", "zz", "zz-0")} == {
        "x": 1, "x-0": 1, "x-1": 1, "x-2": 0, "y": 1, "z": 1, "zz": 1, "zz-0": 1,
    }  # fmt: skip
    assert not any(o.key.endswith(".jsonl") for o in store.list("predictions/delays"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_commit_nothing_doubles(store, when):
    """SE-13, DE-22: The batch is written down before its commit and checked after it."""
    logged(store, "a", a_line("x-0"))
    table = DyingTable(store, "delays_predictions")
    table.when = when
    with pytest.raises(Killed):
        collect_predictions(store, MODEL, DATASET, table)
    logged(store, "b", a_line("y-0"))
    collected(store)
    assert ids(store) == ["x-0", "y-0"]


def test_many_collectors_at_once_double_nothing(store):
    """SE-13, DE-22: Four collectors beside a server that goes on logging."""
    logged(store, "s000", a_line("s000-0"))
    collected(store)

    def log_on():
        for i in range(1, 30):
            logged(store, f"s{i:03d}", a_line(f"s{i:03d}-0"))

    threads = [threading.Thread(target=log_on), *(threading.Thread(target=collected, args=(store,)) for _ in range(4))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    collected(store)
    assert ids(store) == [f"s{i:03d}-0" for i in range(30)]


def test_servers_that_write_faster_than_is_read_do_not_hold_a_call(store):
    """SE-13: What comes in while a call reads is left to the next one: a release under heavy traffic still gets its look."""

    class Busy(Table):
        def append(self, *args, **more):
            logged(store, f"s{self.version() or 0:03d}", a_line(f"s{self.version() or 0:03d}-0"))
            assert (self.version() or 0) < 5, "the call goes on for as long as servers write"
            return super().append(*args, **more)

    logged(store, "a", a_line("x-0"))
    logged(store, "b", a_line("y-0"))
    assert collect_predictions(store, MODEL, DATASET, Busy(store, "delays_predictions")) == Collected(segments=2, rows=2)
    assert collected(store) == Collected(segments=1, rows=1)


def test_a_lost_segment_does_not_stop_the_others(store, caplog):
    """SE-13: A segment that someone removed after its batch was written down is said to be gone; the rest goes in."""
    store.put_if_absent("predictions/delays/batches/00000001.json", json.dumps({"segments": ["a.jsonl", "b.jsonl"]}).encode())
    logged(store, "b", a_line("y-0"))
    assert collected(store) == Collected(segments=1, rows=1)
    assert "1 of 2 segments of predictions/delays are gone" in caplog.text


def test_nothing_logged_makes_no_table(store):
    """SE-13: Without segments there is no commit."""
    assert collected(store) == Collected()
    assert Table(store, "delays_predictions").version() is None


@pytest.mark.parametrize(("fallback", "is_shadow"), [("constant", True), ("rule", True), ("last_good", False), (None, False), ("", False)])
def test_what_no_version_answered_is_no_versions_answer(tmp_path, fallback, is_shadow):
    """SC-07, SE-13: A constant or a rule says nothing of the version that it stood in for; the last good version answered itself.
    Lines of before say nothing of a fallback."""
    store, table = FolderStore(str(tmp_path)), Table(FolderStore(str(tmp_path)), "delays_predictions")
    line = a_line("x-0", **({} if fallback is None else {"fallback": fallback}))
    store.write("predictions/delays/v7-a.jsonl", line if isinstance(line, bytes) else line.encode())
    collect_predictions(store, MODEL, DATASET, table)
    rows = table.scan()
    assert (rows["shadow"].to_pylist(), "fallback" in rows.column_names) == ([is_shadow], False)


def grown(store, writer, number, *lines):
    """A growing segment as it is now."""
    store.write(f"predictions/delays/{growing_name(writer, number)}", "".join(f"{line}\n" for line in lines).encode())


def test_a_growing_segment_is_taken_in_parts(store):
    """SE-13: What a server wrote in the last second is in the table at the next look, and a line once; the segment goes when its writer has
    begun another, and a damaged line has its place in it."""
    first, second = growing_name("v1", 1), growing_name("v1", 2)
    grown(store, "v1", 1, a_line("a-0"))
    assert collected(store) == Collected(segments=1, rows=1)
    assert collected(store) == Collected()
    grown(store, "v1", 1, a_line("a-0"), "{", a_line("b-0"))
    assert collected(store) == Collected(segments=1, rows=1, damaged=1)
    assert json.loads(store.read("predictions/delays/damaged/00000002-1.jsonl"))["line"] == 2
    grown(store, "v1", 1, a_line("a-0"), "{", a_line("b-0"), a_line("c-0"))
    grown(store, "v1", 2, a_line("d-0"))
    assert collected(store) == Collected(segments=2, rows=2)
    assert ids(store) == ["a-0", "b-0", "c-0", "d-0"]
    assert [one.name for one in segments(store, "predictions/delays")] == [second]
    grown(store, "v1", 3, a_line("e-0"))
    assert collected(store) == Collected(segments=1, rows=1)
    assert [one.name for one in segments(store, "predictions/delays")] == [growing_name("v1", 3)]  # the second had nothing new
    assert first not in last_batch(store, "predictions/delays").ends


def test_a_server_that_was_killed_leaves_one_segment_for_a_day(store):
    """SE-13, DE-22: It is taken at once, and removed when its writer has been silent for a day; if the writer comes back after all, its
    earlier lines are known."""
    name = growing_name("v1", 1)
    grown(store, "v1", 1, a_line("a-0"))
    assert collected(store).rows == 1
    os.utime(store.path / "predictions/delays" / name, (1, 1))
    assert collected(store) == Collected()
    assert segments(store, "predictions/delays") == []
    grown(store, "v1", 1, a_line("a-0"), a_line("b-0"))
    assert collected(store).rows == 1
    assert ids(store) == ["a-0", "b-0"]


def test_a_listing_made_while_a_segment_grew_costs_no_line(store):
    """SE-13: A listing of many pages may show an older size of a segment beside a newer one of its writer: it is read to its end, and one
    that seems taken whole stays until it is."""

    class Paged(FolderStore):
        def list(self, prefix):
            for stored in super().list(prefix):
                yield dataclasses.replace(stored, size=size) if stored.key.endswith(growing_name("v1", 1)) else stored

    size = len(a_line("a-0")) + 1
    grown(store, "v1", 1, a_line("a-0"))
    collected(store)
    grown(store, "v1", 1, a_line("a-0"), a_line("b-0"))
    grown(store, "v1", 2, a_line("c-0"))
    paged = Paged(store.root)
    assert collect_predictions(paged, MODEL, DATASET, Table(store, "delays_predictions")).rows == 1
    assert collected(store).rows == 1
    assert ids(store) == ["a-0", "b-0", "c-0"]


def test_a_file_of_the_name_of_one_that_was_taken_is_taken_too(store):
    """SE-13: A person corrects damaged lines twice under one name: the second file is no rest of the first."""
    logged(store, "fixed", a_line("a-0"))
    assert collected(store).rows == 1
    logged(store, "fixed", a_line("b-0"), a_line("c-0"))
    assert collected(store).rows == 2
    assert ids(store) == ["a-0", "b-0", "c-0"]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_killed_while_servers_write_each_line_is_taken_once(tmp_path, seed):
    """SE-13, DE-22, OP-10: Two servers let segments grow and one is killed; collectors die at any change of the store, between any two
    writes. Every line is in the table once, and at the end only the segment that each server is writing is left."""
    chance = random.Random(seed)
    store, wanted, open_segments = FolderStore(str(tmp_path)), [], {}

    def write(writer, *, anew):
        number, written = open_segments.get(writer, (0, []))
        number, written = (number + 1, []) if anew else (number, written)
        wanted.append(f"{writer}-{len(wanted):04d}")
        open_segments[writer] = (number, [*written, a_line(wanted[-1])])
        grown(store, writer, *(number, *open_segments[writer][1]))

    for turn in range(25):
        for _ in range(chance.randrange(4)):
            write(chance.choice(["v1", "v2"] if turn < 15 else ["v2"]), anew=chance.random() < 0.3)
        if chance.random() < 0.2:
            wanted.append(f"old-{len(wanted):04d}")
            logged(store, wanted[-1], a_line(wanted[-1]))
        with contextlib.suppress(Killed):
            dying = Dying(str(tmp_path), chance.randrange(12))
            collect_predictions(dying, MODEL, DATASET, Table(store, "delays_predictions"))
    collected(store)
    assert ids(store) == sorted(wanted)
    collected(store)
    left = {growing_name(writer, number) for writer, (number, _) in open_segments.items()}
    assert {one.name for one in segments(store, "predictions/delays")} == left


class Counting(FolderStore):
    """A store that counts what is asked of it."""

    def __init__(self, root):
        super().__init__(root)
        self.asked = Counter()

    def list(self, prefix):
        """Or count."""
        self.asked["list", prefix] += 1
        return super().list(prefix)

    def read(self, key):
        """Or count."""
        self.asked["read", key.rpartition("/")[0]] += 1
        return super().read(key)

    def delete(self, key):
        """Or count."""
        self.asked["delete"] += 1
        super().delete(key)


def test_a_look_lists_the_log_once_however_much_there_is(tmp_path, monkeypatch):
    """OP-10, SE-13: 6 or 60 segments in one or six batches: the folder is listed once and each segment read once. A look with nothing new
    reads the last batch alone and removes nothing."""
    monkeypatch.setattr("perennial.served_log.MAX_BATCH_SEGMENTS", 10)
    for count in (6, 60):
        store = Counting(str(tmp_path / str(count)))
        for place in range(count):
            grown(store, "v1", place, a_line(f"{place}-0"))
        table = Table(store, "delays_predictions")
        assert collect_predictions(store, MODEL, DATASET, table).rows == count
        assert store.asked["list", "predictions/delays"] == 1
        assert store.asked["read", "predictions/delays"] == count
        store.asked.clear()
        assert collect_predictions(store, MODEL, DATASET, table) == Collected()
        assert store.asked["list", "predictions/delays"] == 1
        assert store.asked["read", "predictions/delays"] == 0
        assert store.asked["read", "predictions/delays/batches"] == 1
        assert store.asked["delete"] == 0
