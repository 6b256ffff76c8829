"""Ingestion into a bucket of a real S3 server: each batch once, whatever is killed, done twice or done at the same time."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.commands.land import encode
from perennial.data.compaction import MANY
from perennial.data.receipts import receipts
from perennial.data.tables import Table
from perennial.store import S3Store
from perennial.testing.forks import Forked
from perennial_datasets.flights import land

DAYS = 3


@pytest.fixture
def environment(store: S3Store, tmp_path: Path) -> dict[str, str]:
    own = {
        "PERENNIAL_HOME": str(tmp_path / "home"),
        "PERENNIAL_STORE": store.root,
        "PERENNIAL_LANDING_SETTLE_SECONDS": "0",
        "TEST_OUTPUT": str(tmp_path),
    }
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PERENNIAL_")}, **own}


@pytest.fixture
def rows(store: S3Store) -> dict[str, int]:
    """Three days of flights have landed: rows of each file."""
    found = {}
    for name, table in land(date(2013, 1, 1), date(2013, 1, DAYS)):
        store.write(f"landing/flights/{name}", encode(name, table))
        found[name] = table.num_rows
    return found


def ingest(environment: dict[str, str], *more: str) -> Forked:
    command = ["-m", "perennial.cli", "ingest", "--dataset", "flights", *more]
    return Forked(command, environment, Path(tempfile.mkdtemp(dir=environment["TEST_OUTPUT"]), "said"))


@pytest.mark.parametrize("seen", ["the first commit", "the first receipt"])
def test_a_killed_ingest_is_completed_by_its_retry(
    store: S3Store, environment: dict[str, str], rows: dict[str, int], tmp_path: Path, seen: str
) -> None:
    """DE-22, DM-08: kill -9 between a commit and its receipt, or between a receipt and the next file: the retry appends the others, none
    twice, and tells of all."""
    process = ingest(environment, "--run", "monday")
    here = "tables/flights/_delta_log/00000000000000000001.json" if seen == "the first commit" else "receipts/flights"
    while not (store.exists(here) if here.endswith(".json") else list(store.list(here))):
        assert process.poll() is None, process.said()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    again = ingest(environment, "--run", "monday", "--retry", f"--result={tmp_path / 'result.json'}")
    assert again.wait(250) == 0, again.said()
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["outcome"], result["appended"]) == ("done", rows)
    assert Table(store, "flights").count() == sum(rows.values())
    assert sorted((r.name, r.outcome) for r in receipts(store, "flights")) == [(name, "appended") for name in sorted(rows)]


def test_two_at_once_append_each_batch_once(store: S3Store, environment: dict[str, str], rows: dict[str, int], tmp_path: Path) -> None:
    """DE-22, DM-08: Both end well; together they report each file once."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    processes = [ingest(environment, f"--result={file}") for file in files]
    for process in processes:
        assert process.wait(250) == 0, process.said()
    one, two = (json.loads(file.read_text())["appended"] for file in files)
    assert not set(one) & set(two)
    assert {**one, **two} == rows
    assert Table(store, "flights").count() == sum(rows.values())


def test_many_small_files_become_one(store: S3Store) -> None:
    """DM-08: Compaction works in a bucket: fewer files, the same rows, and an older snapshot stays as it was."""
    table = Table(store, "flights")
    for number in range(MANY + 1):
        table.append(pa.table({"number": [number]}), f"batch {number}")
    assert table.count() == MANY + 1
    assert len(table.files()) < MANY
    assert sorted(table.scan()["number"].to_pylist()) == list(range(MANY + 1))
    assert table.count(version=MANY // 2) == MANY // 2
