"""Reports are for who may read their DAG, and nothing in one can act, whatever it holds."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from perennial import discovery
from perennial.settings import Settings
from perennial.specs import GateSpec, ModelSpec
from perennial.store import FolderStore
from perennial_airflow.console import Console

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
HOSTILE = "<script>alert(1)</script>"
PAGE = f"<h1>July</h1>{HOSTILE}<img src=x onerror=alert(2)>".encode()
DIGEST = "a" * 64
BATCH = "churn/docs/validations/1.csv~1~10~refused.html"
READABLE = {"churn_training", "crm_ingestion", "churn_ingestion"}
Ask = Callable[..., httpx.Response]


class Guard:
    """The auth manager, as far as the console asks it."""

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: object, method: str) -> set[str]:
        assert method == "GET"
        return dag_ids & READABLE


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Reports of a model and of datasets of its name and of others, and what lies beside the reports."""
    store = FolderStore(str(tmp_path))
    for name in ("churn", "secret", "crm"):
        store.write(f"reports/{name}/{DIGEST}/evaluation.html", PAGE)
        store.write(f"reports/{name}/docs/index.html", PAGE)
    store.write(f"reports/churn/{DIGEST}/gate.json", json.dumps({"passed": False, "sentence": f"No: {HOSTILE}"}).encode())
    store.write(f"reports/{BATCH}", PAGE)
    store.write("reports/churn/docs/validations/0.csv~0~10~passed.html", PAGE)
    store.write("reports/churn/losses.parquet", b"PAR1")
    store.write("ledger/churn/00000000.json", b"of the ledger")
    (tmp_path / "reports/churn/link.json").symlink_to(tmp_path / "ledger/churn/00000000.json")
    return store


