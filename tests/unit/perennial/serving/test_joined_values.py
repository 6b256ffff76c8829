"""Requests that carry a key instead of the columns that a join brings."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from perennial.errors import StoreUnreachable
from perennial.online_values import Found, Note, Values, key_text, note_key, write_values
from perennial.serving.joined_values import JoinedValues
from perennial.serving.prediction_log import PredictionLog
from perennial.serving.request import BadRequest, Input, Join, read_request, read_signature
from perennial.store import FolderStore

NOON = datetime(2024, 1, 1, 12)
PLACE = note_key("depots", ["name"])
SIGNATURE = read_signature({
    "inputs": [
        {"name": "weight", "type": "float"}, {"name": "waiting", "type": "int", "nullable": True},
        {"name": "belts", "type": "float", "nullable": True}, {"name": "near_waiting", "type": "int", "nullable": True},
    ],
    "time_zone": "Europe/Berlin", "strict": True, "moment": "at",
    "joins": [
        {
            "name": "depots", "values": PLACE, "key": [{"name": "depot", "type": "string"}],
            "columns": {"waiting": "waiting", "belts": "belts"}, "horizon_days": 0.5,
        },
        {
            "name": "near_depots", "values": PLACE, "key": [{"name": "near", "type": "string"}],
            "columns": {"near_waiting": "waiting"}, "horizon_days": 1,
        },
    ],
})  # fmt: skip


def export(store: FolderStore, folder: Path, version: int, *values: tuple[list[Any], datetime, dict[str, Any]]) -> None:
    """Put values into the store as an ingestion does."""
    path = folder / f"{version}.sqlite"
    count = write_values(path, ((key_text(key), when, columns) for key, when, columns in values))
    file = f"online/depots/{version}.sqlite"
    store.upload(path, file)
    note = Note(file=file, sha256=store.sha256(file), version=version, columns=("belts", "waiting"), keys=count, made=NOON)
    store.write(PLACE, note.model_dump_json().encode())


class Asked:
    """A finder that knows the depot north since noon, and what it was asked."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, str, datetime]] = []

    def __call__(self, join: Join, key: str, moment: datetime) -> Found:
        self.questions.append((join.name, key, moment))
        age = moment - NOON
        if key != '["north"]':
            return Found("unknown_key")
        return Found("found", age, {"waiting": 7, "belts": 0.1 + 0.2}) if age <= join.horizon else Found("too_old", age)


def read(finder: Asked | None, *rows: dict[str, Any], **meta: Any) -> Any:
    """A request with these rows."""
    return read_request(json.dumps({"data": {"rows": rows}, **({"meta": meta} if meta else {})}), SIGNATURE, finder=finder)


def test_a_row_with_a_key_gets_what_it_finds() -> None:
    """SY-03, SE-01: Its columns are those of the key at its own event time; each join has its own key and horizon; what was found and how
    old it was is told of each row."""
    asked = Asked()
    request = read(asked, {"weight": 1.5, "depot": "north", "near": "south", "at": "2024-01-01T13:00:00"})
    assert request.rows == [{"weight": 1.5, "waiting": 7, "belts": 0.1 + 0.2, "near_waiting": None}]
    assert request.found == {
        0: {"depots": Found("found", timedelta(hours=1), {"waiting": 7, "belts": 0.1 + 0.2}), "near_depots": Found("unknown_key")}
    }
    assert asked.questions == [("depots", '["north"]', datetime(2024, 1, 1, 13)), ("near_depots", '["south"]', datetime(2024, 1, 1, 13))]
    assert request.columns["waiting"].tolist() == [7.0]
    assert request.ignored == ()


def test_a_row_that_has_a_column_is_taken_at_its_word() -> None:
    """SY-03: No join is asked whose columns, or one of them, the row has; what it leaves out besides is null."""
    asked = Asked()
    request = read(asked, {"weight": 1.5, "depot": "north", "waiting": 3, "near_waiting": 4})
    assert request.rows == [{"weight": 1.5, "waiting": 3, "belts": None, "near_waiting": 4}]
    assert (request.found, asked.questions) == ({0: {}}, [])
    assert read(asked, {"weight": 1.5, "waiting": None, "belts": None, "near_waiting": None}).found == {}


def test_the_moment_is_the_rows_else_the_requests_else_now() -> None:
    """SY-03: As wall time of the dataset's zone, whatever offset a caller writes."""
    asked = Asked()
    read(asked, {"weight": 1.0, "depot": "north", "near_waiting": 1, "at": "2024-01-01T12:00:00Z"})
    read(asked, {"weight": 1.0, "depot": "north", "near_waiting": 1}, tags={"event_time": "2024-01-01T12:30:00Z"})
    read(asked, {"weight": 1.0, "depot": "north", "near_waiting": 1, "at": None})
    moments = [moment for _, _, moment in asked.questions]
    assert moments[:2] == [datetime(2024, 1, 1, 13), datetime(2024, 1, 1, 13, 30)]
    assert abs(moments[2] - datetime.now(timezone.utc).astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)) < timedelta(minutes=1)


