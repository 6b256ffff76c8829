"""Tables of a database that grow and change, read into a table of ours: exactly the rows of the server, each once."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.errors import Fault, SettingMissing, SourceRefused, SourceUnreachable
from perennial.specs import Column, DatasetSpec, FileForm, SqlSource
from perennial.testing.collecting import Collecting

Sql = Callable[..., None]


@pytest.fixture
def sql(tmp_path: Path) -> Sql:
    """Runs statements on a database with the table `orders`."""

    def sql(*statements: str) -> None:
        with sqlite3.connect(tmp_path / "shop.db") as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    sql("create table orders (id integer primary key, at timestamp, amount numeric, city text, changed integer, secret text)")
    return sql


def _orders(tmp_path: Path, *, rows: str = "final", **source: Any) -> Collecting:
    source = {"url": f"sqlite:///{tmp_path}/shop.db", "table": "orders", "cursor": "changed", **source}
    spec = DatasetSpec(
        name="orders", title="Orders", owner="shop", key=("id",), event_time="at", rows=rows,
        on_known_key="replace" if rows == "corrected" else "refuse", source=SqlSource(**source),
        columns=(
            Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="amount", type="float"),
            Column(name="city", type="string", nullable=True),
        ),
    )  # fmt: skip
    return Collecting(spec, tmp_path / "store")


def _row(number: int, changed: object = None, city: str = "Rome") -> str:
    value = number if changed is None else changed
    return f"insert into orders values ({number}, '2026-03-01 08:00:00', {number}.25, '{city}', {value}, 'x')"


def test_what_is_new_comes_once(tmp_path: Path, sql: Sql) -> None:
    """DM-01: The first look reads all, the second nothing, the third what came since; values and times are the database's."""
    sql(*(_row(number) for number in range(1, 8)))
    orders = _orders(tmp_path, file_rows=3)
    assert (orders.collect().rows, len(orders.take_in().appended)) == (7, 3)
    nothing = orders.collect()
    assert (nothing.outcome, nothing.files) == ("skipped", ())
    assert "Nothing new" in nothing.sentence
    sql(_row(8), _row(9))
    assert orders.collect().rows == 2
    orders.take_in()
    assert [row["id"] for row in orders.rows()] == list(range(1, 10))
    assert orders.rows()[6] == {"id": 7, "at": datetime(2026, 3, 1, 8), "amount": 7.25, "city": "Rome"}


def test_equal_values_at_the_border(tmp_path: Path, sql: Sql) -> None:
    """DM-01: A row that comes later with the largest value that was read is found; those that were read do not come again, wherever a file
    of equal values was cut."""
    sql(*(_row(number, changed=5) for number in range(1, 8)))
    orders = _orders(tmp_path, file_rows=2)
    orders.collect()
    sql(_row(8, changed=5))
    second = orders.collect()
    assert (second.rows, second.repeated) == (1, 7)
    orders.take_in()
    assert orders.keys() == dict.fromkeys(range(1, 9), 1)


def test_open_ends(tmp_path: Path, sql: Sql) -> None:
    """DM-01: With an open end rows of the largest value wait; with an open start nothing is read again."""
    sql(_row(1, changed=1), _row(2, changed=2))
    orders = _orders(tmp_path, range_end="open", range_start="open")
    assert orders.collect().rows == 1
    sql(_row(3, changed=2), _row(4, changed=3))
    third = orders.collect()
    assert (third.rows, third.repeated) == (2, 0)
    orders.take_in()
    assert orders.keys() == dict.fromkeys((1, 2, 3), 1)


def test_late_rows_come_within_the_lag(tmp_path: Path, sql: Sql) -> None:
    """DM-01: A row with a smaller value that was committed later is found within the lag, and what was read there is dropped; before it,
    not."""
    sql(*(_row(number) for number in range(100, 120)))
    orders = _orders(tmp_path, lag=10)
    orders.collect()
    sql(_row(1, changed=112), _row(2, changed=100))
    late = orders.collect()
    assert (late.rows, late.repeated) == (1, 11)
    sql(_row(130), _row(3, changed=121))
    assert orders.collect().rows == 2
    orders.take_in()
    assert orders.keys() == dict.fromkeys([1, 3, *range(100, 120), 130], 1)


