"""The loop with its store in a bucket of a real S3 server: nothing durable is anywhere else.

The loop is the one of the kills (conftest.py).
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from perennial import discovery
from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.local import stack
from perennial.local.demo import Story
from perennial.serving.load import Call, send
from perennial.testing import wait_until
from perennial.testing_s3 import missing_programs

from .conftest import MODEL, FirstLoop, call

pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(bool(missing_programs()), reason=missing_programs() or "it can run")]
IMAGES = 1797


def perennial(digits: Story, *arguments: str) -> str:
    """Run a command as a person would; what it said."""
    done = call(digits.settings, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def page(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    request = urllib.request.Request(url, headers=dict(headers))
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        assert answer.status == 200
        body: bytes = answer.read()
        return body


@pytest.fixture(scope="module")
def links(digits: Story, first_loop: FirstLoop) -> dict[str, str]:
    """Addresses of the reports of the first loop by their title."""
    links: dict[str, str] = {}
    for run in digits.api.runs(f"{MODEL}_ingestion"):
        links |= (digits.api.result(run, "ingest") or {}).get("links", {})
    for task in ("validate", "train", "evaluate"):
        links |= (digits.api.result(first_loop.training, task) or {})["links"]
    return links


def test_files_land_in_the_bucket(digits: Story, first_loop: FirstLoop) -> None:
    """DM-08: The command says where they are, and the trigger saw them there: each has its receipt."""
    assert "in s3://perennial/of/a/team/landing/digits" in first_loop.landed
    landed = [item.key.rsplit("/", 1)[1] for item in digits.store.list(f"landing/{MODEL}")]
    assert len(list(digits.store.list(f"receipts/{MODEL}"))) == len(landed) > 0


def test_every_row_is_in_the_bucket_once(digits: Story, first_loop: FirstLoop) -> None:
    """DM-08, SY-02: Tables, versions, ledger, receipts, reports and MLflow's files are there; the home of the platform has no store."""
    assert sorted(Table(digits.store, MODEL).scan(["image"])["image"].to_pylist()) == list(range(IMAGES))
    for folder in ("landing", "receipts", "tables", "models", "reports", "ledger", "mlflow"):
        assert list(digits.store.list(folder)), folder
    assert not (digits.settings.home / "store").exists()


def test_the_reports_are_shown_from_the_bucket(digits: Story, links: dict[str, str]) -> None:
    """MN-18, DM-08: Data Docs and the evaluation's page come whole, with what they are drawn with; so does the list of all of them. Who
    has not logged in gets none."""
    token = {"Authorization": f"Bearer {digits.api.token()}"}
    shown = [url for url in links.values() if url.startswith(digits.settings.report_url("reports/"))]
    assert len(shown) >= 2
    for url in shown:
        assert b"<iframe" in page(url, token)
        assert b"<html" in page(url.replace("/perennial/report/", "/perennial/reports/"), token).lower()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            page(url)
    assert b"digits" in page(f"{digits.settings.airflow_url}/perennial/reports", token)


def test_what_was_answered_and_what_happened_meet_in_a_table(digits: Story, first_loop: FirstLoop, tmp_path: Path) -> None:
    """SE-13, MN-03: Predictions are logged into the bucket, outcomes are taken in, and monitoring brings both into tables."""
    spec = discovery.model(MODEL)
    sent = send(digits.settings, spec, [Call([dict.fromkeys(spec.inputs, 5)], f"s3-{number}") for number in range(200)], rate=100)
    assert not sent.failures
    file = tmp_path / "outcomes.csv"
    file.write_text("prediction_id,outcome\n" + "".join(f"{one},{spec.classes[0]}\n" for one in sent.ids))
    perennial(digits, "outcomes", MODEL, str(file))
    wait_until(lambda: list(digits.store.list(f"predictions/{MODEL}")), 60, "the log of predictions")
    time.sleep(2)  # a segment is written at most a second after its last answer
    perennial(digits, "monitor", "--model", MODEL)
    logged = Table(digits.store, f"{MODEL}_predictions").scan(["prediction_id"])["prediction_id"].to_pylist()
    assert set(sent.ids) <= set(logged)
    assert len(logged) == len(set(logged))
    told = Table(digits.store, f"{MODEL}_outcomes").scan(["prediction_id"])["prediction_id"].to_pylist()
    assert sorted(told) == sorted(sent.ids)


def test_the_past_can_be_asked_and_done_again(digits: Story, first_loop: FirstLoop) -> None:
    """MO-15, SC-03: The ledger in the bucket is unbroken and names the version that serves; the version comes out of its snapshot bit by
    bit."""
    assert not Ledger(digits.store, MODEL).verify()
    perennial(digits, "ledger", "verify")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert "version 1" in perennial(digits, "served-at", now, "--model", MODEL)
    assert perennial(digits, "reproduce", f"{MODEL}/1")


def test_the_platform_comes_back_with_what_it_had(digits: Story, first_loop: FirstLoop) -> None:
    """OP-08, OP-05: After a stop and a start the version is fetched from the bucket again and answers."""
    stack.stop(digits.settings)
    stack.start(digits.settings, digits.store)
    spec = discovery.model(MODEL)

    def answers() -> bool:
        return not send(digits.settings, spec, [Call([dict.fromkeys(spec.inputs, 5)])]).failures

    wait_until(answers, 240, "the version to answer again")
