"""The loop with its store in a bucket of a real S3 server: nothing durable is anywhere else.

Beside the other platform, on ports of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial import discovery
from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.local import airflow_programs, stack
from perennial.local.airflow_api import AirflowApi
from perennial.local.demo import Story
from perennial.serving.load import Call, send
from perennial.settings import Settings
from perennial.store import open_store
from perennial.testing import free_ports, wait_until
from perennial.testing_s3 import missing_programs, s3_server

pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(bool(missing_programs()), reason=missing_programs() or "it can run")]
PORTS = ("airflow_port", "mlflow_port", "gateway_port", "metrics_port", "reports_port")
MODEL, BUCKET = "digits", "perennial"
IMAGES = 1797


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """An empty platform whose store is a bucket."""
    home = tmp_path_factory.mktemp("home")
    (home / "venvs").symlink_to(Path(sys.executable).parents[2])
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in server.environment().items():
            patch.setenv(name, value)
        server.create_bucket(BUCKET)
        named = {"PERENNIAL_HOME": str(home), "PERENNIAL_STORE": f"s3://{BUCKET}/of/a/team"}
        settings = Settings.from_environment(named | {f"PERENNIAL_{name.upper()}": str(port) for name, port in ports.items()})
        try:
            store = open_store(settings.store)
            stack.start(settings, store)
            api = AirflowApi(settings.airflow_url, *airflow_programs.login(settings))
            api.until(lambda: True if f"{MODEL}_training" in api.dags() else None, "the DAGs to appear", 240)
            yield Story(settings, store, api, model=MODEL, dataset=MODEL)
        finally:
            stack.stop(settings)


def perennial(story: Story, *arguments: str) -> str:
    """Run a command as a person would; what it said."""
    command = [sys.executable, "-m", "perennial.cli", *arguments]
    done = subprocess.run(command, env={**os.environ, **story.settings.environment()}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def page(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as answer:
        assert answer.status == 200
        body: bytes = answer.read()
        return body


@pytest.fixture(scope="module")
def released(story: Story) -> dict[str, str]:
    """Files land, the trigger sees them in the bucket, and the first version is trained and takes the traffic. Addresses of reports by
    their title."""
    for verb in ("ingestion", "training", "release"):
        story.expect(verb)
    assert "in s3://perennial/of/a/team/landing/digits" in perennial(story, "land", MODEL, "--from", "2024-01-01", "--to", "2024-01-18")
    links: dict[str, str] = {}
    run, taken = story.next("ingestion", "ingest", seconds=400, appended=bool)
    links |= taken["links"]
    run, registered = story.next("training", "register", seconds=600, version=1)
    assert registered["outcome"] == "done"
    for task in ("validate", "train", "evaluate"):
        links |= (story.api.result(run, task) or {})["links"]
    story.next("release", "move_traffic", seconds=400, action="promoted")
    return links


def test_every_row_is_in_the_bucket_once(story: Story, released: dict[str, str]) -> None:
    """DM-08, SY-02: Tables, versions, ledger, receipts, reports and MLflow's files are there; the home of the platform has no store."""
    assert sorted(Table(story.store, MODEL).scan(["image"])["image"].to_pylist()) == list(range(IMAGES))
    for folder in ("landing", "receipts", "tables", "models", "reports", "ledger", "mlflow"):
        assert list(story.store.list(folder)), folder
    assert not (story.settings.home / "store").exists()


def test_the_reports_are_shown_from_the_bucket(story: Story, released: dict[str, str]) -> None:
    """MN-18, DM-08: Data Docs and the evaluation's page come whole, with what they are drawn with; so does the list of all of them."""
    shown = [url for url in released.values() if url.startswith(story.settings.reports_url)]
    assert len(shown) >= 2
    for url in shown:
        assert b"<html" in page(url).lower()
    assert b"digits" in page(f"{story.settings.reports_url}/")


def test_what_was_answered_and_what_happened_meet_in_a_table(story: Story, released: dict[str, str], tmp_path: Path) -> None:
    """SE-13, MN-03: Predictions are logged into the bucket, outcomes are taken in, and monitoring brings both into tables."""
    spec = discovery.model(MODEL)
    sent = send(story.settings, spec, [Call([dict.fromkeys(spec.inputs, 5)], f"s3-{number}") for number in range(200)], rate=100)
    assert not sent.failures
    file = tmp_path / "outcomes.csv"
    file.write_text("prediction_id,outcome\n" + "".join(f"{one},{spec.classes[0]}\n" for one in sent.ids))
    perennial(story, "outcomes", MODEL, str(file))
    wait_until(lambda: list(story.store.list(f"predictions/{MODEL}")), 60, "the log of predictions")
    time.sleep(2)  # a segment is written at most a second after its last answer
    perennial(story, "monitor", "--model", MODEL)
    logged = Table(story.store, f"{MODEL}_predictions").scan(["prediction_id"])["prediction_id"].to_pylist()
    assert set(sent.ids) <= set(logged)
    assert len(logged) == len(set(logged))
    told = Table(story.store, f"{MODEL}_outcomes").scan(["prediction_id"])["prediction_id"].to_pylist()
    assert sorted(told) == sorted(sent.ids)


def test_the_past_can_be_asked_and_done_again(story: Story, released: dict[str, str]) -> None:
    """MO-15, SC-03: The ledger in the bucket is unbroken and names the version that serves; the version comes out of its snapshot bit by
    bit."""
    assert not Ledger(story.store, MODEL).verify()
    perennial(story, "ledger", "verify")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert "version 1" in perennial(story, "served-at", now, "--model", MODEL)
    assert perennial(story, "reproduce", f"{MODEL}/1")


def test_the_platform_comes_back_with_what_it_had(story: Story, released: dict[str, str]) -> None:
    """OP-08, OP-05: After a stop and a start the version is fetched from the bucket again and answers."""
    stack.stop(story.settings)
    stack.start(story.settings, story.store)
    spec = discovery.model(MODEL)

    def answers() -> bool:
        return not send(story.settings, spec, [Call([dict.fromkeys(spec.inputs, 5)])]).failures

    wait_until(answers, 240, "the version to answer again")
