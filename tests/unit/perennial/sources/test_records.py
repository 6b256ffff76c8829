"""Records that come one by one, as lines of files: values as they are written, and what is no row apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.sources.interface import Look
from perennial.sources.records import MOST_GROUPS, MOST_UNFIT, Records, Unreadable, as_line, sifted
from perennial.specs import Column, DatasetSpec, KafkaSource


@pytest.mark.parametrize(
    ("value", "beside", "line"),
    [
        (b'{"id": 12345678901234567890, "km": 1.10}', {}, b'{"id": 12345678901234567890, "km": 1.10}'),
        (b' {\r\n"id":\n7} ', {}, b'{  "id": 7}'),
        (b"{}", {"line": "north"}, b'{"line": "north"}'),
        (b"{ }", {"a": None, "b": 1}, b'{"a": null, "b": 1}'),
        ('{"city": "Łódź"}'.encode(), {"place": "Köln"}, '{"place": "Köln", "city": "Łódź"}'.encode()),
        (b'{"text": "a\\nb"}', {}, b'{"text": "a\\nb"}'),
    ],
)
def test_a_record_is_a_line(value: bytes, beside: dict[str, Any], line: bytes) -> None:
    """DM-01: Numbers keep their digits; line breaks between values are blanks; what stands beside comes first."""
    assert as_line(value, beside) == line


@pytest.mark.parametrize(
    ("value", "beside", "why"),
    [
        (b"", {}, "it is no JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"\0\0\0\0\1", {}, "it begins with a byte 0, as records of a schema registry do (Avro, Protobuf), and is no JSON"),
        (b'{"a": "\xff"}', {}, "it is no UTF-8 (byte 7)"),
        (b"[1]", {}, "it is no JSON object"),
        (b"null", {}, "it is no JSON object"),
        (b'{"b": 1, "a": 1, "a": 1}', {}, "it is no JSON (it has a twice)"),
        (b'{"a": NaN}', {}, "it is no JSON (NaN is no number)"),
        (b'{"b": 1, "a": 2}', {"a": 1, "b": 2, "c": 3}, "it has a, b itself, which the source takes from beside it"),
        (b"{}", {"a": "\ud800"}, "what stands beside it is no text"),
    ],
)
def test_what_is_no_row_says_why(value: bytes, beside: dict[str, Any], why: str) -> None:
    """DM-02: One clause for each way in which a record is no JSON object."""
    with pytest.raises(Unreadable) as told:
        as_line(value, beside)
    assert str(told.value) == why


def test_a_record_nested_beyond_measure_is_no_row() -> None:
    """DM-02: It costs itself, and no traceback."""
    with pytest.raises(Unreadable, match="it is no JSON"):
        as_line(b'{"a":' * 200_000, {})


def test_lines_that_do_not_fit_are_found() -> None:
    """DM-02: In any number up to the most, at any place; beyond that the whole is refused as it is."""
    assert (MOST_UNFIT, MOST_GROUPS) == (20, 400)

    def fits(lines: Sequence[bytes]) -> bool:
        return b"x" not in lines

    lines = [b"%d" % number for number in range(100)]
    for bad in ([0], [99], [0, 1, 50, 99], list(range(MOST_UNFIT))):
        there = [b"x" if place in bad else line for place, line in enumerate(lines)]
        assert sifted(there, fits) == ([[line for line in there if line != b"x"]], [b"x"] * len(bad))
    assert sifted([b"x" if place <= MOST_UNFIT else line for place, line in enumerate(lines)], fits) is None
    assert sifted([b"x"], fits) == ([], [b"x"])


def test_lines_that_fit_apart_alone_are_groups() -> None:
    """DM-02: A number and a text under one name cannot lie in one file; each lands, in order."""

    def fits(lines: Sequence[bytes]) -> bool:
        return len({line.isdigit() for line in lines}) == 1

    assert sifted([b"1", b"2", b"a", b"3"], fits) == ([[b"1", b"2"], [b"a"], [b"3"]], [])
    most = [b"1", b"a"] * (MOST_GROUPS // 2)
    assert sifted(most, fits) == ([[line] for line in most], [])
    assert sifted([*most, b"1"], fits) is None


def _look(tmp_path: Path, row_id: str | None = None) -> Look:
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    identity: dict[str, Any] = {"key": ("id",)} if row_id is None else {"row_id": row_id}
    spec = DatasetSpec(name="rides", title="Rides", owner="fleet", columns=columns, event_time="at", **identity)
    return Look(spec, None, None, None, tmp_path, [], lambda path: "it has x" if b'"x"' in path.read_bytes() else "")


def test_files_of_records(tmp_path: Path) -> None:
    """DM-02: Rows, rows that do not fit and what is no row land in files of their own, the last with place, reason and text."""
    records = Records(_look(tmp_path), 3)
    assert records.first == ""
    for number, value in enumerate((b'{"id": 1}', b'{"id": "x"}', b"\xfe", b'{"id": 2}')):
        records.add(f"place {number}", value, {})
    assert len(records) == 4
    files, tally = records.files("rides-0")
    assert [name for name, _ in files] == ["rides-0.jsonl", "rides-0-unfit.jsonl", "rides-0-unreadable.jsonl"]
    rows, unfit, unreadable = (path.read_bytes() for _, path in files)
    assert (rows, unfit) == (b'{"id": 1}\n{"id": 2}\n', b'{"id": "x"}\n')
    assert json.loads(unreadable) == ["place 2", "it is no UTF-8 (byte 0)", "\\xfe"]
    assert records.size == len(rows) + len(unfit)
    assert (tally.landed, tally.unreadable, records.first) == (4, 2, "place 2: it is no UTF-8 (byte 0)")
    broken = Records(_look(tmp_path), 5)
    broken.add("here", b"", {})
    files, tally = broken.files("rides-2")
    assert ([name for name, _ in files], tally.landed, tally.unreadable) == (["rides-2-unreadable.jsonl"], 1, 1)
    alone = Records(_look(tmp_path), 4)
    alone.add("here", b'{"id": "x"}', {})
    files, tally = alone.files("rides-1")
    assert ([name for name, _ in files], tally.unreadable, alone.first) == (["rides-1-unfit.jsonl"], 1, "it has x")


def test_files_of_equal_records_differ_where_each_is_a_row(tmp_path: Path) -> None:
    """DM-01: A file that is like another one is not taken in, and these are two; the mark is a line of blanks."""

    def bytes_of(name: str, row_id: str | None) -> bytes:
        records = Records(_look(tmp_path, row_id), 1)
        records.add("here", b'{"id": 1}', {})
        (_, path), *_ = records.files(name)[0]
        return path.read_bytes()

    assert bytes_of("a", "position") != bytes_of("b", "position")
    assert bytes_of("a", "position").split() == bytes_of("b", "position").split()
    row, mark = bytes_of("a", "position").splitlines()
    bits = mark.replace(b" ", b"0").replace(b"\t", b"1")
    assert (row, len(bits), int(bits, 2)) == (b'{"id": 1}', 64, int.from_bytes(hashlib.sha256(b"a").digest()[:8]))
    assert bytes_of("a", None) == bytes_of("b", None) == b'{"id": 1}\n'


def test_rows_that_lie_in_no_file_together_land_in_several(tmp_path: Path) -> None:
    """DM-02: Each has a name of its own, and where files that are alike would be one, a mark of its own."""
    look = _look(tmp_path, "position")
    mixed = replace(look, unfit=lambda path: "mixed" if {b"1", b"a"} <= set(path.read_bytes().split(b'"')) else "")
    records = Records(mixed, 7)
    for value in (b'{"id": "1"}', b'{"id": "a"}', b'{"id": "1"}'):
        records.add("here", value, {})
    files, tally = records.files("rides-0")
    assert [name for name, _ in files] == ["rides-0-1.jsonl", "rides-0-2.jsonl", "rides-0-3.jsonl"]
    assert (tally.landed, tally.unreadable) == (3, 0)
    first, second, third = (path.read_bytes() for _, path in files)
    assert [first.split()[1], second.split()[1], third.split()[1]] == [b'"1"}', b'"a"}', b'"1"}']
    assert first != third
    others = Records(mixed, 8)
    for value in (b'{"id": "1"}', b'{"id": "a"}'):
        others.add("here", value, {})
    assert others.files("rides-1")[0][0][1].read_bytes() != first
    assert first.startswith(b'{"id": "1"}\n ') or first.startswith(b'{"id": "1"}\n\t')


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"topics": ("a",)}, "say where the broker is"),
        ({"connection": "c", "topics": ()}, "at least 1 item"),
        ({"connection": "c", "topics": ("a b",)}, "'a b' is no topic"),
        ({"connection": "c", "topics": ("a.b", "a_b")}, "two topics have the same name"),
        ({"connection": "c", "topics": ("a",), "columns": {"x": "value"}}, "taken from 'value', which stands beside no record"),
        ({"connection": "c", "topics": ("a",), "columns": {"x": "headers"}}, "taken from 'headers'"),
    ],
)
def test_specs_that_do_not_fit(given: dict[str, Any], why: str) -> None:
    """DM-01, SC-05: Each fault of a source of Kafka is a clause."""
    with pytest.raises(ValidationError, match=why):
        KafkaSource(**given)
