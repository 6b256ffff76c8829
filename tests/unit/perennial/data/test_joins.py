"""What a model's joins find: against a plain dictionary, however batches arrive, are corrected and deleted."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial import discovery
from perennial.data import tables
from perennial.data.joins import FoundRows, JoinedTable, as_of, newest_values, wall
from perennial.data.merging import Rule
from perennial.data.snapshots import Snapshot, empty_dataset, joined_with, model_snapshot, table_of
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.specs import Column, DatasetSpec, GateSpec, JoinSpec, ModelSpec
from perennial.stages._snapshots import digests_since, joins_used, with_joins_of
from perennial.store import FolderStore, Store

FIRST = datetime(2024, 1, 1)
ORDERS = DatasetSpec(
    name="orders", title="Orders", owner="tests", key=("id",), event_time="at",
    columns=(
        Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="shop", type="string", nullable=True),
        Column(name="paid", type="float"),
    ),
)  # fmt: skip
PRICES = DatasetSpec(
    name="prices", title="Prices", owner="tests", key=("number",), event_time="since", rows="corrected", on_known_key="replace",
    deleted="gone",
    columns=(
        Column(name="number", type="int"), Column(name="shop", type="string", nullable=True),
        Column(name="since", type="timestamp", nullable=True), Column(name="price", type="float", nullable=True),
        Column(name="gone", type="bool", nullable=True),
    ),
)  # fmt: skip
JOIN = JoinSpec(dataset="prices", key=("shop",), columns=("price",), horizon_days=5)
MODEL = ModelSpec(
    name="sums", title="Sums", owner="tests", dataset="orders", task="regression", inputs=("price",), label="paid", joins=(JOIN,),
    gate=GateSpec(metric="rmse", floors={}),
)  # fmt: skip


def day(number: float) -> datetime:
    """So many days after the first."""
    return FIRST + timedelta(days=number)


@dataclass(frozen=True)
class Line:
    """A line of a landed file: a row by its number, or with `gone` the end of the row of that number."""

    number: int
    shop: str = "a"
    since: int = 0
    price: int = 0
    gone: bool = False


class Plain:
    """The same in plain Python: a dictionary of rows by number for each day on which something landed."""

    def __init__(self, batches: Sequence[tuple[int, Sequence[Line]]], until: int | None = None, delay: int = 0) -> None:
        self.until, self.delay = until, delay
        self.facts: list[dict[str, Any]] = []  # every row that ever was there
        there: dict[int, dict[str, Any]] = {}
        for version, (landed, lines) in enumerate(batches, start=1):
            for line in lines:
                if line.number in there and (line.gone or _said(line) != _said(there[line.number]["line"])):
                    there.pop(line.number)["left"] = landed
                elif line.gone or line.number in there:
                    continue
                if not line.gone:
                    there[line.number] = {"line": line, "landed": landed, "left": None, "version": version}
                    self.facts.append(there[line.number])

    def finds(self, shop: str | None, moment: int, horizon: int) -> Line | None:
        """What a row of a shop finds at a moment."""
        counting = [
            fact
            for fact in self.facts
            if fact["line"].shop == shop
            and moment - horizon <= fact["line"].since <= moment
            and self._known(fact) <= moment
            and (fact["left"] is None or fact["left"] > moment)
            and (fact["left"] is None or self.until is None or fact["left"] > self.until)
        ]
        best = max(counting, default=None, key=lambda f: (f["line"].since, self._known(f), f["version"], f["line"].number))
        return best["line"] if best else None

    def _known(self, fact: Mapping[str, Any]) -> int:
        is_history = self.until is not None and fact["landed"] <= self.until
        return min(fact["landed"], fact["line"].since + self.delay) if is_history else fact["landed"]

    def as_facts(self) -> pa.Table:
        """The facts as `load_facts` makes them."""
        kept = [f for f in self.facts if f["left"] is None or self.until is None or f["left"] > self.until]
        when = pa.timestamp("us")
        return pa.table(
            {
                "_k0": pa.array([f["line"].shop for f in kept], pa.string()),
                "_t": pa.array([day(f["line"].since) for f in kept], when),
                "_known": pa.array([day(self._known(f)) for f in kept], when),
                "_gone": pa.array([None if f["left"] is None else day(f["left"]) for f in kept], when),
                "_version": pa.array([f["version"] for f in kept], pa.int64()),
                "_r0": pa.array([f["line"].number for f in kept], pa.int64()),
                "price": pa.array([f["line"].price for f in kept], pa.float64()),
            }
        )


def _said(line: Line) -> tuple[Any, ...]:
    return line.shop, line.since, line.price


LINES = st.builds(
    Line, st.integers(0, 4), st.sampled_from("ab"), st.integers(0, 8), st.integers(1, 9), st.sampled_from([False] * 4 + [True])
)
BATCHES = st.lists(
    st.tuples(st.integers(0, 10), st.lists(LINES, min_size=1, max_size=4, unique_by=lambda line: line.number)), min_size=1, max_size=7
)
ASKED = list(itertools.product(("a", "b", "c", None), range(-1, 13)))
ROWS = pa.table({"shop": pa.array([shop for shop, _ in ASKED]), "at": pa.array([day(at) for _, at in ASKED], pa.timestamp("us"))})


def in_order(batches: list[tuple[int, list[Line]]]) -> list[tuple[int, list[Line]]]:
    """Batches as they can land: one after the other."""
    return sorted(batches, key=lambda batch: batch[0])


@settings(max_examples=80, deadline=None)
@given(batches=BATCHES.map(in_order), horizon=st.integers(1, 9), until=st.none() | st.integers(-1, 11), delay=st.integers(0, 3))
def test_rows_find_what_a_dictionary_finds(batches: list[tuple[int, list[Line]]], horizon: int, until: int | None, delay: int) -> None:
    """DM-13: Of all rows of the key that had happened, were known and not yet replaced or deleted, none too old, the newest: with
    events that land in any order, late corrections of value, time and key, deletions, and a history that was loaded at once."""
    plain = Plain(batches, until, delay)
    facts = plain.as_facts()
    found = as_of(ROWS, "at", facts, ["shop"], timedelta(days=horizon)).to_pylist()
    expected = [plain.finds(shop, at, horizon) for shop, at in ASKED]
    numbers, prices = facts["_r0"].to_pylist(), facts["price"].to_pylist()
    assert [None if place is None else (numbers[place], prices[place]) for place in found] == [
        line and (line.number, float(line.price)) for line in expected
    ]


@settings(max_examples=20, deadline=None)
@given(batches=BATCHES.map(in_order), horizon=st.integers(1, 9))
def test_what_comes_later_changes_nothing_of_the_past(batches: list[tuple[int, list[Line]]], horizon: int) -> None:
    """DM-13: For every row that happened before a batch landed, what it finds with that batch and all later ones is what it found without:
    a late row of an old event, a correction, a deletion never reach back."""
    whole = Plain(batches)
    now = as_of(ROWS, "at", whole.as_facts(), ["shop"], timedelta(days=horizon)).to_pylist()
    numbers = whole.as_facts()["_version"].to_pylist(), whole.as_facts()["_r0"].to_pylist()
    for count in range(len(batches)):
        before = Plain(batches[:count])
        then = as_of(ROWS, "at", before.as_facts(), ["shop"], timedelta(days=horizon)).to_pylist()
        known = before.as_facts()["_version"].to_pylist(), before.as_facts()["_r0"].to_pylist()
        for place, (_, at) in enumerate(ASKED):
            if at < batches[count][0]:
                was, is_now = then[place], now[place]
                assert (was is None) == (is_now is None)
                assert was is None or [values[was] for values in known] == [values[is_now] for values in numbers]


# At level of tables


CLOCK = {"now": FIRST}  # when the next batch lands, UTC


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> None:
    """The datasets, and commits that are made when CLOCK says."""
    put = tables.put_commit

    def put_then(store: Store, name: str, version: int, info: Mapping[str, Any], actions: Any) -> bool:
        when = CLOCK["now"].replace(tzinfo=timezone.utc)
        return put(store, name, version, {**info, "timestamp": int(when.timestamp() * 1000)}, actions)

    monkeypatch.setattr(tables, "put_commit", put_then)
    monkeypatch.setattr(discovery, "dataset", {"orders": ORDERS, "prices": PRICES}.__getitem__)


def land(store: Store, landed: float, lines: Sequence[Line], label: str = "") -> int:
    """Take in a batch of prices; the version that has it."""
    CLOCK["now"] = day(landed)
    rows = pa.table(
        {
            "number": pa.array([line.number for line in lines], pa.int64()),
            "shop": pa.array([line.shop for line in lines], pa.string()),
            "since": pa.array([day(line.since) for line in lines], pa.timestamp("us")),
            "price": pa.array([line.price for line in lines], pa.float64()),
            "gone": pa.array([line.gone for line in lines], pa.bool_()),
        }
    )
    table = table_of(store, PRICES)
    label = label or f"batch {len(table.batches())}"
    return table.merge(rows, f"{label:>64}", Rule.of(PRICES), label=label).version


def order(store: Store, rows: pa.Table = ROWS) -> None:
    """Take in orders, one for each row."""
    named = {"id": range(rows.num_rows), "at": rows["at"], "shop": rows["shop"], "paid": [1.0] * rows.num_rows}
    table_of(store, ORDERS).append(pa.table(named), "1f" * 32)


def prices_of(snapshot: Snapshot | None) -> dict[int, float | None]:
    """What each order finds, by its id."""
    assert snapshot is not None
    rows = snapshot.rows(["id", "price"])
    return {number: None if price != price else price for number, price in zip(rows["id"], rows["price"], strict=True)}


@settings(max_examples=5, deadline=None)
@given(batches=BATCHES.map(in_order))
def test_a_table_that_takes_corrections_gives_the_same(batches: list[tuple[int, list[Line]]]) -> None:
    """DM-13, DM-02: Landed batch after batch into a table whose rows are replaced and deleted in place, every order finds what the
    dictionary finds: what was replaced is read from the files from before, as long as it was there. An older version gives what it gave."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        order(store)
        older: list[tuple[int, dict[int, float | None]]] = []
        for count, (landed, lines) in enumerate(batches, start=1):
            version = land(store, landed, lines)
            if not version:
                continue  # it only deleted what is not there
            plain = Plain(batches[:count])
            expected = {place: (line := plain.finds(shop, at, 5)) and float(line.price) for place, (shop, at) in enumerate(ASKED)}
            assert prices_of(model_snapshot(store, MODEL)) == expected
            older.append((version, expected))
        for version, expected in older:
            assert prices_of(model_snapshot(store, MODEL, joined={"prices": version})) == expected