@pytest.fixture
def ask(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask the console as somebody who is logged in; with `nobody=True` as nobody."""
    from airflow.api_fastapi.core_api.security import get_user

    spec = ModelSpec(
        name="churn", title="Churn", owner="crm", dataset="crm", task="regression", inputs=("a",), label="b",
        gate=GateSpec(metric="rmse", floors={}),
    )  # fmt: skip
    monkeypatch.setattr(discovery, "_models", lambda: ({"churn": spec}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    monkeypatch.setattr("perennial_airflow.console.website.get_auth_manager", Guard)
    console: Any = Console(Settings.from_environment({"PERENNIAL_STORE": str(store.path)}))

    def ask(path: str, nobody: bool = False, **headers: str) -> httpx.Response:
        console.app.dependency_overrides = {} if nobody else {get_user: object}

        async def answer() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(console), base_url="http://localhost:8080") as client:
                return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

        return asyncio.run(answer())

    return ask


EVALUATION = f"churn/{DIGEST}/evaluation.html"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (EVALUATION, 200),
        ("churn/docs/index.html", 200),
        ("churn/docs/", 200),
        ("crm/docs/index.html", 200),  # of a dataset whose model's reports one may not read
        (f"crm/{DIGEST}/evaluation.html", 404),
        (f"secret/{DIGEST}/evaluation.html", 404),
        ("secret/docs/index.html", 404),
        ("churn/absent.html", 404),
        ("churn", 404),
        ("churn/link.json", 404),
        (f"churn/../secret/{DIGEST}/evaluation.html", 404),
        (f"churn/%2e%2e/secret/{DIGEST}/evaluation.html", 404),
        (f"crm/docs/..%2f{DIGEST}/evaluation.html", 404),
        ("churn/..%2f..%2fledger%2fchurn%2f00000000.json", 404),
        ("churn/..%5c..%5cledger", 404),
        ("%2fetc%2fpasswd", 404),
        ("churn/a%00b", 404),
        ("churn/" + "a" * 300, 404),
        ("churn/%ff", 404),
    ],
)
def test_a_report_is_for_who_may_read_its_dag(ask: Ask, path: str, status: int) -> None:
    """DM-09, SC-01: Without a login nothing is told; with one a model's reports need its training, Data Docs the dataset's ingestion; what
    is no report, or none that one may see, is not there, however it is spelt."""
    for place in ("reports", "report"):
        assert ask(f"/{place}/{path}", nobody=True).status_code == 401
        answer = ask(f"/{place}/{path}")
        assert answer.status_code == status
        assert "of the ledger" not in answer.text
        assert "secret" not in answer.text or "no report" in answer.text


@pytest.mark.parametrize("path", ["/reports", "/reports.json", "/models/churn/reports", "/reports/", "/report/"])
def test_nobody_sees_the_index_without_a_login(ask: Ask, path: str) -> None:
    """DM-09: Not a name, not a title."""
    answer = ask(path, nobody=True)
    assert answer.status_code == 401
    assert "churn" not in answer.text


def test_the_index_has_what_a_person_may_read(ask: Ask) -> None:
    """DM-09, DM-10: By title, date and verdict, of the models and datasets whose DAGs one may read; `refused` leaves what was refused."""
    page = ask("/reports").text
    assert f"/perennial/report/{EVALUATION}" in page
    assert "/perennial/report/crm/docs/index.html" not in page  # it has no batch yet
    assert "secret" not in page
    assert f"crm/{DIGEST}" not in page
    assert len(re.findall('<span class="state (?:passed|refused)">', page)) == 3
    refused = ask("/reports.json?refused=yes").json()
    assert [row["title"] for part in ("evaluations", "windows", "batches") for row in refused[part]["rows"]] == [
        f"Evaluation of {DIGEST[:12]}",
        "Batch 1.csv",
    ]
    assert ask("/reports.json?about=crm").json()["batches"]["rows"] == []
    tab = ask("/models/churn/reports").text
    assert EVALUATION in tab
    assert "Batch" not in re.sub("<[^>]*>", "", tab).replace("Batch</th>", "")
    assert ask("/models/secret/reports").status_code == 404


def test_nothing_in_a_report_can_act(ask: Ask) -> None:
    """SC-01: A report that holds markup is answered as it is, in a sandbox; what a gate said is shown as text, and the bar around a report
    lets its frame show reports alone."""
    for path, scripts in ((EVALUATION, False), ("churn/docs/index.html", True)):
        answer = ask(f"/reports/{path}")
        assert answer.content == PAGE
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'self'")
        assert policy["sandbox"] == ("allow-scripts allow-downloads" if scripts else "allow-downloads")
        assert (answer.headers["X-Content-Type-Options"], answer.headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    for path in ("/reports", f"/report/{EVALUATION}"):
        shown = ask(path)
        assert "No: &lt;script&gt;alert(1)&lt;/script&gt;" in shown.text
        assert HOSTILE not in shown.text
    assert ask(f"/report/{EVALUATION}").headers["Content-Security-Policy"].endswith("; frame-src 'self'")
    kept = ask("/reports/churn/losses.parquet")
    assert (kept.headers["Content-Type"], kept.headers["Content-Disposition"]) == ("application/octet-stream", "attachment")


def test_a_report_leads_to_its_neighbours(ask: Ask) -> None:
    """DM-10: The bar has the report's title and verdict, the one before it, and the way back to the list."""
    page = ask(f"/report/{BATCH}").text
    assert re.findall('href="/perennial/report/([^"]*)"', page) == ["churn/docs/validations/0.csv~0~10~passed.html"]
    assert f'src="/perennial/reports/{BATCH}"' in page
    assert '<span class="state refused">refused</span>' in page


def test_a_folder_leads_to_its_index(ask: Ask) -> None:
    """DM-10: With a slash at its end, from which the links within begin."""
    answer = ask("/reports/churn/docs")
    assert (answer.status_code, answer.headers["Location"]) == (307, "./docs/")
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_a_link_in_a_sandbox_is_followed_once_more_with_the_login(ask: Ask) -> None:
    """SC-01: To a browser a page in a sandbox is a stranger, so a link in it is asked for without the cookie: a page without any content
    asks again as itself, one time. Who is not logged in is told where to log in."""
    within = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe", "Sec_Fetch_Site": "cross-site"}
    answer = ask(f"/reports/{BATCH}", nobody=True, **within)
    assert answer.status_code == 401
    assert '<meta http-equiv="refresh" content="0;url=?again=yes">' in answer.text
    assert "sandbox" not in answer.headers["Content-Security-Policy"]
    assert ask(f"/reports/{BATCH}?again=yes", **within).content == PAGE
    for again, headers in ((True, within), (False, {**within, "Sec_Fetch_Dest": "document"})):
        page = ask(f"/reports/{BATCH}{'?again=yes' if again else ''}", nobody=True, **headers)
        assert page.status_code == 401
        assert 'href="/api/v2/auth/login?next=http' in page.text
        assert "refresh" not in page.text


def test_a_large_report_goes_by_way_of_a_file(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server holds no large file in memory, and keeps no copy."""
    monkeypatch.setattr("perennial_airflow.console.pages.reports.WHOLE", 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ask(f"/reports/{EVALUATION}").content == PAGE
    assert not list(tmp_path.glob("perennial-report-*"))
