"""Both kinds of store: S3 is moto's, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.store import FolderStore, S3Store, Store


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    from moto import mock_aws

    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    with mock_aws(config={"core": {"mock_credentials": False}}):
        store = S3Store("s3://bucket/some/prefix")
        store.client.create_bucket(Bucket="bucket")
        yield store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FolderStore(str(tmp_path / "store")) if request.param == "folder" else request.getfixturevalue("s3")
