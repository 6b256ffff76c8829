"""What of the servers' log is still to be taken, decided from a listing."""

from __future__ import annotations

import json
import os

import pytest

from perennial.errors import StoredDataDamaged
from perennial.served_log import (
    MAX_BATCH_BYTES,
    MAX_BATCH_SEGMENTS,
    QUIET_SECONDS,
    REMEMBERED,
    Batch,
    Part,
    Segment,
    batch_key,
    finished,
    first_of,
    growing_name,
    last_batch,
    read_part,
    segments,
    waiting,
    waiting_lines,
)
from perennial.store import FolderStore


def a_segment(writer: str, number: int, size: int, modified: float = 0.0) -> Segment:
    """A growing segment in a listing."""
    return Segment(growing_name(writer, number), size, modified, f"{size}")


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return FolderStore(str(tmp_path))


def test_only_segments_right_below_are_listed(store):
    """SE-13: In the order of their names, with size and tag; batches, what is set aside and notes are none."""
    for name in ("b-00000001.growing.jsonl", "a.jsonl", "notes.txt", "batches/00000001.json", "damaged/00000001-1.jsonl", "old/a.jsonl"):
        store.write(f"predictions/m/{name}", b"{}\n")
    found = segments(store, "predictions/m")
    assert [(one.name, one.size) for one in found] == [("a.jsonl", 3), ("b-00000001.growing.jsonl", 3)]
    assert [one.etag for one in found] == [store.stat(f"predictions/m/{one.name}").etag for one in found]
    assert all(one.modified == store.stat(f"predictions/m/{one.name}").modified for one in found)


def test_what_waits_is_what_no_batch_took():
    """SE-13: Of a growing segment the bytes behind what was taken, up to what is there; to its end once its writer has begun another; a
    whole one whole, whatever its size."""
    listed = [
        a_segment("v1-a", 1, 50),
        a_segment("v1-a", 2, 60),
        a_segment("v1-a", 10, 70),
        a_segment("v2-b", 1, 80),
        a_segment("v2-c", 0, 0),
        Segment("fixed.jsonl", 90, 0.0, "tag"),
        Segment("growing.jsonl", 0, 0.0, "t2"),
    ]
    ends = {growing_name("v1-a", 1): 50, growing_name("v1-a", 2): 20, growing_name("v1-a", 10): 70, growing_name("v2-b", 1): 79}
    assert waiting(listed, ends) == [
        Part(growing_name("v1-a", 2), 20, None),
        Part(growing_name("v2-b", 1), 79, 80),
        Part("fixed.jsonl", 0, None, "tag"),
        Part("growing.jsonl", 0, None, "t2"),
    ]
    assert waiting(listed[:1], {}) == [Part(growing_name("v1-a", 1), 0, 50)]
    assert waiting(listed[:1], {growing_name("v1-a", 1): 51}) == []  # a copy of the store from before


def test_a_segment_is_over_once_its_writer_has_another_or_is_silent_for_a_day():
    """SE-13: And all that it has is taken. Another writer's later segment says nothing."""
    first, second, other = a_segment("v1-a", 1, 50), a_segment("v1-a", 2, 60, modified=100.0), a_segment("v1-b", 1, 10, modified=100.0)
    ends = {one.name: one.size for one in (first, second, other)}
    listed = [first, second, other]
    assert finished(listed, ends, 100.0 + QUIET_SECONDS) == [first]
    assert finished(listed, ends, 101.0 + QUIET_SECONDS) == listed
    assert finished(listed, {first.name: 49}, 0.0) == []
    assert finished([Segment("a.jsonl", 5, 0.0, "")], {}, 1e9) == []


