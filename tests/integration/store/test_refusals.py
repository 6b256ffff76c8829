"""What a person reads when S3 does not do what was asked: a real server refuses, one sentence says what to do."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data.tables import Table
from perennial.errors import SettingMissing, StoreUnreachable
from perennial.store import S3Store
from perennial.testing_s3 import S3Server, User

ROWS = pa.table({"sold": pa.array([datetime(2013, 1, 1)], pa.timestamp("us")), "shop": ["a"]})


def acts(store: S3Store, file: Path) -> dict[str, Callable[[], object]]:
    """Everything that is asked of a store, by its name."""
    file.write_bytes(b"x")
    return {
        "read": lambda: store.read("k"),
        "exists": lambda: store.exists("k"),
        "list": lambda: list(store.list("f")),
        "download": lambda: store.download("k", file.with_name("back")),
        "write": lambda: store.write("k", b""),
        "put_if_absent": lambda: store.put_if_absent("new", b""),
        "upload": lambda: store.upload(file, "k"),
        "copy": lambda: store.copy("k", "l"),
        "delete": lambda: store.delete("k"),
    }


def test_a_missing_bucket_is_told_by_every_act(credentials: None, tmp_path: Path) -> None:
    """DM-08: S3 answers some questions about a missing bucket as if an object were missing: that would look like an empty store."""
    store = S3Store(f"s3://absent-{uuid.uuid4().hex[:8]}/prefix")
    for act in acts(store, tmp_path / "file").values():
        with pytest.raises(StoreUnreachable, match=f"has no bucket {store.bucket}: create it or correct PERENNIAL_STORE"):
            act()
    with pytest.raises(StoreUnreachable, match=f"has no bucket {store.bucket}: create it"):
        Table(store, "sales").version()


@pytest.fixture
def reader(server: S3Server, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user who may only read the bucket, in which an object and a table are; the environment's from now on."""
    store.write("k", b"here")
    Table(store, "sales").append(ROWS, "one")
    user = server.add_user(f"reader-{uuid.uuid4().hex[:8]}")
    server.let(user, store.bucket, "s3:GetObject", "s3:ListBucket")
    for name, value in server.environment(user).items():
        monkeypatch.setenv(name, value)
    return user


def test_who_may_only_read_reads_and_is_told_what_is_lacking(reader: User, store: S3Store, tmp_path: Path) -> None:
    """DM-09: A pod with read-only credentials reads objects and tables; whatever would write names the right that it lacks."""
    found = acts(store, tmp_path / "file")
    assert found["read"]() == b"here"
    assert found["exists"]()
    assert not store.exists("absent")
    assert Table(store, "sales").count() == 1
    found["download"]()
    assert [item.key for item in store.list("tables/sales/_delta_log")]
    for name in ("write", "put_if_absent", "upload", "copy"):
        with pytest.raises(
            StoreUnreachable, match=r"does not let these credentials do it: it takes .*s3:PutObject; check their rights on the bucket b"
        ):
            found[name]()
    with pytest.raises(StoreUnreachable, match="it takes s3:DeleteObject"):
        found["delete"]()
    with pytest.raises(StoreUnreachable, match=r"it takes .*s3:PutObject.*\(at tables/sales/"):
        Table(store, "sales").append(ROWS, "two")


def test_who_may_do_nothing_is_told_so(server: S3Server, store: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DM-09: Right keys of a user without rights are told apart from wrong keys, also where the answer to a HEAD gives no reason."""
    user = server.add_user(f"nobody-{uuid.uuid4().hex[:8]}")
    for name, value in server.environment(user).items():
        monkeypatch.setenv(name, value)
    for act in acts(store, tmp_path / "file").values():
        with pytest.raises(StoreUnreachable, match="does not let these credentials do it: it takes s3:"):
            act()


def test_no_credentials_are_told(server: S3Server, no_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-09: Neither keys nor a role: both are named, by the store and by its tables."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    store = S3Store("s3://bucket")
    for act in (lambda: store.read("k"), lambda: Table(store, "sales").version()):
        with pytest.raises(
            StoreUnreachable,
            match="without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine or pod a role",
        ):
            act()


@pytest.fixture
def no_s3() -> Iterator[str]:
    """A web server that is no S3 server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def test_an_endpoint_that_is_none_is_told(store: S3Store, no_s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: Without http://, with https:// where nobody speaks TLS, where nobody listens, and where something else listens."""
    address = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for endpoint, error, said in (
        (address, SettingMissing, f"AWS_ENDPOINT_URL is '{address}' .*: write it like http://host:port or https://host"),
        (f"https://{address}", StoreUnreachable, "check whether AWS_ENDPOINT_URL begins with http:// or https://"),
        ("http://127.0.0.1:9", StoreUnreachable, "does not answer: check AWS_ENDPOINT_URL and the network"),
        (no_s3, StoreUnreachable, "AWS_ENDPOINT_URL"),
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for act in (lambda: store.read("k"), lambda: store.exists("k"), lambda: list(store.list("f")), lambda: store.write("k", b"")):
            with pytest.raises(error, match=said):
                act()


def test_a_table_does_not_wait_minutes_for_a_server_that_is_gone(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: Delta Lake's own patience would be three minutes for every look at a table."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL"):
        Table(store, "sales").version()
    assert time.monotonic() - began < 60


def test_a_command_says_one_sentence(credentials: None, tmp_path: Path) -> None:
    """DM-08: Whoever asks by the command line reads it too, without a traceback, and exit code 1."""
    own = {"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_STORE": "s3://absent-bucket/prefix"}
    done = subprocess.run(
        [sys.executable, "-m", "perennial.cli", "served-at", "2026-11-21", "--model", "flight_delays"],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "has no bucket absent-bucket: create it or correct PERENNIAL_STORE" in done.stderr
    assert "Traceback" not in done.stderr