def test_equal_key_and_time_never_drop_a_row(store: FolderStore) -> None:
    """DM-13: Two orders of one shop and moment both find a price, and are both there; of two prices of one shop and time the one that was
    known last counts, of one batch the larger key."""
    order(store, pa.table({"shop": ["a", "a", "b"], "at": pa.array([day(3)] * 3, pa.timestamp("us"))}))
    land(store, 1, [Line(1, "a", 1, 10), Line(2, "a", 1, 20), Line(3, "b", 1, 30)])
    land(store, 2, [Line(0, "b", 1, 40)])
    assert prices_of(model_snapshot(store, MODEL)) == {0: 20.0, 1: 20.0, 2: 40.0}


def test_a_row_counts_from_its_landing_to_its_horizon(store: FolderStore) -> None:
    """DM-13: Both ends belong to it: a price lands at the very moment, and is as old as the horizon at the last."""
    moments = [2 - 1 / 86_400e6, 2, 6, 6 + 1 / 86_400e6]
    at = pa.array([day(0) + timedelta(microseconds=round(moment * 86_400e6)) for moment in moments], pa.timestamp("us"))
    order(store, pa.table({"shop": ["a"] * 4, "at": at}))
    land(store, 2, [Line(1, "a", 1, 10)])
    assert list(prices_of(model_snapshot(store, MODEL)).values()) == [None, 10.0, 10.0, None]


