"""Where a look at Kafka's topics begins, by what was read and by what the broker still has."""

from __future__ import annotations

import re
from typing import Any

import pytest

from perennial.errors import SourceRefused
from perennial.sources.offsets import Kept, Topic, begins, watermark_of


def _now(**partitions: tuple[int, int]) -> dict[str, Topic]:
    return {"rides": Topic("a", {int(name[1:]): Kept(*kept) for name, kept in partitions.items()})}


def _read(*offsets: int, topic_id: str = "a") -> dict[str, Any]:
    return {"topics": {"rides": {"id": topic_id, "next": {str(number): offset for number, offset in enumerate(offsets)}}}}


def test_the_first_look_begins_as_the_spec_says() -> None:
    """DM-01: At the first record that is there, or after the last; what was deleted before anybody read is no loss."""
    now = _now(p0=(5, 9), p1=(0, 0))
    notes: list[str] = []
    assert begins("rides", "earliest", "refuse", None, now, notes) == {"rides": {0: 5, 1: 0}}
    assert begins("rides", "latest", "refuse", None, now, notes) == {"rides": {0: 9, 1: 0}}
    assert notes == []


def test_later_looks_begin_where_the_last_ended() -> None:
    """DM-01: Also where a partition was added since, which is read from its first record on, whatever `start` says."""
    notes: list[str] = []
    assert begins("rides", "latest", "refuse", _read(7), _now(p0=(7, 9), p1=(0, 4), p2=(0, 0)), notes) == {"rides": {0: 7, 1: 0, 2: 0}}
    assert begins("rides", "earliest", "refuse", _read(9), _now(p0=(0, 9)), notes) == {"rides": {0: 9}}
    assert notes == []


def test_deleted_records_are_told_with_their_number() -> None:
    """DM-01: Refused, or gone on with and told; those of a new partition count too."""
    now = _now(p0=(1200, 2000), p1=(1, 4), p2=(3, 5))
    with pytest.raises(SourceRefused) as told:
        begins("rides", "earliest", "refuse", _read(200, 1), now, [])
    assert str(told.value) == (
        "The broker has deleted 1,003 offsets that were not read: 200 to 1,199 of partition 0 of rides, 0 to 2 of partition 2 of rides. "
        "The records are lost for rides, unless their producer can send them again: to go on with what is left, "
        "write lost='go_on' into its "
        "source. Look more often, or let the topic keep its records for longer."
    )
    notes: list[str] = []
    assert begins("rides", "earliest", "go_on", _read(200, 1), now, notes) == {"rides": {0: 1200, 1: 1, 2: 3}}
    assert notes == [
        "the broker has deleted 1,003 offsets that were not read: 200 to 1,199 of partition 0 of rides, 0 to 2 of partition 2 of rides; "
        "reading went on after them"
    ]
    one: list[str] = []
    begins("rides", "earliest", "go_on", _read(0), _now(p0=(1, 1)), one)
    assert one == ["the broker has deleted 1 offset that was not read: 0 to 0 of partition 0 of rides; reading went on after them"]
    many: list[str] = []
    begins("rides", "earliest", "go_on", _read(*[0] * 7), _now(**{f"p{n}": (1, 1) for n in range(7)}), many)
    assert re.search("0 to 0 of partition 4 of rides and of 2 more partitions; reading", many[0])
    begins("rides", "earliest", "go_on", _read(*[0] * 6), _now(**{f"p{n}": (1, 1) for n in range(6)}), many)
    assert "and of 1 more partition; reading" in many[1]
    begins("rides", "earliest", "go_on", _read(*[0] * 5), _now(**{f"p{n}": (1, 1) for n in range(5)}), many)
    assert "more partition" not in many[2]


@pytest.mark.parametrize(
    ("read", "now", "why"),
    [
        (_read(5, topic_id="b"), _now(p0=(0, 9)), "it has another id than the one that was read."),
        (_read(5, 5, 5), _now(p0=(0, 9)), "its partition 1 is gone."),
        (_read(1005), _now(p0=(0, 1004)), "partition 0 ends at offset 1,004, and was read up to 1,005."),
        (_read(5, 5, topic_id=""), _now(p0=(0, 9), p1=(0, 0)), "partition 1 ends at offset 0, and was read up to 5."),
    ],
)
def test_a_topic_that_was_made_anew_is_refused(read: dict[str, Any], now: dict[str, Topic], why: str) -> None:
    """DM-01: Its offsets are not those that were read: what to do is told."""
    with pytest.raises(SourceRefused) as told:
        begins("trips", "earliest", "go_on", read, now, [])
    assert str(told.value) == (
        f"The topic rides was made anew or has lost its end: {why} Which of its records are in trips is not known from their offsets: "
        "read it from its beginning with perennial collect --dataset trips --anew"
    )


def test_an_id_that_is_not_told_refuses_nothing() -> None:
    """DM-01: Brokers before Kafka 2.8 have none: their offsets alone are compared."""
    assert begins("rides", "earliest", "refuse", _read(5, topic_id=""), _now(p0=(0, 9)), []) == {"rides": {0: 5}}
    untold = {"rides": Topic("", {0: Kept(0, 9)})}
    assert begins("rides", "earliest", "refuse", _read(5), untold, []) == {"rides": {0: 5}}


def test_what_is_kept_is_read_again() -> None:
    """DM-01: The watermark of a look is where the next one begins, in the order of topics and partitions."""
    now = {**_now(p0=(0, 9), p1=(0, 9)), "cars": Topic("", {0: Kept(0, 1)})}
    kept = watermark_of({"rides": {1: 4, 0: 3}, "cars": {0: 1}}, now)
    assert kept == {"topics": {"cars": {"id": "", "next": {"0": 1}}, "rides": {"id": "a", "next": {"0": 3, "1": 4}}}}
    assert [list(kept["topics"]), list(kept["topics"]["rides"]["next"])] == [["cars", "rides"], ["0", "1"]]
    assert begins("rides", "earliest", "refuse", kept, now, []) == {"rides": {0: 3, 1: 4}, "cars": {0: 1}}
