"""Which stored file an address names, however it is spelt, and what a page may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.reports import sandbox
from perennial.store import FolderStore, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with some reports, and a secret beside them."""
    found = FolderStore(str(tmp_path))
    for name in ("2013-01.html", "docs/index.html", "docs/a b.json", "names/<b>.json", "empty/deep/a.html"):
        found.write(f"reports/flights/{name}", b"<h1>A report</h1>")
    found.write("ledger/flight_delays/00000000.json", b"hidden")
    found.write("reports-of-others/a.html", b"hidden")
    return found


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("flights/2013-01.html", "flights/2013-01.html"),
        ("/flights//2013-01.html", "flights/2013-01.html"),
        ("flights/docs/a b.json", "flights/docs/a b.json"),
        ("flights/names/<b>.json", "flights/names/<b>.json"),
        ("flights/docs", "flights/docs/index.html"),
        ("flights/docs/", "flights/docs/index.html"),
        ("flights/2013-01.html/", None),
        ("flights/2013-01.html/index.html", None),
        ("flights", None),
        ("", None),
        ("/", None),
        ("../ledger/flight_delays/00000000.json", None),
        ("flights/../../ledger/flight_delays/00000000.json", None),
        ("./../reports-of-others/a.html", None),
        ("..\\ledger", None),
        ("a\0b", None),
        ("\udcff", None),
        ("a" * 300, None),
        ("/a" * 3000, None),
        ("flights/2014.html", None),
    ],
)
def test_nothing_beside_the_reports_can_be_read(store: Store, path: str, key: str | None) -> None:
    """MN-18, SC-01: A path is a key without `reports/`, a folder's is its index; however a way up is spelt, it names no report."""
    assert sandbox.place(store, path) == (None if key is None else f"reports/{key}")


def test_a_link_that_leads_out_of_the_reports_is_none(store: Store, tmp_path: Path) -> None:
    """SC-01: A symbolic link to a file, or to a folder, outside of the reports shows nothing; reports on another disk are shown."""
    reports = tmp_path / "reports/flights"
    (reports / "secret.json").symlink_to(tmp_path / "ledger/flight_delays/00000000.json")
    (reports / "others").symlink_to(tmp_path / "reports-of-others")
    (reports / "january.html").symlink_to(reports / "2013-01.html")
    assert [sandbox.place(store, f"flights/{name}") for name in ("secret.json", "others/a.html")] == [None, None]
    assert sandbox.place(store, "flights/january.html") == "reports/flights/january.html"
    (tmp_path / "reports").rename(tmp_path / "disk")
    (tmp_path / "reports").symlink_to(tmp_path / "disk")
    assert sandbox.place(store, "flights/2013-01.html") == "reports/flights/2013-01.html"


@pytest.mark.parametrize("path", ["flights/2013-01.html", "flights/docs/index.html", "flights/docs", "absent", "docs/a", ""])
def test_every_report_is_in_a_sandbox(path: str) -> None:
    """SC-01: Only Data Docs run a script, their own, and no page shares an origin with another one."""
    policy = dict(part.strip().split(" ", 1) for part in sandbox.headers(path)["Content-Security-Policy"].split(";"))
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'self'")
    assert "allow-same-origin" not in policy["sandbox"]
    is_docs = path.startswith("flights/docs")
    assert ("allow-scripts" in policy["sandbox"]) is is_docs
    assert all(source.startswith("'sha256-") for source in policy.get("script-src", "").split())
    assert ("script-src" in policy) is is_docs
    assert [sandbox.headers(path)[name] for name in ("X-Content-Type-Options", "Referrer-Policy")] == ["nosniff", "no-referrer"]


def test_what_is_no_page_is_saved_and_not_shown() -> None:
    """SC-01: A browser shows the kinds that reports have; whatever else lies there it keeps as a file."""
    shown = {name: sandbox.kind(f"reports/flights/{name}") for name in ("a.svg", "a.JSON", "a.csv.gz", "a.htm", "a")}
    assert shown["a.svg"] == "image/svg+xml"
    assert shown["a.JSON"] == "application/json; charset=utf-8"
    assert [shown[name] for name in ("a.csv.gz", "a.htm", "a")] == [sandbox.BYTES] * 3


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("http://127.0.0.1:8081/flights/docs/validations/a%20b~1~2~passed.html", "flights/docs/validations/a b~1~2~passed.html"),
        ("https://ml.example.com/airflow/perennial/report/m/windows/2013-02/index.html", "m/windows/2013-02/index.html"),
        (f"http://reports.example.com/m/{'0' * 64}/evaluation.html", f"m/{'0' * 64}/evaluation.html"),
        ("http://127.0.0.1:5000/#/experiments/1/runs/2", ""),
        ("http://127.0.0.1:8080/dags/m_training/runs/docs", ""),
        ("http://[/a/docs/b", ""),
        ("docs/runbook.md", ""),
        ("", ""),
    ],
)
def test_a_stored_link_still_leads_to_its_report(link: str, path: str) -> None:
    """Links of releases that had a server for reports lie in incidents: the page of today is found by their end."""
    assert sandbox.path_of(link) == path


def test_reports_of_an_s3_store_are_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: The pages are the same wherever the store is."""
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="reports-bucket")
        store = open_store("s3://reports-bucket/prefix")
        store.write("reports/flights/docs/index.html", b"<h1>A</h1>")
        assert sandbox.place(store, "flights/docs/") == "reports/flights/docs/index.html"
        assert sandbox.place(store, "../prefix/reports/flights/docs/index.html") is None