def test_rows_without_a_cursor_are_counted(tmp_path: Path, sql: Sql) -> None:
    """DM-01: They are left out with a word, or the look is refused; nothing is lost silently."""
    sql(_row(1), _row(2, changed="null"), _row(3, changed="null"))
    counted = _orders(tmp_path).collect()
    assert counted.rows == 1
    assert "2 rows of orders have no changed and were left out" in counted.sentence
    with pytest.raises(SourceRefused, match="2 rows of orders have no changed"):
        _orders(tmp_path, null_cursors="refuse").collect(anew=True)


def test_changed_rows_replace_or_stand_apart(tmp_path: Path, sql: Sql) -> None:
    """DM-01, DM-02: With corrections a changed row replaces its own; where no row may change it lands in a file of its own, so that its
    refusal costs the new rows nothing."""
    for rows in ("corrected", "final"):
        sql("delete from orders", *(_row(number) for number in (1, 2, 3)))
        folder = tmp_path / rows
        folder.mkdir()
        orders = _orders(tmp_path, rows=rows, lag=10)
        orders = Collecting(orders.spec, folder / "store")
        orders.collect()
        orders.take_in()
        sql("update orders set city = 'Bern' where id = 2", _row(4))
        result = orders.collect()
        assert (result.rows, result.changed) == (2, 1)
        taken = orders.take_in()
        if rows == "corrected":
            assert (len(result.files), not taken.refused) == (1, True)
            assert [row["city"] for row in orders.rows()] == ["Rome", "Bern", "Rome", "Rome"]
        else:
            assert result.files == ("orders-00000002.parquet", "orders-changed-00000002.parquet")
            assert list(taken.refused) == ["orders-changed-00000002.parquet"]
            assert [row["city"] for row in orders.rows()] == ["Rome"] * 4


def test_a_table_without_a_cursor_is_compared_whole(tmp_path: Path, sql: Sql) -> None:
    """DM-01: Only what was added or changed lands."""
    sql(*(_row(number) for number in range(1, 6)))
    orders = _orders(tmp_path, cursor="", rows="corrected", file_rows=2)
    assert orders.collect().rows == 5
    assert orders.collect().outcome == "skipped"
    sql("update orders set amount = 9 where id = 4", _row(6))
    assert orders.collect().rows == 2
    orders.take_in()
    assert [row["amount"] for row in orders.rows()] == [1.25, 2.25, 3.25, 9.0, 5.25, 6.25]


def test_a_kill_before_any_write_costs_nothing(tmp_path: Path, sql: Sql) -> None:
    """DM-01, DE-22: Killed before each of its writes in turn, with files taken in between, then run again: every row is in once."""
    sql(*(_row(number) for number in range(1, 8)))
    before, kills = 1, 0
    while True:
        orders = Collecting(_orders(tmp_path, file_rows=2, lag=2).spec, tmp_path / f"store-{before}")
        killed = orders.collect_killed(before)
        orders.take_in()
        orders.collect()
        taken = orders.take_in()
        assert orders.collect().outcome == "skipped"
        assert not taken.refused
        assert orders.keys() == dict.fromkeys(range(1, 8), 1)
        assert not list(orders.store.list("collected/orders/aside"))
        kills += killed
        if not killed:
            break
        before += 1
    assert kills > 15


def test_one_of_two_collectors_wins(tmp_path: Path, sql: Sql) -> None:
    """DM-01, DE-22: Of two at the same time one goes on; the other says so and leaves nothing behind."""
    sql(_row(1))
    orders = _orders(tmp_path)
    put = orders.store.put_if_absent

    class Meanwhile(type(orders.store)):  # type: ignore[misc]
        def put_if_absent(self, key: str, data: bytes) -> bool:
            sql(_row(2))
            orders.collect()
            return bool(put(key, data))

    with pytest.raises(Fault, match="at the same time, and was quicker"):
        orders.collect(Meanwhile(orders.store.root))
    orders.collect()
    orders.take_in()
    assert orders.keys() == {1: 1, 2: 1}
    assert not list(orders.store.list("collected/orders/aside"))
    assert len(list(orders.store.list("collected/orders/memory"))) == 1