def test_a_correction_counts_from_its_landing(store: FolderStore) -> None:
    """DM-13: An order from before it has the old price, one from the moment of its landing the new; where a correction takes the row to
    another shop or to a later time, the old shop falls back to its price from before, then to none."""
    at = pa.array([day(n) for n in (3, 4, 5, 6)], pa.timestamp("us"))
    order(store, pa.table({"shop": ["a"] * 4, "at": at}))
    land(store, 1, [Line(1, "a", 1, 10), Line(2, "a", 2, 20)])
    land(store, 4, [Line(2, "b", 2, 20)])
    land(store, 5, [Line(1, "a", 6, 11)])
    assert list(prices_of(model_snapshot(store, MODEL)).values()) == [20.0, 10.0, None, 11.0]


def test_a_batch_that_was_taken_out_was_never_there(store: FolderStore) -> None:
    """DM-13, DM-02: The one way to change the past, for data that must not count: no order finds its rows, not even those that were
    replaced before. If it comes again, its rows are known since then."""
    at = pa.array([day(n) for n in (2, 5)], pa.timestamp("us"))
    order(store, pa.table({"shop": ["a", "a"], "at": at}))
    land(store, 0, [Line(1, "a", 0, 10)], "first")
    land(store, 1, [Line(2, "a", 1, 20)], "second")
    table = table_of(store, PRICES)
    table.remove(f"{'second':>64}", {"by": "tests", "reason": "wrong"})
    assert list(prices_of(model_snapshot(store, MODEL)).values()) == [10.0, 10.0]
    CLOCK["now"] = day(4)
    again = pa.table({"number": [2], "shop": ["a"], "since": pa.array([day(1)], pa.timestamp("us")), "price": [20.0], "gone": [False]})
    table.merge(again, f"{'second':>64}", Rule.of(PRICES), label="second", again=True)
    assert list(prices_of(model_snapshot(store, MODEL)).values()) == [10.0, 20.0]


