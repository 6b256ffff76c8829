"""`perennial add dataset --table`: a table of a database becomes a dataset whose rows come by themselves."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from perennial.commands import add
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.specs import DatasetSpec, SqlSource
from perennial.store import FolderStore
from perennial.testing.collecting import Collecting


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A shop's database with forty orders."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "create table orders (id integer primary key, ordered timestamp, amount numeric(10, 2), pieces numeric, city text,"
            " paid boolean, note text, changed integer)"
        )
        for number in range(40):
            row = (
                number,
                f"2026-03-{number % 28 + 1:02d} 08:00:00",
                number * 1.25,
                number % 5,
                "Rome" if number % 2 else None,
                number % 3 == 0,
            )
            connection.execute("insert into orders values (?, ?, ?, ?, ?, ?, 'note ' || ?, ?)", (*row, number, number))
    return path


def _add(tmp_path: Path, name: str = "orders", kind: str = "dataset", connections: str = "", **given: Any) -> Path:
    """Add it to an empty folder; returns the file of its spec."""
    home = tmp_path / "project"
    home.mkdir(exist_ok=True)
    settings = Settings(home=Path(sys.executable).parents[3], store=str(tmp_path / "store"), connections=connections)
    add.run(settings, FolderStore(str(tmp_path / "store")), kind, name, project=home, **given)
    return home / f"include/perennial_datasets/{name}.py"


def _spec(file: Path) -> DatasetSpec:
    found = importlib.util.spec_from_file_location(f"added_{file.stem}", file)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    dataset: DatasetSpec = module.DATASET
    return dataset


def test_what_is_written_takes_the_table(tmp_path: Path, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-01, MO-25: Columns, key and time are found in the table, which is the source; collected by what was written, every row is in."""
    spec = _spec(_add(tmp_path, table="orders", database=f"sqlite:///{database}", cursor="changed"))
    assert spec.source == SqlSource(url=f"sqlite:///{database}", table="orders", cursor="changed")
    types = {column.name: column.type for column in spec.columns}
    assert (types["ordered"], types["amount"], types["pieces"], types["paid"]) == ("timestamp", "float", "int", "bool")
    assert (spec.key, spec.event_time) == (("id",), "ordered")
    assert "perennial collect --dataset orders" in capsys.readouterr().out
    orders = Collecting(spec, tmp_path / "theirs")
    assert orders.collect().rows == 40
    assert not orders.take_in().refused
    assert orders.keys() == dict.fromkeys(range(40), 1)


def test_a_connection_is_read_and_named(tmp_path: Path, database: Path) -> None:
    """DM-01, SC-05: Its name stands in the spec, and nothing else of it."""
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"shop": {"url": f"sqlite:///{database}", "password": "geheim"}}))
    os.chmod(file, 0o600)
    written = _add(tmp_path, connections=str(file), table="orders", connection="shop", key="id")
    assert _spec(written).source == SqlSource(connection="shop", table="orders")
    assert "geheim" not in written.read_text()
    assert str(database) not in written.read_text()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"connection": "shop"}, "Say which table of the database: --table TABLE"),
        ({"table": "orders"}, "either url or connection (--connection NAME or --database ADDRESS)"),
        ({"table": "orders", "database": "postgresql://a:geheim@h/d"}, "the address holds a password"),
        ({"table": "orders", "connection": "shop"}, "PERENNIAL_CONNECTIONS is empty"),
        ({"table": "sales", "database": "sqlite:///DB"}, "no table or view sales: it has empty, orders"),
        ({"table": "orders", "database": "sqlite:///DB", "cursor": "when"}, "has no column when, the cursor; it has id, ordered"),
        ({"table": "empty", "database": "sqlite:///DB"}, "The table empty has no rows"),
        ({"table": "orders", "database": "sqlite:///DB", "sample": Path("x.csv")}, "either a file, --sample, or a table, --table"),
        ({}, "--sample FILE"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, database: Path, given: dict[str, Any], words: str) -> None:
    """DM-01, DE-15: What is missing, or what is wrong, and nothing is written."""
    with sqlite3.connect(database) as connection:
        connection.execute("create table empty (id integer)")
    given = {name: value.replace("DB", str(database)) if isinstance(value, str) else value for name, value in given.items()}
    with pytest.raises(UnknownName) as told:
        _add(tmp_path, **given)
    assert words in str(told.value)
    assert "geheim" not in str(told.value)
    assert not list((tmp_path / "project").rglob("*.py"))


def test_a_model_is_not_added_from_a_table(tmp_path: Path) -> None:
    """DM-01: It learns from a dataset."""
    with pytest.raises(UnknownName, match="--table is for a dataset; a model learns from one: --dataset NAME"):
        _add(tmp_path, kind="model", table="orders")
