"""S3 credentials of this process: one boto3 session and client for all stores, configured by the AWS_* variables."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

from perennial.errors import SettingMissing


@dataclass(frozen=True)
class Access:
    """The S3 session and client of this process."""

    session: Any
    client: Any


def access() -> Access:
    """One session of boto3 and its client for all stores of a process, as the AWS_* variables of now say.

    Making one costs a tenth of a second, and with a role of the machine or the pod a request for credentials; a session
    renews those by itself. Another process, forked from this one, must not use its connections.
    """
    return _access_of(os.getpid(), frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


@functools.lru_cache(maxsize=8)
def _access_of(process: int, variables: frozenset[tuple[str, str]]) -> Access:
    del process
    import boto3  # late: importing it costs more than most callers spend
    from botocore.config import Config

    given = dict(variables)
    session = boto3.Session(region_name=given.get("AWS_REGION") or None)  # which boto3 alone would not read; Delta Lake does
    try:
        client = session.client("s3", config=Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"}))
    except ValueError as error:
        endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
        raise SettingMissing(f"AWS_ENDPOINT_URL is {endpoint!r} ({error}): write it like http://host:port or https://host.") from None
    return Access(session, client)


def credentials() -> Any:
    """The credentials that this process uses, or None."""
    return access().session.get_credentials()


def forget_access() -> None:
    """Let the next call find credentials again: a file may hold other ones by now, or a role give them."""
    _access_of.cache_clear()