def test_rows_keep_their_order_and_other_columns(store: FolderStore) -> None:
    """DM-13: A row that finds nothing stays, with null; columns of the joined table come in its types under their prefix; one that no
    join brings is read without any; a join of another key beside it reads the same table."""
    order(store)
    land(store, 0, [Line(1, "a", 0, 10)])
    other = JoinSpec(dataset="prices", key=("shop",), columns=("number", "since"), prefix="last_", horizon_days=2.5)
    snapshot = model_snapshot(store, MODEL.model_copy(update={"joins": (JOIN, other)}))
    assert snapshot is not None
    rows = snapshot.read(["last_since", "price", "id", "last_number"]).sort_by("id")
    assert rows.num_rows == len(ASKED)
    assert rows.column_names == ["last_since", "price", "id", "last_number"]
    kinds = {field.name: field.type for field in rows.schema}
    assert kinds == {"last_since": pa.timestamp("us"), "price": pa.float64(), "id": pa.int64(), "last_number": pa.int64()}
    found = [place for place, number in enumerate(rows["last_number"].to_pylist()) if number == 1]
    assert found == [place for place, (shop, at) in enumerate(ASKED) if shop == "a" and 0 <= at <= 2]
    store.delete(f"tables/prices/{table_of(store, PRICES).files()[0]['path']}")
    assert snapshot.rows(["paid", "id"])["id"].nunique() == len(ASKED)


def test_a_join_that_goes_to_disk_writes_the_same(store: FolderStore, tmp_path: Path) -> None:
    """DM-13, SE-04: What a scoring in batches reads from a file is what a training reads in memory, in the order that is asked for."""
    order(store)
    land(store, 0, [Line(1, "a", 0, 10), Line(2, "b", 1, 20)])
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    assert snapshot.joins is not None
    schema = pa.schema([("id", pa.int64()), ("price", pa.float64())])
    snapshot.joins.write(snapshot.table.dataset(), "id > 3", "at", schema, ["id"], tmp_path / "rows.parquet")
    written = pq.read_table(tmp_path / "rows.parquet")
    assert written.schema.equals(schema)
    expected = prices_of(snapshot)
    assert dict(zip(*(column.to_pylist() for column in written.columns), strict=True)) == {n: p for n, p in expected.items() if n > 3}
    assert written["id"].to_pylist() == list(range(4, len(ASKED)))


