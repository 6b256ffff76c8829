"""A PostgreSQL that is written to, killed and changed while it is read: exactly its rows, each once."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perennial.errors import SourceRefused, SourceUnreachable
from perennial.sources.collected import CollectedLog
from perennial.specs import Column, DatasetSpec, FileForm, SqlSource
from perennial.testing.collecting import Collecting

from .conftest import Postgres


def _rides(tmp_path: Path, postgres: Postgres, *, rows: str = "final", files: FileForm | None = None, **source: Any) -> Collecting:
    spec = DatasetSpec(
        name="rides", title="Rides", owner="fleet", key=("id",), event_time="at", rows=rows, time_zone="America/New_York",
        files=files or FileForm(),
        on_known_key="replace" if rows == "corrected" else "refuse",
        source=SqlSource(**{"connection": "fleet", "table": "rides", "cursor": "changed", **source}),
        columns=(
            Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="fare", type="float", nullable=True),
            Column(name="zone", type="string", nullable=True), Column(name="paid", type="bool", nullable=True),
        ),
    )  # fmt: skip
    fleet = {"type": "postgres", "host": "127.0.0.1", "port": postgres.port, "login": "postgres", "database": "postgres"}
    return Collecting(spec, tmp_path / "store", {"fleet": fleet})


@pytest.fixture
def rides(postgres: Postgres) -> Postgres:
    """The server with an empty table."""
    postgres.sql(
        "drop table if exists rides cascade",
        "create table rides (id bigint primary key, at timestamptz, fare numeric, zone text, paid boolean, changed timestamptz)",
    )
    return postgres


def _insert(first: int, last: int, changed: str = "timestamptz '2026-01-01' + make_interval(secs => i)") -> str:
    columns = "i, timestamptz '2026-03-01 12:00Z', i * 0.1, 'z' || i, i % 2 = 0"
    return f"insert into rides select {columns}, {changed} from generate_series({first}, {last}) i"


def test_from_a_table_to_a_table(tmp_path: Path, rides: Postgres) -> None:
    """DM-01: First look, nothing new, what came since; decimals, booleans and moments are exact, in the dataset's zone."""
    rides.sql(_insert(1, 5000))
    table = _rides(tmp_path, rides, file_rows=2000)
    assert (table.collect().rows, table.collect().outcome) == (5000, "skipped")
    rides.sql(_insert(5001, 5003), "insert into rides values (0, '2026-03-01', 1, 'null', true, null)")
    third = table.collect()
    assert (third.rows, "1 row of rides has no changed and was left out" in third.sentence) == (3, True)
    table.take_in()
    assert table.keys() == dict.fromkeys(range(1, 5004), 1)
    one = next(row for row in table.rows() if row["id"] == 1001)
    assert one == {"id": 1001, "at": datetime(2026, 3, 1, 7), "fare": 100.1, "zone": "z1001", "paid": False}


def test_values_without_a_scale_and_of_other_types(tmp_path: Path, rides: Postgres) -> None:
    """DM-01, DM-02: Numbers of any precision, UUIDs and JSON as text, days as times; NaN is missing."""
    rides.sql(
        "create view odd as select i as id, current_date as at, case i when 1 then 'NaN'::numeric else 1.0000000000000000000001 end"
        " as fare, case i when 1 then gen_random_uuid()::text else '{\"a\": [1]}'::jsonb::text end as zone, null::boolean as paid,"
        " i as changed from generate_series(1, 2) i",
    )
    table = _rides(tmp_path, rides, table="odd")
    table.collect()
    assert not table.take_in().refused
    first, second = table.rows()
    assert (first["fare"], len(first["zone"]), second["fare"], second["zone"]) == (None, 36, 1.0, '{"a": [1]}')


def test_while_it_is_written_to(tmp_path: Path, rides: Postgres) -> None:
    """DM-01: Writers that commit out of order, within the lag: no row is lost, none is doubled."""
    writers = [threading.Thread(target=_write, args=(rides, worker)) for worker in range(4)]
    table = _rides(tmp_path, rides, lag=2)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        table.collect()
    for writer in writers:
        writer.join()
    table.collect()
    assert not table.take_in().refused
    assert table.keys() == dict.fromkeys([worker * 100 + number for worker in range(4) for number in range(30)], 1)


