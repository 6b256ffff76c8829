"""A bucket of somebody else's on a real S3 server, with more keys than one listing gives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from perennial.errors import SourceRefused
from perennial.specs import Column, DatasetSpec, DeltaSource, FilesSource, SourceSpec
from perennial.testing.collecting import Collecting
from perennial.testing_s3 import S3Server, missing_programs, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """The server, with a bucket."""
    if reason := missing_programs():
        pytest.skip(reason)
    with s3_server() as found:
        found.create_bucket("theirs")
        yield found


def _collecting(tmp_path: Path, server: S3Server, source: SourceSpec, secret: str = "") -> Collecting:
    known = server.environment()
    connection = {
        "type": "aws", "login": known["AWS_ACCESS_KEY_ID"], "password": secret or known["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": known["AWS_ENDPOINT_URL"], "region_name": known.get("AWS_REGION", "us-east-1")},
    }  # fmt: skip
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    spec = DatasetSpec(name="theirs", title="T", owner="tests", columns=columns, key=("id",), event_time="at", source=source)
    return Collecting(spec, tmp_path / "store", {"cloud": connection})


def _client(server: S3Server) -> object:
    known = server.environment()
    keys = {"aws_access_key_id": known["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": known["AWS_SECRET_ACCESS_KEY"]}
    return boto3.client("s3", endpoint_url=known["AWS_ENDPOINT_URL"], region_name=known.get("AWS_REGION", "us-east-1"), **keys)


def test_more_keys_than_a_listing(tmp_path: Path, server: S3Server) -> None:
    """DM-01, DM-08: 1,100 keys: each is taken once; one that is written again is taken again; wrong keys are a sentence without them."""
    client = _client(server)
    for number in range(1100):
        body = f"id,at\n{number},2026-03-01\n" if number % 100 == 0 else "id,at\n"
        client.put_object(Bucket="theirs", Key=f"in/{number:05}.{'csv' if number % 100 == 0 else 'txt'}", Body=body.encode())
    time.sleep(1.1)
    source = FilesSource(url="s3://theirs/in", pattern="*.csv", connection="cloud", settle_seconds=1)
    theirs = _collecting(tmp_path, server, source)
    assert len(theirs.collect().files) == 11
    client.put_object(Bucket="theirs", Key="in/00100.csv", Body=b"id,at\n5000,2026-03-01\n")
    client.put_object(Bucket="theirs", Key="in/01100.csv", Body=b"id,at\n6000,2026-03-01\n")
    time.sleep(1.1)
    assert theirs.collect().files == ("00100-00000002.csv", "01100-00000002.csv")
    assert theirs.collect().outcome == "skipped"
    assert not theirs.take_in().refused
    assert theirs.keys() == dict.fromkeys([*range(0, 1100, 100), 5000, 6000], 1)
    with pytest.raises(SourceRefused, match="refuses the files of theirs") as told:
        _collecting(tmp_path, server, source, "geheim").collect()
    assert "geheim" not in str(told.value)


def test_a_delta_table_in_their_bucket(tmp_path: Path, server: S3Server) -> None:
    """DM-01, DM-08: Read by the same connection."""
    known = server.environment()
    options = {name: known[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")}
    options |= {"AWS_REGION": known.get("AWS_REGION", "us-east-1"), "AWS_ALLOW_HTTP": "true"}
    for first in (0, 10):
        at = pa.array([0] * 10, pa.timestamp("us"))
        write_deltalake("s3://theirs/table", pa.table({"id": range(first, first + 10), "at": at}), mode="append", storage_options=options)
    theirs = _collecting(tmp_path, server, DeltaSource(url="s3://theirs/table", connection="cloud"))
    assert theirs.collect().rows == 20
    theirs.take_in()
    assert theirs.keys() == dict.fromkeys(range(20), 1)