def test_reasons_are_counted(store: FolderStore) -> None:
    """DM-13: Why rows find nothing is told apart: known too late, too old, no row of the key by then."""
    at = pa.array([day(n) for n in (0, 1, 2, 3, 9, 3)], pa.timestamp("us"))
    order(store, pa.table({"shop": ["a", "a", "a", "a", "a", "z"], "at": at}))
    land(store, 2, [Line(1, "a", 1, 10)])
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    assert snapshot.joins is not None
    found = snapshot.joins.found(snapshot.read(["shop", "at"]), "at")
    assert found == [FoundRows(JOIN, rows=6, found=2, too_old=1, too_late=1)]
    assert found[0].sentence == (
        "33.3% of the rows find a row of prices (1 known too late, 1 too old, 2 without a row of its key by then)."
    )
    assert FoundRows(JOIN, 0, 0, 0, 0).sentence == "0.0% of the rows find a row of prices."


def test_an_hour_that_comes_twice_is_over_after_the_second() -> None:
    """DM-13: A batch that lands in it is not known to a row whose wall time may be of its first pass."""
    local = ZoneInfo("America/New_York")
    for text, wall_time in (("05:30", "01:30"), ("06:30", "02:30"), ("07:30", "02:30"), ("07:31", "02:31")):
        assert wall(datetime.fromisoformat(f"2024-11-03T{text}:00+00:00"), local) == datetime.fromisoformat(f"2024-11-03T{wall_time}:00")


def test_rows_of_no_batch_are_refused(store: FolderStore) -> None:
    """DM-13: When a row became known is never guessed."""
    order(store)
    land(store, 1, [Line(1, "a", 1, 10)])
    table = table_of(store, PRICES)
    from deltalake import write_deltalake

    stranger = table.scan().append_column("_batch", pa.array(["somebody's"]))
    write_deltalake(store.uri("tables/prices"), stranger, mode="append")
    snapshot = model_snapshot(store, MODEL)
    with pytest.raises(
        StoredDataDamaged, match=r"1 rows of the table prices are of no batch that its commits tell.*another dataset's name"
    ):
        prices_of(snapshot)


def test_an_edited_file_from_before_a_correction_is_found(store: FolderStore) -> None:
    """DM-13, DM-06: A training looks at the files with replaced rows, too."""
    order(store)
    land(store, 1, [Line(1, "a", 1, 10), Line(2, "a", 2, 20)])
    path = f"tables/prices/{table_of(store, PRICES).files()[0]['path']}"
    land(store, 3, [Line(1, "a", 1, 11)])
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    snapshot.refuse_damaged()
    store.write(path, store.read(path)[::-1])
    with pytest.raises(StoredDataDamaged, match="prices"):
        snapshot.refuse_damaged()


def test_versions_are_pinned_and_named(store: FolderStore) -> None:
    """DM-13, MO-15: A snapshot names the versions that it joins; a manifest's versions give it again, digest and all; another version or
    another join is another snapshot, and one without joins has the digest that it always had."""
    order(store)
    assert model_snapshot(store, MODEL) is None
    assert empty_dataset(store, MODEL) == "prices"
    land(store, 1, [Line(1, "a", 1, 10)])
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    used = joins_used(snapshot)
    assert [(one.join, one.snapshot) for one in used] == [(JOIN, 1)]
    assert snapshot.words == "snapshot 1 of orders joined with prices 1"
    assert snapshot.digest.startswith("joined:")
    assert snapshot.digests == (snapshot.digest,)
    own = replace(snapshot, joins=None)
    assert joined_with(own, (), {}) is own
    land(store, 2, [Line(1, "a", 1, 12)])
    newer = model_snapshot(store, MODEL)
    assert newer is not None
    assert newer.digest != snapshot.digest
    again = with_joins_of(own, Recorded(used))  # type: ignore[arg-type]
    assert (again.digest, prices_of(again)) == (snapshot.digest, prices_of(snapshot))
    wider = model_snapshot(
        store, MODEL.model_copy(update={"joins": (JOIN.model_copy(update={"horizon_days": 6.0}),)}), joined={"prices": 1}
    )
    assert wider is not None
    assert wider.digest != snapshot.digest
    with pytest.raises(UnknownName, match="There is no snapshot 9 of prices"):
        model_snapshot(store, MODEL, joined={"prices": 9})


