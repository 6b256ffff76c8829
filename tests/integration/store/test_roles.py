"""Credentials that nobody wrote down: a pod's token is exchanged for those of a role, for objects and tables alike. S3 and the
exchange are moto's server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from perennial.data.tables import Table
from perennial.errors import StoreUnreachable
from perennial.store import S3Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|werkzeug|flask).*")


@pytest.fixture
def exchange(no_credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Whoever brings the token file gets the role: what Amazon's webhook puts into a pod with a service account."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    (tmp_path / "token").write_text("a.pods.token")
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/perennial",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
    }.items():
        monkeypatch.setenv(name, value)
    yield tmp_path / "token"
    server.stop()


def test_a_pods_token_opens_objects_and_tables(exchange: Path) -> None:
    """DM-09, SC-04: boto3 exchanges the token once for the process, and Delta Lake is told what it got."""
    store = S3Store("s3://bucket/prefix")
    store.client.create_bucket(Bucket="bucket")
    asked: list[Any] = []
    store.client.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.headers))
    assert store.put_if_absent("k", b"x")
    Table(store, "sales").append(pa.table({"number": [1]}), "one")
    assert Table(S3Store(store.root), "sales").count() == 1
    options = store.storage_options()
    sent = {headers["X-Amz-Security-Token"] for headers in asked}
    assert sent == {options["AWS_SESSION_TOKEN"].encode()}
    assert options["AWS_ACCESS_KEY_ID"]
    assert not {"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"} & set(options)


def test_a_pod_without_its_token_is_told(exchange: Path) -> None:
    """DM-09, SC-04: A service account without the volume of its token: the file is named, by the store and by its tables."""
    exchange.unlink()
    store = S3Store("s3://bucket/prefix")
    for act in (lambda: store.read("k"), lambda: Table(store, "sales").version()):
        with pytest.raises(StoreUnreachable, match=f"there is no file {exchange} with the pod's token"):
            act()


def test_a_role_that_is_not_given_is_told(exchange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-09, SC-04: The exchange is asked of S3's own endpoint where that is another's: a server that knows no roles says so."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreUnreachable, match="does not answer: check AWS_ENDPOINT_URL"):
        S3Store("s3://bucket/prefix").read("k")
