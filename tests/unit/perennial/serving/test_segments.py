"""Lines on their way into the store."""

import json
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import numpy as np
import orjson
import pytest

from perennial.errors import StoreUnreachable
from perennial.online_values import Found
from perennial.served_log import growing_name
from perennial.serving.prediction_log import OutcomeLog, PredictionLog
from perennial.serving.segments import SegmentWriter
from perennial.store import FolderStore


class Failing(FolderStore):
    """A store that refuses its first writes, or waits for a gate."""

    def __init__(self, root: str, failures: int = 0, gate: threading.Event | None = None) -> None:
        super().__init__(root)
        self.failures, self.gate, self.writing = failures, gate, threading.Event()

    def write(self, key: str, data: bytes) -> None:
        """Write, when it may."""
        self.writing.set()
        if self.gate is not None:
            self.gate.wait(240)
        if self.failures:
            self.failures -= 1
            raise StoreUnreachable("The store does not answer.")
        super().write(key, data)


def lines(store, prefix):
    """What all segments hold, in order."""
    return [json.loads(line) for stored in store.list(prefix) for line in store.read(stored.key).splitlines()]


def flushed(writer, *values):
    """Put each value and wait until it is written."""
    for value in values:
        assert writer.put_and_wait(10, number(value), 60)


def number(value):
    """Makes one line."""
    return lambda: json.dumps(value).encode() + b"\n"


def test_lines_come_out_once_and_in_order(tmp_path):
    """SE-13: What was put is in the segments after close, each line once, in the order in which it came."""
    store = FolderStore(str(tmp_path))
    writer = SegmentWriter(store, "predictions/m", "v1", linger_seconds=0.01)
    for value in range(500):
        assert writer.put(10, number(value))
    writer.close()
    assert lines(store, "predictions/m") == list(range(500))
    assert writer.dropped == 0


def test_segments_are_bounded_in_size(tmp_path):
    """SE-13: A segment holds no more than its limit, unless one entry alone is larger."""
    store = FolderStore(str(tmp_path))
    writer = SegmentWriter(store, "p", "v1", linger_seconds=0.2, max_segment_bytes=100)
    for value in range(50):
        writer.put(30, number(f"{value:020}"))
    writer.put(1000, number("large" * 30))
    writer.close()
    found = [store.read(stored.key) for stored in store.list("p")]
    assert sum(len(segment.splitlines()) for segment in found) == 51
    assert sorted(len(segment) for segment in found)[-1] == 153
    assert max(len(segment) for segment in found[:-1]) <= 100


def test_two_starts_never_share_a_name(tmp_path):
    """SE-13: Writers of the same version have names of their own, so no segment is written twice."""
    store = FolderStore(str(tmp_path))
    writers = [SegmentWriter(store, "p", "v1", linger_seconds=0) for _ in range(5)]
    for value, writer in enumerate(writers):
        writer.put(1, number(value))
        writer.close()
    assert sorted(lines(store, "p")) == list(range(5))


def test_a_store_that_fails_is_tried_again(tmp_path):
    """SE-13: Lines survive a store that refuses twice, once each."""
    store = Failing(str(tmp_path), failures=2)
    writer = SegmentWriter(store, "p", "v1", linger_seconds=0)
    writer.put(1, number("kept"))
    writer.close()
    assert lines(store, "p") == ["kept"]


def test_memory_is_bounded_and_drops_are_counted_and_said_once(tmp_path, caplog):
    """SE-13, SE-15: Behind a store that hangs no more than the limit waits; the rest is dropped at once, counted, and said in one line."""
    gate = threading.Event()
    store = Failing(str(tmp_path), gate=gate)
    writer = SegmentWriter(store, "p", "v1", linger_seconds=0, max_waiting_bytes=100)
    writer.put(20, number(0))
    assert store.writing.wait(60)
    accepted = [writer.put(20, number(value)) for value in range(1, 10)]
    assert accepted == [True] * 4 + [False] * 5
    gate.set()
    writer.close()
    assert lines(store, "p") == [0, 1, 2, 3, 4]
    assert writer.dropped == 5
    said = [record for record in caplog.records if "dropped" in record.message]
    assert len(said) == 1
    assert not writer.put(1, number("late"))