@dataclass(frozen=True)
class Recorded:
    """What a manifest tells of a training, as far as joins go."""

    joined: Any
    snapshot: int = 1
    labels: None = None
    snapshot_digest: str = "before"


@pytest.mark.parametrize(
    ("landed", "changes", "counts"),
    [
        (10, {}, False),  # after every order
        (9, {}, True),  # at the moment of the last order
        (12, {"history_until": day(11)}, False),
        (10, {"history_until": day(11)}, True),  # part of the history
    ],
)
def test_joined_rows_alone_are_new_data_where_an_order_may_find_them(
    store: FolderStore, landed: int, changes: dict[str, Any], *, counts: bool
) -> None:
    """DM-13, MO-19: What is known after every row's moment changes nothing: the last training stands for it. What a row may have known, or
    a batch that was taken out, asks for another."""
    join = JOIN.model_copy(update=changes)
    model = MODEL.model_copy(update={"joins": (join,)})
    order(store, pa.table({"shop": ["a"], "at": pa.array([day(9)], pa.timestamp("us"))}))
    land(store, 1, [Line(1, "a", 1, 10)], "first")
    first = model_snapshot(store, model)
    assert first is not None
    last: Any = Recorded(joins_used(first))
    assert digests_since(first, last) == (first.digest, "before")
    land(store, landed, [Line(2, "a", 8, 20)], "second")
    newest = model_snapshot(store, model)
    assert newest is not None
    assert ("before" not in digests_since(newest, last)) is counts
    changed: Any = Recorded([one.model_copy(update={"join": JOIN.model_copy(update={"prefix": "x"})}) for one in joins_used(first)])
    assert digests_since(newest, changed) == digests_since(newest, None) == (newest.digest,)
    table_of(store, PRICES).remove(f"{'first':>64}", {"by": "tests", "reason": "wrong"})
    without = model_snapshot(store, model)
    assert without is not None
    assert digests_since(without, last) == (without.digest,)


NOTED = DatasetSpec(
    name="prices", title="Prices", owner="tests", key=("number", "told"), event_time="since",
    columns=(*(column for column in PRICES.columns if column.name != "gone"), Column(name="told", type="timestamp")),
)  # fmt: skip