def test_a_batch_is_bounded(monkeypatch):
    """SE-13: By bytes and by segments; what comes after is left to the next batch. One that is larger alone is a batch."""
    parts = [Part("a", 0, 10), Part("b", 5, None), Part("c", 0, 1)]
    sizes = {"a": 1000, "b": 20, "c": 1}
    for limit, places in ((1, 1), (10, 1), (11, 2), (25, 2), (26, 3), (27, 3)):
        monkeypatch.setattr("perennial.served_log.MAX_BATCH_BYTES", limit)
        assert first_of(parts, sizes) == parts[:places], limit
    monkeypatch.setattr("perennial.served_log.MAX_BATCH_SEGMENTS", 2)
    assert first_of(parts, sizes) == parts[:2]
    assert (MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS, QUIET_SECONDS, REMEMBERED) == (256 << 20, 20_000, 86_400.0, 500)


def test_a_batch_says_how_far_each_segment_is_taken():
    """SE-13: It has what earlier ones said, without what is over; of segments that are gone it remembers the last ones."""
    before = Batch(7, (), {"g-1": 10, "g-2": 20, "gone": 5})
    after = before.after([Part("g-1", 10, None), Part("g-2", 20, 30), Part("g-3", 0, 4), Part("a.jsonl", etag="t")], {"g-1", "g-2", "g-3"})
    assert (after.number, after.parts[0], after.ends) == (8, Part("g-1", 10, None), {"g-2": 30, "gone": 5, "g-3": 4})
    many = Batch(1, (), {f"gone-{place}": place for place in range(REMEMBERED + 2)} | {"there": 1})
    assert list(many.after([], {"there"}).ends) == [f"gone-{place}" for place in range(2, REMEMBERED + 2)] + ["there"]


def test_the_last_batch_is_read_as_it_was_written(store):
    """SE-13, MO-17: Also one of before, whose segments are whole; without any the number is 0."""
    assert last_batch(store, "predictions/m") == Batch(0, (), {}) == Batch()
    assert Part("a.jsonl") == Part("a.jsonl", 0, None, "")
    store.write(batch_key("predictions/m", 3), b'{"segments": ["a.jsonl", "b.jsonl"]}')
    assert last_batch(store, "predictions/m") == Batch(3, (Part("a.jsonl"), Part("b.jsonl")))
    batch = Batch(4, (Part("g", 3, 9), Part("h", 3), Part("a.jsonl", 0, None, "tag")), {"g": 9})
    store.write(batch_key("predictions/m", 4), batch.encoded())
    assert last_batch(store, "predictions/m") == batch
    assert json.loads(batch.encoded())["version"] == 2
    store.write(batch_key("predictions/m", 5), b'{"parts": []}')
    with pytest.raises(StoredDataDamaged, match=r"^predictions/m/batches/00000005.json does not say"):
        last_batch(store, "predictions/m")


def test_lines_that_wait_are_read_newest_first(store):
    """SE-06: Those that a batch took are not among them."""
    store.write("predictions/m/a-00000001.growing.jsonl", b"1\n2\n3\n")
    store.write("predictions/m/b.jsonl", b"4\n5\n")
    store.write("predictions/m/c-00000001.growing.jsonl", b"6\n")
    for place, name in enumerate(("a-00000001.growing.jsonl", "b.jsonl", "c-00000001.growing.jsonl")):
        file = store.path / "predictions/m" / name
        os.utime(file, (place, place))
    ends = {"a-00000001.growing.jsonl": 2, "c-00000001.growing.jsonl": 2}
    read = list[str]()
    store.read = lambda key: read.append(key) or FolderStore.read(store, key)
    store.write(batch_key("predictions/m", 1), Batch(1, (), ends).encoded())
    assert list(waiting_lines(store, "predictions/m")) == [b"5", b"4", b"3", b"2"]
    assert "predictions/m/c-00000001.growing.jsonl" not in read
    assert read_part(store, "predictions/m", Part("a-00000001.growing.jsonl", 2, 4)) == b"2\n"
    assert read_part(store, "predictions/m", Part("a-00000001.growing.jsonl", 2)) == b"2\n3\n"
    assert read_part(store, "predictions/m", Part("gone.jsonl")) is None