def _write(rides: Postgres, worker: int) -> None:
    """Rows whose time is that of their transaction's begin, committed a while later."""
    with psycopg.connect(rides._address) as connection:
        for number in range(30):
            connection.execute(f"insert into rides values ({worker * 100 + number}, now(), 1, 'z', true, now())")
            time.sleep(0.01 * (worker + 1))
            connection.commit()


def test_gone_and_back(tmp_path: Path, rides: Postgres) -> None:
    """DM-01, OP-08: A server that is stopped is a fault that says where it was; once it is back, the look goes on."""
    rides.sql(_insert(1, 10))
    table = _rides(tmp_path, rides)
    table.collect()
    rides.stop()
    try:
        with pytest.raises(SourceUnreachable, match=rf"127.0.0.1:{rides.port}.*connection fleet, and run it again"):
            table.collect()
    finally:
        rides.start()
    rides.sql(_insert(11, 12))
    assert table.collect().rows == 2
    table.take_in()
    assert table.keys() == dict.fromkeys(range(1, 13), 1)


def test_stopped_while_it_is_read(tmp_path: Path, rides: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01, OP-08: What was read before the server went is safe; the next look reads the rest."""
    rides.sql(_insert(1, 20_000))
    table = _rides(tmp_path, rides, file_rows=1000)
    add = CollectedLog.add

    def add_and_stop(log: CollectedLog, place: str, piece: Any, after: int, run: str) -> Any:
        entry = add(log, place, piece, after, run)
        if entry.number == 3:
            rides.stop()
        return entry

    monkeypatch.setattr(CollectedLog, "add", add_and_stop)
    with pytest.raises(SourceUnreachable):
        table.collect()
    rides.start()
    before = sum(1 for _ in table.store.list("landing/rides"))
    assert 3 <= before < 20
    table.collect()
    table.take_in()
    assert table.keys() == dict.fromkeys(range(1, 20_001), 1)


def test_killed_at_any_write(tmp_path: Path, rides: Postgres) -> None:
    """DM-01, DE-22: By SIGKILL, then run again: every row once."""
    rides.sql(_insert(1, 20, "timestamptz '2026-01-01' + make_interval(secs => i / 3)"))
    before = 1
    while True:
        (tmp_path / str(before)).mkdir()
        table = _rides(tmp_path / str(before), rides, file_rows=7, lag=2)
        killed = table.collect_killed(before)
        table.take_in()
        table.collect()
        assert not table.take_in().refused
        assert table.keys() == dict.fromkeys(range(1, 21), 1)
        if not killed:
            break
        before += 2
    assert before > 15


def test_the_table_changes(tmp_path: Path, rides: Postgres) -> None:
    """DM-01, DM-02: A renamed column is refused before anything is read; said in the spec, the look goes on; missing rights are told."""
    rides.sql(_insert(1, 3))
    table = _rides(tmp_path, rides)
    table.collect()
    rides.sql("alter table rides rename column fare to price", _insert(4, 4))
    with pytest.raises(SourceRefused, match="no column fare"):
        table.collect()
    mended = _rides(tmp_path, rides, files=FileForm(fields={"fare": "price"}))
    assert mended.collect().rows == 1
    mended.take_in()
    assert mended.keys() == dict.fromkeys(range(1, 5), 1)
    rides.sql("drop role if exists guest", "create role guest login")
    guest = Collecting(
        mended.spec.model_copy(update={"source": mended.spec.source.model_copy(update={"connection": "guest"})}),
        tmp_path / "guests", {"guest": {"url": rides.url.replace("postgres@", "guest@")}},
    )  # fmt: skip
    with pytest.raises(SourceRefused, match=r"permission denied for table rides\. Give the user the right"):
        guest.collect()


def test_corrections_and_deletions(tmp_path: Path, rides: Postgres) -> None:
    """DM-01, DM-02: Rows that are changed with a new cursor replace their own."""
    rides.sql(_insert(1, 6))
    table = _rides(tmp_path, rides, rows="corrected", lag=3600)
    table.collect()
    rides.sql(
        "update rides set zone = 'new', changed = changed + interval '1 hour' where id in (2, 5)",
        "update rides set zone = 'quiet' where id = 6",
    )
    second = table.collect()
    assert (second.rows, second.changed) == (3, 3)
    assert not table.take_in().refused
    assert [row["zone"] for row in table.rows()] == ["z1", "new", "z3", "z4", "new", "quiet"]