def test_a_column_may_say_when_rows_were_known(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-13: With `known_at` the landing does not matter: rows that land late count from when they were told; new rows are new data where
    they were told before the newest order."""
    monkeypatch.setattr(discovery, "dataset", {"orders": ORDERS, "prices": NOTED}.__getitem__)
    model = MODEL.model_copy(update={"joins": (JOIN.model_copy(update={"known_at": "told"}),)})
    assert model.misfit(ORDERS, None, {"prices": NOTED}) is None
    order(store, pa.table({"shop": ["a", "a"], "at": pa.array([day(2), day(4)], pa.timestamp("us"))}))

    def tell(told: int, price: float) -> Snapshot:
        CLOCK["now"] = day(100)
        when = pa.timestamp("us")
        rows = {"number": [1], "shop": ["a"], "since": pa.array([day(1)], when), "price": [price], "told": pa.array([day(told)], when)}
        table_of(store, NOTED).append(pa.table(rows), f"{told:064}", key=("number", "told"))
        snapshot = model_snapshot(store, model)
        assert snapshot is not None
        return snapshot

    first = tell(3, 10.0)
    assert list(prices_of(first).values()) == [None, 10.0]
    last: Any = Recorded(joins_used(first))
    assert "before" in digests_since(tell(5, 30.0), last)
    newest = tell(4, 20.0)
    assert list(prices_of(newest).values()) == [None, 20.0]
    assert "before" not in digests_since(newest, last)


def test_of_one_time_what_was_known_last_counts() -> None:
    """DM-13: Not what came last: where a column says since when rows were known, a row that landed first may have been told last."""
    when = pa.timestamp("us")
    facts = pa.table({
        "_k0": ["a", "a"], "_t": pa.array([day(1)] * 2, when), "_known": pa.array([day(3), day(2)], when), "_gone": pa.nulls(2, when),
        "_version": [1, 2], "_r0": [1, 2],
    })  # fmt: skip
    rows = pa.table({"shop": ["a", "a"], "at": pa.array([day(2), day(4)], when)})
    assert as_of(rows, "at", facts, ["shop"], timedelta(days=9)).to_pylist() == [1, 0]


def test_the_last_moment_of_a_history_belongs_to_it(store: FolderStore) -> None:
    """DM-13: What landed at `history_until` itself counts as known when it happened, and what it replaced as never said; what landed a
    moment later follows the rule."""
    model = MODEL.model_copy(update={"joins": (JOIN.model_copy(update={"history_until": day(5)}),)})
    order(store, pa.table({"shop": ["a", "b", "c"], "at": pa.array([day(2)] * 3, pa.timestamp("us"))}))
    land(store, 1, [Line(1, "a", 1, 10)])
    land(store, 5, [Line(1, "b", 1, 20)])
    land(store, 5 + 1 / 86_400e3, [Line(2, "c", 1, 30)])
    assert prices_of(model_snapshot(store, model)) == {0: None, 1: 20.0, 2: None}


def test_a_row_of_a_history_counts_at_the_latest_when_it_was_loaded(store: FolderStore) -> None:
    """DM-13: The usual delay only brings a row's knowledge forward: one whose delay would end after its batch came is known since then."""
    join = JOIN.model_copy(update={"history_until": day(6), "history_delay_hours": 24.0 * 9})
    model = MODEL.model_copy(update={"joins": (join,)})
    order(store, pa.table({"shop": ["a", "a"], "at": pa.array([day(2), day(4)], pa.timestamp("us"))}))
    land(store, 3, [Line(1, "a", 1, 10)])
    assert prices_of(model_snapshot(store, model)) == {0: None, 1: 10.0}


def joined(store: Store) -> JoinedTable:
    """The prices of now, as a join reads them."""
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    assert snapshot.joins is not None
    return snapshot.joins.joined[0]


def test_servers_get_the_newest_of_each_key_and_what_is_yet_to_happen(store: FolderStore) -> None:
    """DM-13: No older one, nothing that was deleted or that a correction took away; of one key and time what was known last."""
    order(store)
    land(store, 1, [Line(1, "a", 0, 10), Line(2, "a", 2, 20), Line(3, "a", 2, 25), Line(4, "b", 1, 30), Line(5, "c", 1, 40)])
    land(store, 2, [Line(2, "a", 2, 21), Line(4, "b", 1, gone=True), Line(5, "c", 9, 50)])
    land(store, 4, [Line(6, "a", 3, 60)])

    def values(now: float) -> list[tuple[Any, ...]]:
        batches = newest_values(joined(store), ["price", "shop"], day(now))
        return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]

    for now in (2, 3):
        assert values(now) == [("a", day(2), 21.0), ("c", day(9), 50.0)]
    assert values(4) == [("a", day(3), 60.0), ("c", day(9), 50.0)]
    assert values(9) == [("a", day(3), 60.0), ("c", day(9), 50.0)]


def test_a_batch_that_is_taken_out_is_news_once(store: FolderStore) -> None:
    """DM-13, DM-02: To a training from before it, not to one after it, nor to a version of the table that still has it."""
    order(store)
    land(store, 1, [Line(1, "a", 1, 10)], "first")
    land(store, 1, [Line(2, "a", 1, 20)], "second")
    before = joined(store)
    table_of(store, PRICES).remove(f"{'second':>64}", {"by": "tests", "reason": "wrong"})
    after = joined(store)
    assert after.source.version == before.source.version + 1
    late = day(0)  # no landing is as early
    assert after.shows_more(before.source.version, late)
    assert not after.shows_more(after.source.version, late)
    assert not before.shows_more(before.source.version - 1, late)