def test_a_changed_table_costs_nothing(tmp_path: Path, sql: Sql) -> None:
    """DM-01, DM-02: A column that is gone is refused before anything is read, and read on from there once it is back; a new one is told
    once."""
    sql(_row(1))
    orders = _orders(tmp_path)
    orders.collect()
    sql("alter table orders rename column amount to price", "insert into orders values (2, '2026-03-01', 1, 'x', 2, '')")
    with pytest.raises(SourceRefused, match=r"has no column amount; it has id, at, price, city, changed, secret.*goes on where"):
        orders.collect()
    mended = orders.spec.model_copy(update={"files": FileForm(fields={"amount": "price"})})
    sql("alter table orders add column colour text")
    again = Collecting(mended, Path(orders.store.root))
    told = again.collect()
    assert (told.rows, "new columns, which the spec does not name and nobody reads: colour, price" in told.sentence) == (1, True)
    assert "new columns" not in again.collect().sentence
    orders = again
    orders.take_in()
    assert orders.keys() == {2: 1} | {1: 1}


def test_another_source_is_not_read_with_this_watermark(tmp_path: Path, sql: Sql) -> None:
    """DM-01: The spec names another table: refused with both, unless a person begins anew; what is in already comes to its outcome."""
    sql(_row(1), "create view sales as select * from orders")
    _orders(tmp_path).collect()
    other = _orders(tmp_path, table="sales")
    with pytest.raises(SourceRefused, match=r"orders by changed until .* sales by changed now.*--anew"):
        other.collect()
    assert other.collect(anew=True).files == ("sales-00000002.parquet",)
    assert other.collect().outcome == "skipped"


def test_what_is_not_there_is_a_sentence(tmp_path: Path, sql: Sql) -> None:
    """DM-01, DE-15: No table, no cursor, no driver, no database, no address: what, where, and what to do; passwords are not shown."""
    with pytest.raises(SourceRefused, match=r"no table or view sale: it has orders"):
        _orders(tmp_path, table="sale").collect()
    with pytest.raises(SourceRefused, match="has no column changes"):
        _orders(tmp_path, cursor="changes").collect()
    with pytest.raises(SourceRefused, match=r"There is no file .*/no/shop\.db, the database in url of the source: correct its path"):
        _orders(tmp_path, url=f"sqlite:///{tmp_path}/no/shop.db").collect()
    assert not (tmp_path / "no").exists()
    with pytest.raises(SettingMissing, match=r"not installed.*requirements"):
        _orders(tmp_path, url="firebird://h/d").collect()
    hidden = Collecting(_orders(tmp_path, url="", connection="shop").spec, tmp_path / "s", {"shop": {"url": "postgres:/x:geheim@"}})
    with pytest.raises(SettingMissing, match="connection shop is none that SQLAlchemy reads") as told:
        hidden.collect()
    assert "geheim" not in str(told.value)
    refused = Collecting(
        hidden.spec, tmp_path / "t", {"shop": {"type": "postgres", "host": "127.0.0.1", "port": 9, "login": "a", "password": "geheim"}}
    )
    with pytest.raises(SourceUnreachable, match=r"127.0.0.1:9.*connection shop, and run it again") as told:
        refused.collect()
    assert "geheim" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "postgresql://a:b@h/d", "table": "t"}, "the address holds a password"),
        ({"url": "postgresql://a:b/c@h/d", "table": "t"}, "the address holds a password"),
        ({"url": "postgresql://a:b c@h/d", "table": "t"}, "the address holds a password"),
        ({"url": "postgresql://h/d?user=a&password=b", "table": "t"}, "the address holds a password"),
        ({"url": "postgresql://h/d?sslPassword=b", "table": "t"}, "the address holds a password"),
        ({"table": "t"}, "either url or connection"),
        ({"url": "sqlite://", "connection": "c", "table": "t"}, "either url or connection"),
        ({"connection": "c", "table": "t", "lag": 3}, "are about a cursor"),
        ({"connection": "c", "table": "t", "cursor": "x", "lag": 3, "range_start": "open"}, "leave one of them out"),
    ],
)
def test_specs_that_do_not_fit(given: dict[str, Any], why: str) -> None:
    """DM-01, SC-05: A password in a spec, and settings that contradict each other."""
    with pytest.raises(ValidationError, match=why):
        SqlSource(**given)


