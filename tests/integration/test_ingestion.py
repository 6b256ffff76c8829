"""Ingestion with everything real: files of days, the suite, Delta Lake, processes that run at the same time and are killed."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.commands.land import encode
from perennial.data.receipts import receipts
from perennial.data.tables import Table
from perennial.store import FolderStore, Store, open_store
from perennial.testing.forks import Forked
from perennial_datasets.flights import land

DAYS = 3


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    own = {
        "PERENNIAL_HOME": str(tmp_path / "home"),
        "PERENNIAL_STORE": str(tmp_path / "store"),
        "PERENNIAL_LANDING_SETTLE_SECONDS": "0",
        "PERENNIAL_AIRFLOW_URL": "http://airflow",
        "TEST_OUTPUT": str(tmp_path),
    }
    return {**{k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "AWS_"))}, **own}


def perennial(*arguments: str, environment: dict[str, str]) -> Forked:
    return Forked(["-m", "perennial.cli", *arguments], environment, Path(tempfile.mkdtemp(dir=environment["TEST_OUTPUT"]), "said"))


def call(*arguments: str, environment: dict[str, str]) -> str:
    process = perennial(*arguments, environment=environment)
    assert process.wait(250) == 0, process.said()
    return process.said()


def ingest(environment: dict[str, str], file: Path, *more: str) -> dict[str, object]:
    call("ingest", "--dataset", "flights", *more, "--result", str(file), environment=environment)
    return json.loads(file.read_text())


def land_days(store: Store, count: int = DAYS) -> dict[str, int]:
    rows = {}
    for name, table in land(date(2013, 1, 1), date(2013, 1, count)):
        store.write(f"landing/flights/{name}", encode(name, table))
        rows[name] = table.num_rows
    return rows


def test_days_land_and_go_in_and_a_broken_one_does_not(environment: dict[str, str], tmp_path: Path) -> None:
    """DM-01, DM-10, SY-05: The command lands days; the stage appends them, refuses a broken one with a page of Data Docs, and skips when
    nothing is new."""
    store = FolderStore(environment["PERENNIAL_STORE"])
    assert "Landed 2 files of flights with 1,785 rows" in call(
        "land", "flights", "--from", "2013-01-01", "--to", "2013-01-02", environment=environment
    )
    ((name, day),) = land(date(2013, 1, 3), date(2013, 1, 3))
    gaps = pa.array([None if i < 312 else v for i, v in enumerate(day["distance"].to_pylist())], pa.int64())
    broken = day.set_column(day.column_names.index("distance"), "distance", gaps)
    store.write(f"landing/flights/{name}", encode(name, broken))
    result = ingest(environment, tmp_path / "result.json")
    assert result["outcome"] == "done"
    assert result["appended"] == {"flights-2013-01-01.csv.gz": 842, "flights-2013-01-02.csv.gz": 943}
    assert f"distance is null in 312 of {day.num_rows} rows" in result["refused"][name]  # type: ignore[index]
    page = result["links"]["Data Docs"].replace("http://airflow/perennial/report/", "reports/").replace("%7E", "~")  # type: ignore[index]
    assert b"distance is null in 312" in store.read(page)
    assert b"flights-2013-01-02.csv.gz" in store.read("reports/flights/docs/index.html")
    assert ingest(environment, tmp_path / "result.json")["outcome"] == "skipped"


def test_killed_between_the_last_receipt_and_the_result(environment: dict[str, str], tmp_path: Path) -> None:
    """DM-16, DE-22: Nothing waits any more, yet the retry tells what is in: its event wakes training. Without --retry there is nothing to
    tell."""
    store = FolderStore(environment["PERENNIAL_STORE"])
    rows = land_days(store, 1)
    process = perennial("ingest", "--dataset", "flights", "--run", "monday", environment=environment)
    while not list(store.list("receipts")):
        assert process.poll() is None, process.said()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert ingest(environment, tmp_path / "result.json", "--run", "tuesday")["outcome"] == "skipped"
    result = ingest(environment, tmp_path / "result.json", "--run", "monday", "--retry")
    assert (result["outcome"], result["appended"], result["snapshot"]) == ("done", rows, 1)


def test_two_ingest_processes_at_once_append_each_batch_once(environment: dict[str, str], tmp_path: Path) -> None:
    """DE-22: Both end well; together they report each file once."""
    store = FolderStore(environment["PERENNIAL_STORE"])
    rows = land_days(store)
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    processes = [perennial("ingest", "--dataset", "flights", "--result", str(file), environment=environment) for file in files]
    for process in processes:
        assert process.wait(250) == 0, process.said()
    appended = [json.loads(file.read_text())["appended"] for file in files]
    assert not set(appended[0]) & set(appended[1])
    assert {**appended[0], **appended[1]} == rows
    assert Table(store, "flights").count() == sum(rows.values())
    assert len(receipts(store, "flights")) == DAYS


def test_a_killed_ingest_is_completed_by_the_next(environment: dict[str, str], tmp_path: Path) -> None:
    """DE-22, DM-02: kill -9 as soon as the first batch is in; the retry appends the others, none twice, and tells of all."""
    store = FolderStore(environment["PERENNIAL_STORE"])
    rows = land_days(store)
    process = perennial("ingest", "--dataset", "flights", "--run", "monday", environment=environment)
    log = Path(store.root, "tables/flights/_delta_log/00000000000000000001.json")
    while not log.exists():
        assert process.poll() is None, process.said()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    result = ingest(environment, tmp_path / "result.json", "--run", "monday", "--retry")
    assert (result["outcome"], result["appended"]) == ("done", rows)
    assert Table(store, "flights").count() == sum(rows.values())
    assert sorted(r.name for r in receipts(store, "flights")) == sorted(rows)
    assert all(r.outcome == "appended" for r in receipts(store, "flights"))


@pytest.fixture
def s3(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    own = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        store = open_store("s3://perennial/here")
        store.client.create_bucket(Bucket="perennial")  # type: ignore[attr-defined]
        yield {**environment, **own, "PERENNIAL_STORE": "s3://perennial/here"}
    server.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug|flask).*")
def test_the_store_may_be_s3(s3: dict[str, str], tmp_path: Path) -> None:
    """DM-08: The same files, outcomes and pages in a bucket; a refused file moves within it."""
    store = open_store(s3["PERENNIAL_STORE"])
    rows = land_days(store, 2)
    store.write("landing/flights/flights-2013-01-09.csv.gz", b"")
    result = ingest(s3, tmp_path / "result.json")
    assert result["appended"] == rows
    assert "is empty" in result["refused"]["flights-2013-01-09.csv.gz"]  # type: ignore[index]
    assert Table(store, "flights").count() == sum(rows.values())
    assert sorted(item.key for item in store.list("landing")) == [f"landing/flights/{name}" for name in sorted(rows)]
    assert [item.key.rsplit("/", 1)[1] for item in store.list("quarantine")] == ["flights-2013-01-09.csv.gz", "reasons.json"]
    assert store.exists("reports/flights/docs/index.html")
    assert ingest(s3, tmp_path / "result.json")["outcome"] == "skipped"


def test_a_store_that_does_not_answer_is_one_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    """DM-08: A fault, no traceback, the variable to check; also where Delta Lake would be the one to meet it."""
    own = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "PERENNIAL_STORE": "s3://nowhere",
    }
    process = perennial("ingest", "--dataset", "flights", environment={**environment, **own})
    assert process.wait(250) == 1
    said = process.said()
    assert "The store s3://nowhere does not answer: check AWS_ENDPOINT_URL" in said
    assert "Traceback" not in said
