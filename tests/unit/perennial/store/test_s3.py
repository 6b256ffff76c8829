"""A store in S3, which is moto's, in this process."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.errors import StoreUnreachable
from perennial.store import FolderStore, S3Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|responses|werkzeug).*")


def test_what_delta_is_told(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08, SY-14: Credentials and endpoint are passed on, plain HTTP is allowed where asked for, commits are conditional; a folder needs
    nothing."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    options = s3.storage_options()
    assert options["AWS_ACCESS_KEY_ID"] == "test"
    assert options["AWS_ALLOW_HTTP"] == "true"
    assert options["aws_conditional_put"] == "etag"
    assert FolderStore("/tmp").storage_options() == {}


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("AccessDenied", "rights on the bucket"),
        ("403", "credentials"),
        ("NoSuchBucket", "has no bucket bucket: create it"),
        ("SlowDown", r"failed \(SlowDown\)"),
        ("ExpiredToken", "session token, which has expired or is not valid: get new credentials with a new AWS_SESSION_TOKEN"),
        ("PermanentRedirect", "another region than AWS_REGION says"),
        ("RequestTimeTooSkewed", "this machine's clock is wrong"),
        ("501", r"does not answer as S3 does \(status 501\): check AWS_ENDPOINT_URL"),
    ],
)
def test_what_s3_refuses_is_one_sentence(s3: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, advice: str) -> None:
    """DM-09, SY-02: Each refusal of the server says what to check, in every method that meets it."""
    from botocore.exceptions import ClientError

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}, "Anything")

    (tmp_path / "local").write_bytes(b"x")
    for name in ("get_object", "put_object", "head_object", "delete_object"):
        monkeypatch.setattr(s3.client, name, refuse)
    for act in (
        lambda: s3.read("k"),
        lambda: s3.write("k", b""),
        lambda: s3.put_if_absent("k", b""),
        lambda: s3.exists("k"),
        lambda: s3.delete("k"),
        lambda: s3.upload(tmp_path / "local", "k"),
    ):
        with pytest.raises(StoreUnreachable, match=advice):
            act()


@pytest.mark.parametrize("code", ["400", "InvalidArgument"])
def test_a_refused_token_is_told(s3: S3Store, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """DM-09: Some servers call a token that has expired an invalid argument, and the answer to a HEAD gives no reason at all."""
    from botocore.exceptions import ClientError

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}, "HeadObject")

    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    monkeypatch.setattr(s3.client, "head_object", refuse)
    monkeypatch.setattr(s3.client, "get_object", refuse)
    with pytest.raises(StoreUnreachable, match="AWS_SESSION_TOKEN"):
        s3.exists("k")


def test_a_server_without_conditional_writes_is_refused(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08, SY-02: It would let two writers win without a word."""
    monkeypatch.setattr(s3.client, "put_object", lambda **_: {})
    with pytest.raises(StoreUnreachable, match=r"does not know conditional writes \(If-None-Match\)"):
        s3.put_if_absent("k", b"x")


def test_credentials_of_a_file_are_read_again_once_they_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DM-09: A process that runs for days survives a change of its keys."""
    from botocore.exceptions import ClientError

    file = tmp_path / "credentials"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    store = S3Store("s3://bucket")

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": "InvalidAccessKeyId"}, "ResponseMetadata": {}}, "GetObject")  # type: ignore[typeddict-item]

    for key in ("first", "second"):
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")
        assert store.storage_options()["AWS_ACCESS_KEY_ID"] == key
        monkeypatch.setattr(store.client, "get_object", refuse)
        with pytest.raises(StoreUnreachable, match="refuses the credentials"):
            store.read("k")


def test_what_delta_is_told_of_amazon(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08, SY-02: Amazon's own endpoint follows from the region, which boto3 alone would not read from AWS_REGION; any other endpoint is
    passed on."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    options = s3.storage_options()
    assert options["AWS_REGION"] == "eu-central-1"
    assert "AWS_ENDPOINT_URL" not in options
    assert "AWS_ALLOW_HTTP" not in options
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com")
    assert s3.storage_options()["AWS_ENDPOINT_URL"] == "https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com"


def test_a_missing_bucket_is_told(s3: S3Store) -> None:
    """DM-08: Listing and writing below a bucket that is not there say to create it."""
    other = S3Store("s3://absent")
    for act in (lambda: list(other.list("a")), lambda: other.write("k", b"")):
        with pytest.raises(StoreUnreachable, match="has no bucket absent"):
            act()


def test_an_endpoint_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: A refused connection says to check AWS_ENDPOINT_URL."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    store = S3Store("s3://bucket")
    with pytest.raises(StoreUnreachable, match="does not answer: check AWS_ENDPOINT_URL"):
        store.read("k")


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DM-09: Without any credentials the sentence names the two variables."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no"),
        "AWS_CONFIG_FILE": str(tmp_path / "no"),
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnreachable, match="AWS_ACCESS_KEY_ID"):
        S3Store("s3://bucket").read("k")


@pytest.mark.parametrize(
    ("code", "stored", "retries", "won"),
    [
        ("PreconditionFailed", b"mine", 1, True),
        ("PreconditionFailed", b"theirs", 1, False),
        ("PreconditionFailed", b"mine", 0, False),
        ("ConditionalRequestConflict", b"theirs", 0, False),
    ],
)
def test_a_conditional_write_knows_its_own_retry(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch, code: str, stored: bytes, retries: int, won: bool
) -> None:
    """DE-22: A retried put that meets its own first attempt has won; one that meets another's bytes, or was not retried, has lost."""
    from botocore.exceptions import ClientError

    s3.write("k", stored)

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"RetryAttempts": retries}}, "PutObject")  # type: ignore[typeddict-item]

    monkeypatch.setattr(s3.client, "put_object", refuse)
    assert s3.put_if_absent("k", b"mine") is won


def test_the_same_content_written_again_to_s3_is_another_object(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: S3's own tag would not tell: a refused file that is landed again, after the suite was mended, would be taken for the old
    one."""
    told = {"ContentLength": 1, "ETag": '"0cc1"', "LastModified": datetime(2026, 11, 1, 6, 0, 0, 250_000, timezone.utc)}
    monkeypatch.setattr(s3.client, "head_object", lambda **_: told)
    first = s3.stat("landing/a.csv")
    told = {**told, "LastModified": told["LastModified"] + timedelta(seconds=0.5)}  # listings and HEAD differ in precision
    assert s3.stat("landing/a.csv").etag == first.etag  # type: ignore[union-attr]
    told = {**told, "LastModified": told["LastModified"] + timedelta(seconds=1)}
    assert s3.stat("landing/a.csv").etag != first.etag  # type: ignore[union-attr]