def test_a_line_that_cannot_be_made_costs_only_itself(tmp_path, caplog):
    """SE-13: An entry that is no JSON is dropped with a sentence; its neighbours are written."""
    store = FolderStore(str(tmp_path))
    writer = SegmentWriter(store, "p", "v1", linger_seconds=0.05)
    writer.put(1, number(1))
    writer.put(1, lambda: 1 // 0)
    writer.put(1, number(2))
    writer.close()
    assert lines(store, "p") == [1, 2]
    assert writer.dropped == 1
    assert "could not be written as JSON" in caplog.text


def test_a_prediction_line_says_all_that_monitoring_needs(tmp_path):
    """SE-13: Each row of an answer is one line with its own id, the inputs as they came, scores, times and version."""
    store = FolderStore(str(tmp_path))
    log = PredictionLog(store, "m", 7, linger_seconds=0)
    assert log.record(
        "abc", [{"x": 1}, {"x": None}], np.array([[0.25, 0.75], [0.5, 0.5]]), 1.2345, body_bytes=20, event_time="2013-02-01T06:00:00+00:00"
    )
    log.record("def", [{"x": 2}], np.array([[1.0, 0.0]]), 1, body_bytes=10, shadow=True)
    log.segments.close()
    first, second, third = lines(store, "predictions/m")
    assert {k: first[k] for k in ("id", "model", "version", "event_time", "row", "scores", "ms")} == {
        "id": "abc-0", "model": "m", "version": 7, "event_time": "2013-02-01T06:00:00+00:00", "row": {"x": 1}, "scores": [0.25, 0.75],
        "ms": 1.234,
    }  # fmt: skip
    assert (second["id"], second["row"]) == ("abc-1", {"x": None})
    assert "shadow" not in first
    assert third["shadow"] is True
    assert third["event_time"] == third["time"]


def test_every_row_of_an_answer_has_its_own_line(tmp_path):
    """SE-13: Whatever texts a row and an id have, and whatever joins found for some rows alone: each line is the JSON of its row."""
    rows = [{"x": place, "word": 'line\nbreak " } { \u2028'} for place in range(3)]
    scores = np.array([[0.1, 0.9], [1e-12, 1.0], [0.3333333333333333, 2 / 3]])
    found = {1: {"depots": Found("found", age=timedelta(seconds=1.5))}, 2: {}}
    log = PredictionLog(store := FolderStore(str(tmp_path)), "m", 7, linger_seconds=0)
    log.record('"é', rows, scores, 1, body_bytes=20, found=found, unit="anna", trace="t", fallback="rule")
    log.segments.close()
    texts = [line for stored in store.list("predictions/m") for line in store.read(stored.key).splitlines()]
    written = [json.loads(line) for line in texts]
    assert [(line["id"], line["row"], line["scores"]) for line in written] == [
        (f'"é-{place}', row, row_scores) for place, (row, row_scores) in enumerate(zip(rows, scores.tolist(), strict=True))
    ]
    assert [line.get("joined") for line in written] == [None, {"depots": {"state": "found", "age_seconds": 1.5}}, None]
    assert [*written[1]] == [
        "id", "model", "version", "time", "event_time", "ms", "unit", "trace", "fallback", "row", "scores", "joined",
    ]  # fmt: skip
    assert all((line["model"], line["version"], line["ms"]) == ("m", 7, 1.0) for line in written)
    assert texts == [orjson.dumps(line) for line in written]  # once each, and nothing else


def test_an_outcome_is_in_the_store_when_record_returns(tmp_path):
    """MN-03, SE-13: Outcomes from several callers are all stored by the time each hears so."""
    store = FolderStore(str(tmp_path))
    log = OutcomeLog(store, "m", 7)

    def record(value):
        log.record(f"p-{value}", value)
        assert any(line["id"] == f"p-{value}" for line in lines(store, "outcomes/m"))

    callers = [threading.Thread(target=record, args=(value,)) for value in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(line["outcome"] for line in lines(store, "outcomes/m")) == list(range(8))


def test_an_outcome_that_is_not_stored_is_not_acknowledged(tmp_path):
    """MN-03, SE-13: When the store hangs the caller is told to send it again."""
    gate = threading.Event()
    log = OutcomeLog(Failing(str(tmp_path), gate=gate), "m", 7, wait_seconds=0.05)
    with pytest.raises(StoreUnreachable, match="send it again"):
        log.record("p-0", 1)
    gate.set()
    log.segments.close()


def test_a_segment_grows_for_a_minute(tmp_path):
    """OP-10, SE-13: 61 seconds of a line each are two objects: each line is in the store within its second. A clock that is set back, or a
    machine that slept, begins another."""
    store, time = FolderStore(str(tmp_path)), [1000.0]
    writer = SegmentWriter(store, "p", "v1", wall=lambda: time[0])
    for second in range(61):
        time[0] = 1000.0 + second
        flushed(writer, second)
        assert lines(store, "p") == list(range(second + 1))
    names = [stored.key for stored in store.list("p")]
    assert names == [f"p/{growing_name(writer.name, place)}" for place in (0, 1)]
    time[0] = 1000.0
    flushed(writer, "set back")
    assert [len(store.read(stored.key).splitlines()) for stored in store.list("p")] == [60, 1, 1]
    writer.close()


def test_a_day_of_a_line_a_second_is_some_1440_segments(tmp_path):
    """OP-10: 1,440 objects for a day, not 86,400: counted over two hours."""
    store, time = FolderStore(str(tmp_path)), [0.0]
    store.write = lambda key, data: keys.add(key)
    keys = set()
    writer = SegmentWriter(store, "p", "v1", wall=lambda: time[0])
    for second in range(7200):
        time[0] = float(second)
        writer._write(b"line\n")
    assert len(keys) == 120
    writer.close()


def test_a_segment_that_is_costly_to_write_again_is_left(tmp_path, monkeypatch):
    """OP-10, SE-13: What is written for a segment in all is bounded, so that heavy traffic is not written again for a minute."""
    monkeypatch.setattr("perennial.serving.segments.REWRITTEN_BYTES", 10)
    store = FolderStore(str(tmp_path))
    writer = SegmentWriter(store, "p", "v1", max_segment_bytes=8)
    flushed(writer, 1, 2, 3, 4, 5, 6, 7)  # 2 bytes each: 2, 4 and 6 written are 12
    assert [store.read(stored.key) for stored in store.list("p")] == [b"1\n2\n3\n", b"4\n5\n6\n", b"7\n"]
    monkeypatch.setattr("perennial.serving.segments.REWRITTEN_BYTES", 1000)
    flushed(writer, 8, 9, 10, 11)  # and a segment is full at 8 bytes
    writer.close()
    assert [store.read(stored.key) for stored in store.list("p")][2:] == [b"7\n8\n9\n", b"10\n11\n"]


def test_after_a_write_that_failed_a_segment_is_not_written_again(tmp_path):
    """SE-13: A write that was given up may reach the store after a later one: it must bring the same."""
    store = Failing(str(tmp_path))
    writer = SegmentWriter(store, "p", "v1", linger_seconds=0)
    flushed(writer, 1, 2)
    store.failures = 1
    flushed(writer, 3, 4)
    writer.close()
    assert [store.read(stored.key) for stored in store.list("p")] == [b"1\n2\n3\n", b"4\n"]


def test_what_a_kill_can_take_is_less_than_a_second(tmp_path):
    """SE-13, DE-22: A process that is killed outright leaves in the store what it had written before, in the one segment that grew."""
    program = (
        "import os, signal, sys, time; from perennial.serving.segments import SegmentWriter; from perennial.store import FolderStore\n"
        "writer = SegmentWriter(FolderStore(sys.argv[1]), 'p', 'v1')\n"
        "for value in range(3):\n"
        "    writer.put(10, lambda value=value: b'%d\\n' % value)\n"
        "    while writer.written <= value: time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    store = FolderStore(str(tmp_path))
    assert lines(store, "p") == [0, 1, 2]
    assert len(list(store.list("p"))) == 1
