"""Opens the folder or bucket of an address, as a file system of fsspec.

S3, Google Cloud Storage, Azure and HDFS are read by the clients that come with Arrow, all else by what fsspec finds installed.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.arrow import ArrowFSWrapper

from perennial.errors import SettingMissing
from perennial.sources.connections import Connection


def file_system(url: str, connection: Connection | None) -> tuple[AbstractFileSystem, str]:
    """The file system of an address, and the path in it.

    Raises:
        SettingMissing: nothing here knows this kind of address, or what it needs is not installed.
    """
    parts = urlsplit(url)
    opened = _ARROW.get(parts.scheme)
    try:
        if opened:
            return ArrowFSWrapper(opened(url, connection)), f"{_container(parts.netloc)}{parts.path}".rstrip("/")
        system, path = url_to_fs(url, **_options(connection))
    except (ImportError, ValueError, OSError) as error:
        raise SettingMissing(
            f"{parts.scheme}://{parts.hostname or ''} cannot be opened ({' '.join(str(error).split())[:200]}): correct the address or the "
            "connection, or add what it needs to the requirements of the workload environment."
        ) from None
    return system, str(path).rstrip("/")


def _container(place: str) -> str:
    """Bucket or container of an address; Azure's may have the account after an @."""
    return place.partition("@")[0]


def _s3(url: str, connection: Connection | None) -> Any:
    from pyarrow.fs import S3FileSystem

    given: dict[str, Any] = {}
    extra = connection.extra if connection else {}
    if connection and connection.login:
        given = {"access_key": connection.login, "secret_key": connection.password.get_secret_value()}
        given["session_token"] = extra.get("aws_session_token")
    given["role_arn"] = extra.get("role_arn")
    given["anonymous"] = bool(extra.get("anonymous")) or None
    given["region"] = extra.get("region_name") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    given["endpoint_override"] = extra.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return S3FileSystem(**{name: value for name, value in given.items() if value}, connect_timeout=5, request_timeout=60)


def _gcs(url: str, connection: Connection | None) -> Any:
    from pyarrow.fs import GcsFileSystem

    extra = connection.extra if connection else {}
    known = {name: extra[name] for name in ("anonymous", "endpoint_override", "scheme", "project_id") if name in extra}
    return GcsFileSystem(**known)  # else by the credentials of the machine or pod


def _azure(url: str, connection: Connection | None) -> Any:
    from pyarrow.fs import AzureFileSystem

    _, _, account = urlsplit(url).netloc.partition("@")
    given: dict[str, Any] = {"account_name": account.split(".")[0]}
    if connection:
        given["account_name"] = connection.login or given["account_name"]
        given["account_key"] = connection.password.get_secret_value()
        names = (
            "sas_token",
            "tenant_id",
            "client_id",
            "client_secret",
            *(f"{kind}_storage_{part}" for kind in ("blob", "dfs") for part in ("authority", "scheme")),
        )
        given |= {name: connection.extra[name] for name in names if name in connection.extra}
    return AzureFileSystem(**{name: value for name, value in given.items() if value})


def _hdfs(url: str, connection: Connection | None) -> Any:
    from pyarrow.fs import HadoopFileSystem

    parts = urlsplit(url)
    host = (connection.host if connection else "") or parts.hostname or "default"
    return HadoopFileSystem(
        host, port=(connection.port if connection else None) or parts.port or 0, user=connection.login if connection else None
    )


_ARROW = {"s3": _s3, "s3a": _s3, "gs": _gcs, "gcs": _gcs, "abfs": _azure, "abfss": _azure, "az": _azure, "hdfs": _hdfs}


def _options(connection: Connection | None) -> dict[str, Any]:
    """What fsspec is told of a connection."""
    if connection is None:
        return {}
    given = {"host": connection.host, "port": connection.port, "username": connection.login}
    given["password"] = connection.password.get_secret_value()
    return {name: value for name, value in given.items() if value} | connection.extra
