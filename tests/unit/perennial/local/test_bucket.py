from __future__ import annotations

from pathlib import Path

import pytest

from perennial.local import bucket
from perennial.store import S3Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|responses|werkzeug).*")


def test_a_missing_bucket_is_made_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-08, SY-02: A second start finds it and what is in it."""
    from moto import mock_aws

    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PERENNIAL_STORE", "s3://fresh/store")
    with mock_aws():
        assert bucket.main() == 0
        S3Store("s3://fresh/store").write("a", b"1")
        assert bucket.main() == 0
        assert S3Store("s3://fresh/store").read("a") == b"1"
    assert capsys.readouterr().out == "The bucket fresh was made.\nThe bucket fresh is there.\n"


def test_a_folder_needs_no_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-08: The same start-up serves a store on disk."""
    monkeypatch.setenv("PERENNIAL_STORE", str(tmp_path))
    assert bucket.main() == 0
    assert "needs no bucket" in capsys.readouterr().out


def test_a_server_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-08, SY-02: Exit 1 and what to check; the container is started again."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "PERENNIAL_STORE": "s3://fresh/store",
    }.items():
        monkeypatch.setenv(name, value)
    assert bucket.main() == 1
    assert "check AWS_ENDPOINT_URL" in capsys.readouterr().err