def test_rows_that_find_nothing_are_null() -> None:
    """SY-03: A row without the key, with an unknown one, or with one that is too old has null, as the signature says, and is told."""
    asked = Asked()
    request = read(
        asked,
        {"weight": 1.0, "near_waiting": 1},
        {"weight": 1.0, "near_waiting": 1, "depot": "east"},
        {"weight": 1.0, "near_waiting": 1, "depot": "north", "at": "2024-01-02T12:00"},
    )
    assert [row["waiting"] for row in request.rows] == [None, None, None]
    assert [request.found[place]["depots"].state for place in range(3)] == ["no_key", "unknown_key", "too_old"]
    assert request.found[2]["depots"].age == timedelta(days=1)


def test_a_key_of_another_type_is_refused() -> None:
    """SE-01: In a sentence that names field and value; so is an event time that is none. Other unknown fields are refused as ever."""
    for row, why in (
        ({"depot": 7}, r"Row 0: depot must be a string, not 7\."),
        ({"at": "noon"}, r"Row 0: at must be a time like .*, not 'noon'\.|Row 0: at must be a time like .*noon"),
        ({"deepot": "north"}, "Row 0 has the unknown field"),
    ):
        with pytest.raises(BadRequest, match=why):
            read(Asked(), {"weight": 1.0, **row})


def test_a_version_without_a_finder_reads_nulls() -> None:
    """SE-04: Scores in batches have the columns; nothing is looked up for them."""
    assert read(None, {"weight": 1.0, "depot": "north"}).rows[0]["waiting"] is None


def test_keys_have_one_form() -> None:
    """SY-03: Whole numbers that are written with a point, times with an offset, and truth values find what the table's values find."""
    signature = read_signature({
        "inputs": [{"name": "x", "type": "float", "nullable": True}], "moment": "at", "time_zone": "Europe/Berlin",
        "joins": [{
            "name": "j", "values": "v", "columns": {"x": "x"}, "horizon_days": 1,
            "key": [{"name": "n", "type": "int"}, {"name": "day", "type": "timestamp"}, {"name": "new", "type": "bool"}],
        }],
    })  # fmt: skip
    asked = Asked()
    body = json.dumps({"data": {"rows": [{"n": 7.0, "day": "2024-01-01T00:00:00Z", "new": True}]}})
    read_request(body, signature, finder=asked)
    assert asked.questions[0][1] == key_text([7, datetime(2024, 1, 1, 1), True]) == '[7, "2024-01-01T01:00:00.000000", true]'


def test_the_newest_value_that_had_happened_counts(tmp_path: Path) -> None:
    """SY-03: Up to the horizon, which belongs to it; what is yet to happen does not count, and is told from a key that nobody knows."""
    path = tmp_path / "values.sqlite"
    rows = [("a", NOON, {"v": 1}), ("a", NOON + timedelta(hours=2), {"v": 2})]
    assert write_values(path, rows) == 2
    values = Values(path)
    assert values.find("a", NOON + timedelta(hours=1), timedelta(hours=1)) == Found("found", timedelta(hours=1), {"v": 1})
    assert values.find("a", NOON + timedelta(hours=1, microseconds=1), timedelta(hours=1)).state == "too_old"
    assert values.find("a", NOON + timedelta(hours=2), timedelta(hours=1)).values == {"v": 2}
    assert values.find("a", NOON - timedelta(microseconds=1), timedelta(days=9)) == Found("not_yet")
    assert values.find("b", NOON, timedelta(days=9)) == Found("unknown_key")
    values.close()
    with pytest.raises(sqlite3.ProgrammingError):
        values.find("a", NOON, timedelta(days=9))


