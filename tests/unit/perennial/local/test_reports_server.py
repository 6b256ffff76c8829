from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from perennial.errors import StoreUnreachable
from perennial.local.reports_server import ReportsServer
from perennial.settings import Settings
from perennial.store import FolderStore, Store, open_store

Ask = Callable[..., tuple[int, dict[str, str], str]]


@pytest.fixture
def store(tmp_path) -> Store:
    """A store with two reports and a secret beside them."""
    found = FolderStore(str(tmp_path))
    found.write("reports/flights/2013-01.html", b"<h1>January</h1>")
    found.write("reports/flights/docs/index.html", b"<h1>Docs</h1>")
    found.write("reports/flights/docs/a b.json", b"{}")
    found.write("ledger/flight_delays/00000000.json", b"hidden")
    return found


@pytest.fixture
def ask(store) -> Iterator[Ask]:
    """Asks a running server."""
    settings = Settings.from_environment({"PERENNIAL_AIRFLOW_URL": "https://ml.example.com/airflow", "PERENNIAL_ALLOWED_HOSTS": "reports"})
    server = ReportsServer(("127.0.0.1", 0), store, settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def get(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return found

    yield get
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_is_shown_as_it_is(ask):
    """MN-18: The key without reports/ is the path."""
    status, headers, body = ask("/flights/2013-01.html")
    assert (status, body) == (200, "<h1>January</h1>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask("/flights/docs/a%20b.json")[2] == "{}"


def test_a_folder_lists_what_it_holds(ask):
    """MN-18: Also the top, where a person begins."""
    assert '<a href="flights/">' in ask("/")[2]
    _, _, body = ask("/flights/")
    assert '<a href="2013-01.html">' in body
    assert '<a href="docs/">' in body
    assert "index.html" not in body


def test_a_folder_with_an_index_shows_it(ask):
    """MN-18: Data Docs bring their own; their links are relative to the folder."""
    assert ask("/flights/docs/")[2] == "<h1>Docs</h1>"
    status, headers, _ = ask("/flights/docs")
    assert (status, headers["Location"]) == (301, "/flights/docs/")


@pytest.mark.parametrize(
    "path",
    [
        "/../ledger/flight_delays/00000000.json",
        "/%2e%2e/ledger/flight_delays/00000000.json",
        "/flights/../../ledger/flight_delays/00000000.json",
        "/..%5cledger",
        "/a%00b",
    ],
)
def test_nothing_beside_the_reports_can_be_read(ask, path):
    """SC-01: However the way up is spelt."""
    status, _, body = ask(path)
    assert status == 404
    assert "hidden" not in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8081"}, 200),
        ({"Host": "[::1]:8081"}, 200),
        ({"Host": "ml.example.com"}, 200),
        ({"Host": "reports:8081"}, 200),
        ({"Host": "rebound.example:8081"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:8081", "Origin": "http://localhost:8081"}, 200),
        ({"Host": "localhost:8081", "Origin": "http://localhost:9999"}, 403),
        ({"Host": "localhost:8081", "Origin": "http://elsewhere.example"}, 403),
        ({"Host": "localhost:8081", "Origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(ask, headers, status):
    """SC-01: A name that is not the server's own, or a page of another server, gets a sentence and no report."""
    found, _, body = ask("/flights/2013-01.html", **headers)
    assert found == status
    assert (body == "<h1>January</h1>") is (status == 200)


@pytest.mark.parametrize("path", ["/", "/flights/", "/flights/2013-01.html", "/flights/docs/", "/flights/docs", "/absent", "/%00"])
def test_every_answer_is_in_a_sandbox(ask, path):
    """SC-01: Also listings, redirections and errors; only Data Docs run a script, their own, and none shares an origin with another
    page."""
    for headers in (ask(path)[1], ask(path, Host="rebound.example")[1], ask(path, "POST")[1]):
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'self' https://ml.example.com"
        assert "allow-same-origin" not in policy["sandbox"]
        is_docs = path.startswith("/flights/docs")
        assert ("allow-scripts" in policy["sandbox"]) is is_docs
        assert all(source.startswith("'sha256-") for source in policy.get("script-src", "").split())
        assert ("script-src" in policy) is is_docs
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_what_is_no_page_is_saved_and_not_shown(ask, store):
    """SC-01: A browser shows the kinds that reports have; whatever else lies there it keeps as a file."""
    for name, kind in (("a.svg", "image/svg+xml"), ("a.json", "application/json; charset=utf-8"), ("a.csv.gz", "application/octet-stream")):
        store.write(f"reports/flights/{name}", b"<script>")
        headers = ask(f"/flights/{name}")[1]
        assert headers["Content-Type"] == kind
        assert ("Content-Disposition" in headers) is (kind == "application/octet-stream")


def test_an_unknown_page_is_not_found(ask):
    """MN-18: And a question for its head gets no body."""
    assert ask("/flights/2014.html")[0] == 404
    status, headers, body = ask("/flights/2013-01.html", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "16", "")


def test_an_empty_store_says_so(tmp_path):
    """MN-18: A fresh platform is no error."""
    from perennial.local import reports_server

    status, _, body = reports_server._answer(FolderStore(str(tmp_path / "empty")), "/")
    assert status == 200
    assert b"No report was written yet" in body


def test_a_store_that_does_not_answer_is_said(ask, store, monkeypatch, capsys):
    """MN-18: The page holds the sentence, the log a line."""

    def fail(key: str) -> bytes:
        raise StoreUnreachable("The store does not answer.")

    monkeypatch.setattr(store, "read", fail)
    status, _, body = ask("/flights/2013-01.html")
    assert (status, body) == (502, "The store does not answer.")
    assert "/flights/2013-01.html" in capsys.readouterr().err


def test_reports_of_an_s3_store_are_shown_too(monkeypatch):
    """DM-08: The pages are the same wherever the store is."""
    import boto3
    from moto import mock_aws

    from perennial.local import reports_server

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="reports-bucket")
        store = open_store("s3://reports-bucket/prefix")
        store.write("reports/flights/a.html", b"<h1>A</h1>")
        assert reports_server._answer(store, "/flights/a.html")[2] == b"<h1>A</h1>"
        assert b'<a href="a.html">' in reports_server._answer(store, "/flights/")[2]


@pytest.mark.parametrize(
    "request_line",
    ["GET http://[/ HTTP/1.1", f"GET /{'a' * 300} HTTP/1.1", f"GET {'/a' * 3000} HTTP/1.1", "GET / HTTP/9.9", "GET"],
)
def test_an_odd_request_is_answered_and_is_no_fault_of_the_store(store, request_line, capsys):
    """OP-08: No address, names longer than any store has, another protocol: each has an answer below 500 or a word on the protocol, and no
    traceback."""
    server = ReportsServer(("127.0.0.1", 0), store, Settings.from_environment({}))
    ours, theirs = socket.socketpair()
    with ours, theirs, server:
        ours.sendall(f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        ours.shutdown(socket.SHUT_WR)
        server.RequestHandlerClass(theirs, ("127.0.0.1", 1), server)
        theirs.shutdown(socket.SHUT_WR)
        answer = ours.makefile("rb").read()
    assert b" 404 " in answer or b" 505 " in answer or b"400" in answer
    assert "Traceback" not in capsys.readouterr().err
