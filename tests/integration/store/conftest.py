"""A real S3 server for the tests of this folder, and an environment that knows no other."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.store import S3Store
from perennial.testing_s3 import S3Server, missing_programs, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    if reason := missing_programs():
        pytest.skip(reason)
    with s3_server() as found:
        yield found


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def credentials(server: S3Server, no_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(server: S3Server, credentials: None) -> S3Store:
    bucket = f"b{uuid.uuid4().hex[:8]}"
    server.create_bucket(bucket)
    return S3Store(f"s3://{bucket}/prefix")