def test_a_server_takes_newer_values_and_keeps_old_ones_where_it_must(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SY-03, SE-12: It begins without values, takes them once they are exported, and newer ones; a damaged file or a store that does not
    answer leaves it what it has, and is said once."""
    store, join = FolderStore(str(tmp_path / "store")), SIGNATURE.joins[0]
    values = JoinedValues(store, SIGNATURE.joins, tmp_path / "home", refresh_seconds=3600)
    assert values.find(join, '["north"]', NOON) == Found("unavailable")
    export(store, tmp_path, 1, (["north"], NOON, {"waiting": 7}))
    values.refresh()
    assert values.find(join, '["north"]', NOON).values == {"waiting": 7}
    export(store, tmp_path, 2, (["north"], NOON, {"waiting": 8}))
    values.refresh()
    assert values.find(join, '["north"]', NOON).values == {"waiting": 8}
    assert len(list((tmp_path / "home").iterdir())) == 1
    export(store, tmp_path, 3, (["north"], NOON, {"waiting": 9}))
    store.write("online/depots/3.sqlite", b"damaged")
    for _ in range(2):
        values.refresh()
    assert values.find(join, '["north"]', NOON).values == {"waiting": 8}
    assert sum("is not as it was written" in line.message for line in caplog.records) == 1
    monkeypatch.setattr(store, "read", lambda key: (_ for _ in ()).throw(StoreUnreachable("The store does not answer.")))
    values.refresh()
    assert values.find(join, '["north"]', NOON).values == {"waiting": 8}
    values.close()


def test_the_log_says_what_was_found(tmp_path: Path) -> None:
    """SY-03, SE-08: Of each row that asked; a row that brought its columns has nothing of it."""
    import numpy as np

    store = FolderStore(str(tmp_path))
    log = PredictionLog(store, "m", 1)
    found = {0: {"depots": Found("found", timedelta(minutes=90), {"waiting": 7})}, 1: {"depots": Found("no_key")}, 2: {}}
    log.record("p", [{"x": 1}] * 3, np.zeros((3, 1)), 1.0, body_bytes=9, found=found)
    log.segments.close()
    lines = [json.loads(line) for stored in store.list("predictions/m") for line in store.read(stored.key).splitlines()]
    assert [line.get("joined") for line in lines] == [
        {"depots": {"state": "found", "age_seconds": 5400.0}}, {"depots": {"state": "no_key"}}, None,
    ]  # fmt: skip


def test_a_key_of_numbers_is_an_input_too() -> None:
    """SE-01: A key that is an input is read and checked as one."""
    signature = read_signature({
        "inputs": [{"name": "n", "type": "int"}, {"name": "x", "type": "float", "nullable": True}], "moment": "_landed",
        "joins": [{"name": "j", "values": "v", "columns": {"x": "x"}, "horizon_days": 1, "key": [{"name": "n", "type": "int"}]}],
    })  # fmt: skip
    request = read_request(b'{"data": {"rows": [{"n": 3}]}}', signature, finder=Asked())
    assert (request.rows, signature.joins[0].key) == ([{"n": 3, "x": None}], (Input("n", "int"),))


@pytest.mark.parametrize("content", [b"", b"half written", b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_this_machine_damaged_is_fetched_again(tmp_path: Path, content: bytes) -> None:
    """SY-03, SE-01: A server that finds a broken file where it had fetched one, after a power cut, takes the store's."""
    store = FolderStore(str(tmp_path / "store"))
    export(store, tmp_path, 1, (["north"], NOON, {"waiting": 7}))
    (join, _), folder = SIGNATURE.joins, tmp_path / "here"
    folder.mkdir()
    note = Note.model_validate_json(store.read(PLACE))
    (folder / f"{note.sha256}.sqlite").write_bytes(content)
    values = JoinedValues(store, (join,), folder, refresh_seconds=1000)
    assert values.find(join, '["north"]', NOON).values == {"waiting": 7}
    values.close()


def test_no_request_fails_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """SY-03, SE-01: What is no such file counts as unavailable, and the next look takes a better one."""
    store = FolderStore(str(tmp_path / "store"))
    path = tmp_path / "garbage"
    path.write_bytes(b"garbage" * 1000)
    store.upload(path, "online/depots/1.sqlite")
    sha256 = store.sha256("online/depots/1.sqlite")
    note = Note(file="online/depots/1.sqlite", sha256=sha256, version=1, columns=("waiting",), keys=1, made=NOON)
    store.write(PLACE, note.model_dump_json().encode())
    (join, _) = SIGNATURE.joins
    values = JoinedValues(store, (join,), tmp_path / "here", refresh_seconds=1000)
    assert values.find(join, '["north"]', NOON).state == "unavailable"
    export(store, tmp_path, 2, (["north"], NOON, {"waiting": 7}))
    values.refresh()
    assert values.find(join, '["north"]', NOON).state == "found"
    values.close()


def test_another_version_with_the_same_values_keeps_its_file(tmp_path: Path) -> None:
    """SY-03: The file of the values that are asked stays on this machine."""
    store = FolderStore(str(tmp_path / "store"))
    (join, _), folder = SIGNATURE.joins, tmp_path / "here"
    export(store, tmp_path, 1, (["north"], NOON, {"waiting": 7}))
    values = JoinedValues(store, (join,), folder, refresh_seconds=1000)
    (fetched,) = folder.iterdir()
    note = Note.model_validate_json(store.read(PLACE))
    store.write(PLACE, note.model_copy(update={"version": 2}).model_dump_json().encode())
    values.refresh()
    assert list(folder.iterdir()) == [fetched]
    assert values.find(join, '["north"]', NOON).state == "found"
    values.close()
