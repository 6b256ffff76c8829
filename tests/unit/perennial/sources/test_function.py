"""Sources that a function of the dataset's file reads: the function fetches, the platform does the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from perennial.errors import SourceRefused, SourceUnreachable
from perennial.sources.connections import Connection
from perennial.specs import Column, DatasetSpec, FunctionSource
from perennial.testing.collecting import Collecting

COLUMNS = (Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="amount", type="float"))


def _orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collect: Callable[..., Any] | None, **source: Any) -> Collecting:
    file = ModuleType("perennial_datasets.orders")
    if collect:
        file.collect = collect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, file.__name__, file)
    spec = DatasetSpec(
        name="orders", title="Orders", owner="shop", columns=COLUMNS, key=("id",), event_time="at",
        source=FunctionSource(**{"reads": "orders of the shop", "connection": "shop", **source}),
    )  # fmt: skip
    return Collecting(spec, tmp_path / "store", {"shop": {"host": "shop.example", "password": "geheim"}})


def _row(number: int) -> dict[str, Any]:
    return {"id": number, "at": datetime(2026, 3, 1, 8, tzinfo=timezone.utc), "amount": Decimal(f"{number}.25")}


class Shop:
    """Gives its rows by threes, as dicts and as Arrow tables in turn."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.safe: list[int] = []

    def collect(self, connection: Connection, watermark: dict[str, Any] | None) -> Iterator[tuple[Any, dict[str, Any]]]:
        """What a dataset's file would define."""
        assert connection.password.get_secret_value() == "geheim"
        begin = (watermark or {"last": 0})["last"]
        for first in range(begin + 1, self.count + 1, 3):
            rows = [_row(number) for number in range(first, min(first + 3, self.count + 1))]
            last = rows[-1]["id"]
            table = pa.table({"id": [r["id"] for r in rows], "at": [r["at"] for r in rows], "amount": [float(r["amount"]) for r in rows]})
            yield (table if first % 2 else rows), {"last": last}
            self.safe.append(last)
        yield [], {"last": max(begin, self.count)}


def test_what_a_function_gives_lands_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Dicts and Arrow tables land, each piece with its watermark; after a `yield` its rows are safe; then nothing is new."""
    shop = Shop(10)
    orders = _orders(tmp_path, monkeypatch, shop.collect)
    result = orders.collect()
    assert (result.rows, len(result.files), shop.safe) == (10, 4, [3, 6, 9, 10])
    assert "10 rows of shop: orders of the shop landed for orders" in result.sentence
    assert orders.collect().outcome == "skipped"
    shop.count = 11
    assert orders.collect().rows == 1
    assert not orders.take_in().refused
    assert orders.keys() == dict.fromkeys(range(1, 12), 1)
    assert orders.rows()[0] == {"id": 1, "at": datetime(2026, 3, 1, 8), "amount": 1.25}


def test_large_pieces_land_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Of at most `file_rows` rows each."""
    for kind in (list, pa.Table.from_pylist):
        rows = kind([{**_row(number), "amount": 1.5} for number in range(1, 6)])
        folder = tmp_path / kind.__name__
        folder.mkdir()
        orders = _orders(folder, monkeypatch, lambda connection, watermark, rows=rows: [] if watermark else [(rows, {"a": 1})], file_rows=2)
        assert len(orders.collect().files) == 3
        assert orders.collect().outcome == "skipped"
        assert not orders.take_in().refused
        assert orders.keys() == dict.fromkeys(range(1, 6), 1)


def test_a_kill_before_any_write_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01, DE-22: Killed before each of its writes in turn, then run again: every row is in once."""
    before = 1
    while True:
        (folder := tmp_path / str(before)).mkdir()
        orders = _orders(folder, monkeypatch, Shop(8).collect)
        killed = orders.collect_killed(before)
        orders.take_in()
        orders.collect()
        assert not orders.take_in().refused
        assert orders.keys() == dict.fromkeys(range(1, 9), 1)
        if not killed:
            break
        before += 1
    assert before > 10


def _breaks(connection: Connection, watermark: Any) -> Iterator[Any]:
    yield [_row(1)], {"last": 1}
    raise TimeoutError(f"no answer from reader:{connection.password.get_secret_value()}@shop")


def _breaks_at_length(connection: Connection, watermark: Any) -> Iterator[Any]:
    yield [_row(1)], {"last": 1}
    raise TimeoutError("x" * 297 + connection.password.get_secret_value())


@pytest.mark.parametrize(
    ("collect", "error", "why"),
    [
        (_breaks_at_length, SourceUnreachable, r"broke with TimeoutError: x{297}\*\*\*"),
        (None, SourceRefused, r"perennial_datasets/orders.py defines no collect\(connection, watermark\): write it there"),
        (
            _breaks,
            SourceUnreachable,
            r"collect of orders broke with TimeoutError: no answer from reader:\*\*\*@shop. What was read before is",
        ),
        (lambda connection: [], SourceUnreachable, "broke with TypeError: .* takes 1 positional argument but 2 were given"),
        (lambda connection, watermark: None, SourceRefused, "gives nothing that can be gone through: let it yield"),
        (lambda connection, watermark: [[_row(1)]], SourceRefused, r"gives a list of dict and must give a pair: rows"),
        (lambda connection, watermark: [7], SourceRefused, r"gives a int and must give a pair"),
        (lambda connection, watermark: [([_row(1)], 7)], SourceRefused, r"gives a pair of list, int and must give"),
        (lambda connection, watermark: [([7], {"a": 1})], SourceRefused, r"gives a list of int as rows"),
        (lambda connection, watermark: [([{"id": object()}], {"a": 1})], SourceRefused, "A row of collect of orders has a object, which"),
        (lambda connection, watermark: [([_row(1)], {"a": datetime.now()})], SourceRefused, "not in values that JSON has .*write times"),
        (lambda connection, watermark: [([_row(1)], {"a": float("nan")})], SourceRefused, "not in values that JSON has"),
    ],
)
def test_a_function_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collect: Callable[..., Any] | None, error: type[Exception], why: str
) -> None:
    """DM-01, DE-15: What is missing, breaks or gives something else is a sentence; what came before it is safe."""
    orders = _orders(tmp_path, monkeypatch, collect)
    with pytest.raises(error, match=why):
        orders.collect()
    orders = _orders(tmp_path, monkeypatch, Shop(3).collect)
    orders.collect()
    orders.take_in()
    assert orders.keys() == {1: 1, 2: 1, 3: 1}


def test_the_same_watermark_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Rows with the watermark from which was read on would land at each look: refused; without rows it is nothing new."""
    orders = _orders(tmp_path, monkeypatch, lambda connection, watermark: [([_row(1)] if watermark is None else [], {"last": 1})])
    orders.collect()
    assert orders.collect().outcome == "skipped"
    again = _orders(tmp_path, monkeypatch, lambda connection, watermark: [([_row(2)], {"last": 1})])
    with pytest.raises(SourceRefused, match="they would land at each look again"):
        again.collect()


def test_values_that_json_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Identifiers, numbers of NumPy, sets and nested values become what the reader of landed files knows."""
    import numpy as np

    from perennial.sources.functions import as_record

    given = {"id": UUID(int=1), "n": np.int64(7), "at": np.float64(1.5), "tags": {"b", "a"}, "in": {"x": (Decimal("1.0"), None, True)}}
    assert as_record(given) == {
        "id": "00000000-0000-0000-0000-000000000001", "n": 7, "at": 1.5, "tags": ["a", "b"], "in": {"x": ["1.0", None, True]},
    }  # fmt: skip