def test_values_that_do_not_fit_are_refused_by_row(tmp_path: Path, sql: Sql) -> None:
    """DM-02: What the database has and the dataset cannot is in quarantine, with its row; the watermark has moved on."""
    sql("create table loose (id integer, at text, amount text, city text, changed integer)",
        "insert into loose values (1, '2026-03-01', '1.5', 'x', 1), (2, '2026-03-01', 'many', 'x', 2)")  # fmt: skip
    orders = _orders(tmp_path, table="loose", file_rows=1)
    orders.collect()
    refused = orders.take_in().refused
    assert list(refused) == ["loose-00000002.parquet"]
    assert "'many' in row 1" in refused["loose-00000002.parquet"]
    assert orders.keys() == {1: 1}
    sql("insert into orders values (3, '2026-03-01', 1, 'x', 'then', '')", "insert into orders values (4, 'noon', 1, 'x', 4, '')")
    with pytest.raises(SourceRefused, match=r"a value that is not of its column's type .*noon"):
        _orders(tmp_path, table="orders").collect(anew=True)


@pytest.mark.parametrize("form", ["2026-03-01 08:00:00", "2026-03-01T08:00:00", "2026-03-01 08:00:00.5", "2026-03-01 08:00:00.250000"])
def test_times_that_sqlite_has_as_texts(tmp_path: Path, form: str) -> None:
    """DM-01: In whatever form a writer puts times into SQLite, the newest is read, and what comes later with the same time, too."""
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("create table orders (id integer, at timestamp)")
        database.execute("insert into orders values (1, ?)", [form.replace("08:", "07:")])
        database.execute("insert into orders values (2, ?)", [form])
    spec = DatasetSpec(
        name="orders", title="Orders", owner="shop", key=("id",), event_time="at",
        columns=(Column(name="id", type="int"), Column(name="at", type="timestamp")),
        source=SqlSource(url=f"sqlite:///{tmp_path}/shop.db", table="orders", cursor="at"),
    )  # fmt: skip
    orders = Collecting(spec, tmp_path / "store")
    assert orders.collect().rows == 2
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("insert into orders values (3, ?)", [form])
    again = orders.collect()
    assert (again.rows, again.repeated) == (1, 1)
    assert orders.collect().rows == 0


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("boolean", "1", "of the type bool"),
        ("blob", "x'00ff'", "of the type bytes"),
        ("time", "'08:00:00'", "of the type time"),
        ("timestamp", "'zzz'", "not of its column's type"),
        ("integer", "'abc'", "a number, a text"),
    ],
)
def test_cursors_that_have_no_order_are_refused(tmp_path: Path, sql: Sql, kind: str, value: str, why: str) -> None:
    """DM-01: A cursor whose values do not grow, or are of several types, is a sentence, and nothing is read by it."""
    sql(f"alter table orders add column mark {kind}", _row(1).replace("'x')", "'x', 5)") if kind == "integer" else "select 1")
    sql(_row(2).replace("'x')", f"'x', {value})"))
    with pytest.raises(SourceRefused, match=why):
        _orders(tmp_path, cursor="mark").collect()


def test_a_cursor_of_another_type_than_before(tmp_path: Path, sql: Sql) -> None:
    """DM-01: Where the column was changed meanwhile, the watermark is of another kind: a sentence says what to do."""
    sql(_row(1))
    orders = _orders(tmp_path)
    orders.collect()
    sql("drop table orders", "create table orders (id integer, at timestamp, amount numeric, city text, changed timestamp, secret text)")
    sql(_row(2, changed="'2026-03-01 08:00:00'"))
    with pytest.raises(SourceRefused, match=r"a number, a time without an offset.*--anew"):
        orders.collect()


def test_a_table_that_was_made_anew_is_told(tmp_path: Path, sql: Sql) -> None:
    """DM-01: A cursor that begins again is below the watermark: nothing is new, and a word says why that may be wrong."""
    sql(_row(10))
    orders = _orders(tmp_path)
    assert "made anew" not in orders.collect().sentence + orders.collect().sentence
    sql("delete from orders", _row(3))
    assert "The largest changed of orders is 3 now, and was 10" in orders.collect().sentence


@pytest.mark.parametrize("kind", ["timestamp", "date", "integer"])
def test_a_lag_that_goes_beyond_all_values(tmp_path: Path, sql: Sql, kind: str) -> None:
    """DM-01: A lag that no value is before begins at the beginning."""
    sql(f"alter table orders add column mark {kind}")
    value = {"timestamp": "'2026-03-01 08:00:00'", "date": "'2026-03-01'", "integer": "5"}[kind]
    sql(_row(1).replace("'x')", f"'x', {value})"))
    orders = _orders(tmp_path, cursor="mark", lag=1e300)
    assert orders.collect().rows == 1
    sql(_row(2).replace("'x')", f"'x', {value})"))
    assert orders.collect().rows == 1


def test_texts_that_the_database_takes_for_equal(tmp_path: Path, sql: Sql) -> None:
    """DM-01: A database may order texts without regard to case: what is read again by that lands once."""
    sql("alter table orders add column mark text collate nocase")
    sql(*(_row(number).replace("'x')", f"'x', '{mark}')") for number, mark in enumerate(("a", "B", "b"), start=1)))
    orders = _orders(tmp_path, cursor="mark")
    assert [orders.collect().rows, orders.collect().rows] == [3, 0]


def test_odd_names(tmp_path: Path, sql: Sql) -> None:
    """DM-01: Tables and columns may be called anything, a column as the cursor is called within a look, and refer to what is not there."""
    name = 'Group By "of" %(x)s :y ' + "t" * 250
    quoted = '"' + name.replace('"', '""') + '"'
    sql(f"create table {quoted} (id integer, at timestamp, _cursor text, {quoted} integer, other integer references nowhere (id))")
    sql(f"insert into {quoted} values (1, '2026-03-01 08:00:00', 'x', 7, 8)")
    spec = DatasetSpec(
        name="orders", title="Orders", owner="shop", key=("id",), event_time="at", files=FileForm(fields={"mark": "_cursor", "n": name}),
        columns=(
            Column(name="id", type="int"), Column(name="at", type="timestamp"),
            Column(name="mark", type="string"), Column(name="n", type="int"),
        ),
        source=SqlSource(url=f"sqlite:///{tmp_path}/shop.db", table=name, cursor=name),
    )  # fmt: skip
    orders = Collecting(spec, tmp_path / "store")
    assert [orders.collect().rows, orders.collect().rows] == [1, 0]
    orders.take_in()
    assert orders.rows() == [{"id": 1, "at": datetime(2026, 3, 1, 8), "mark": "x", "n": 7}]


@pytest.mark.parametrize("since", ["nan", "2026-03-01T08:00:00+02:00"])
def test_a_since_that_means_nothing(tmp_path: Path, sql: Sql, since: str) -> None:
    """DM-01: A beginning that nothing is after, or whose offset the column has not, is refused."""
    sql("alter table orders add column mark float", _row(1).replace("'x')", "'x', 1)"))
    with pytest.raises(SourceRefused, match="is no value of a column"):
        _orders(tmp_path, cursor="mark" if since == "nan" else "at", since=since).collect()


def test_a_text_that_is_no_text(tmp_path: Path, sql: Sql) -> None:
    """DM-01: Bytes that are no UTF-8 are refused: trying again does not help."""
    sql(_row(1).replace("'Rome'", "cast(x'ff41' as text)"))
    with pytest.raises(SourceRefused, match="decode"):
        _orders(tmp_path).collect()


@pytest.mark.parametrize(
    "connection",
    [
        {"type": "postgres", "host": "127.0.0.1", "port": 1, "login": "u", "password": "PLANTED"},
        {"type": "postgres", "host": "127.0.0.1", "port": 1, "login": "u", "extra": {"sslpassword": "PLANTED"}},
        {"url": "postgresql://127.0.0.1:1/d?user=u&password=PLANTED"},
        {"url": "postgresql://u:PLAN/TED@127.0.0.1:1/d"},
        {"url": "postgresql://u:PLANTED@127.0.0.1:port/d"},
    ],
)
def test_no_sentence_has_a_password(tmp_path: Path, connection: dict[str, Any]) -> None:
    """SE-04: Wherever in a connection it stands, neither the sentence nor what caused it shows it."""
    orders = _orders(tmp_path, url="", connection="shop")
    orders = Collecting(orders.spec, tmp_path / "store", {"shop": connection})
    with pytest.raises((SourceUnreachable, SettingMissing)) as caught:
        orders.collect()
    told = "".join(traceback.format_exception(caught.value))
    assert "PLANTED" not in told
    assert "PLAN/TED" not in told
