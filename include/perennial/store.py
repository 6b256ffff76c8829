"""The store: a folder or an S3 prefix below which everything durable lives. The only module that knows its paths.

Keys are relative, `/`-separated and identical in both kinds of store. Writes are atomic: a reader sees the whole
object or none. `put_if_absent` lets exactly one of several writers win.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any, NoReturn

from typing_extensions import override

from perennial.errors import SettingMissing, StoreUnreachable


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells of one object."""

    key: str
    size: int
    modified: float  # seconds since the epoch
    etag: str  # changes whenever the content is written again


class Store(ABC):
    """Objects below one root."""

    root: str

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The object's bytes. Raises KeyError if there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Write or replace an object atomically."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object only if none has that key; True if this call wrote it."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose key begins with the folder `prefix`, in key order. Unfinished writes are not shown."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""

    @abstractmethod
    def download(self, key: str, path: Path) -> None:
        """Copy an object to a local file without holding it in memory. Raises KeyError if there is none."""

    @abstractmethod
    def upload(self, path: Path, key: str) -> None:
        """Copy a local file into the store atomically without holding it in memory."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the store without reading it here. Raises KeyError if there is none."""

    @abstractmethod
    def stat(self, key: str) -> StoredObject | None:
        """What a listing would tell of one object; None if there is none."""

    def exists(self, key: str) -> bool:
        """Whether an object has that key."""
        return self.stat(key) is not None

    def uri(self, key: str) -> str:
        """Address of a key for libraries that read the store themselves (Delta Lake, MLflow)."""
        return f"{self.root}/{key}"

    def storage_options(self) -> dict[str, str]:
        """What `deltalake` must be told to reach the store."""
        return {}


def open_store(root: str) -> Store:
    """The store at a folder path or an `s3://bucket/prefix` address.

    Raises:
        SettingMissing: it is neither, or a file.
        StoreUnreachable: it is a folder without the rights to read and write it, or one that may not be made.
    """
    if root.startswith("s3://"):
        return S3Store(root)
    if "://" in root:
        raise SettingMissing(f"PERENNIAL_STORE is {root!r}: it must be a folder or begin with s3://.")
    store = FolderStore(root)
    _refuse_unusable(store.path)
    return store


def _refuse_unusable(folder: Path) -> None:
    """Else it would look like an empty store until somebody writes to it."""
    nearest = next(place for place in (folder, *folder.parents) if os.path.exists(place))  # Path.exists raises where rights are missing
    if not nearest.is_dir():
        where = "it" if nearest == folder else str(nearest)
        raise SettingMissing(
            f"PERENNIAL_STORE is {str(folder)!r}: {where} is a file, and must be a folder. Name another place, or move the file."
        )
    wanted = os.R_OK | os.W_OK | os.X_OK if nearest == folder else os.W_OK | os.X_OK
    if not os.access(nearest, wanted):
        lacking = (
            f"{nearest} may not be read and written"
            if nearest == folder
            else f"it is not there, and {nearest} may not be written to make it"
        )
        raise StoreUnreachable(
            f"The store {folder} cannot be used: {lacking} by the user {os.geteuid()}. Give the user the rights, or name another place as PERENNIAL_STORE."
        )


def _checked(key: str) -> str:
    if not key or key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"{key!r} is not a key of the store")
    return key


class FolderStore(Store):
    """A folder of this machine, or one that several machines mount."""

    def __init__(self, root: str) -> None:
        self.path = Path(root).expanduser().absolute()
        self.root = str(self.path)

    @contextlib.contextmanager
    def _sentences(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "has no room left: free some space" if full else f"cannot be used ({error.strerror}): check the folder and its rights"
            raise StoreUnreachable(f"The store {self.root} {what} (at {key}).") from error

    @contextlib.contextmanager
    def _sentences_of_reading(self, key: str) -> Iterator[None]:
        with self._sentences(key):
            try:
                yield
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise KeyError(key) from None

    def _file(self, key: str) -> Path:
        return self.path / _checked(key)

    def _unfinished(self, key: str) -> Path:
        target = self._file(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, "a file stands where a folder is needed", str(target.parent)) from error
        return target.with_name(f".{target.name[:180]}.{uuid.uuid4().hex}.unfinished")

    def _write_unfinished(self, key: str, data: bytes) -> Path:
        unfinished = self._unfinished(key)
        try:
            with open(unfinished, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return unfinished

    @override
    def read(self, key: str) -> bytes:
        with self._sentences_of_reading(key):
            return self._file(key).read_bytes()

    @override
    def write(self, key: str, data: bytes) -> None:
        with self._sentences(key):
            os.replace(self._write_unfinished(key, data), self._file(key))

    @override
    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._sentences(key):
            unfinished = self._write_unfinished(key, data)
            try:
                os.link(unfinished, self._file(key))  # fails if the name is taken: the atomic test-and-set of POSIX
            except FileExistsError:
                return False
            finally:
                unfinished.unlink()
            return True

    @override
    def list(self, prefix: str) -> Iterator[StoredObject]:
        with self._sentences(prefix):
            yield from self._walk(prefix)

    def _walk(self, prefix: str) -> Sequence[StoredObject]:
        def tell(error: OSError) -> None:  # without it a folder without rights would look like an empty one
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        found = []
        for folder, folders, files in os.walk(self._file(prefix), onerror=tell):
            folders.sort()
            for name in files:
                if name.endswith(".unfinished"):
                    continue
                item = self.stat(Path(folder, name).relative_to(self.path).as_posix())
                if item:  # else it was removed since the walk saw it
                    found.append(item)
        return sorted(found, key=lambda item: item.key)

    @override
    def delete(self, key: str) -> None:
        with self._sentences(key):
            self._file(key).unlink(missing_ok=True)

    @override
    def download(self, key: str, path: Path) -> None:
        with self._sentences_of_reading(key):
            shutil.copyfile(self._file(key), path)

    @override
    def upload(self, path: Path, key: str) -> None:
        with self._sentences(key):
            unfinished = self._unfinished(key)
            try:
                shutil.copyfile(path, unfinished)
                with open(unfinished, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(unfinished, self._file(key))
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise

    @override
    def copy(self, source: str, target: str) -> None:
        with self._sentences(source):
            if not self._file(source).is_file():
                raise KeyError(source)
            unfinished = self._unfinished(target)
            try:
                os.link(self._file(source), unfinished)  # gigabytes at no cost
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                    raise
                shutil.copyfile(self._file(source), unfinished)
            os.replace(unfinished, self._file(target))
            unfinished.unlink(missing_ok=True)  # renaming onto another link of the same file leaves both names

    @override
    def stat(self, key: str) -> StoredObject | None:
        with self._sentences(key):
            try:
                stat = self._file(key).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        if not S_ISREG(stat.st_mode):
            return None
        return StoredObject(key, stat.st_size, stat.st_mtime, f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}")


class S3Store(Store):
    """A prefix of a bucket. The usual AWS_* variables say which server (AWS_ENDPOINT_URL) and who asks."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        bucket, _, prefix = root.removeprefix("s3://").rstrip("/").partition("/")
        if not bucket:
            raise SettingMissing(f"PERENNIAL_STORE is {root!r}: it names no bucket.")
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self._client: Any = None

    @property
    def client(self) -> Any:
        """boto3's client, made at first use: importing boto3 costs more than most callers spend."""
        if self._client is None:
            import boto3
            from botocore.config import Config

            # a session of its own: the default one keeps the first credentials that it met
            self._client = boto3.Session().client(
                "s3", config=Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"})
            )
        return self._client

    @contextlib.contextmanager
    def _sentences(self, key: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except Boto3Error as error:  # what uploads and copies of several parts wrap their reason in
            reason = error.__cause__ or error.__context__
            self._fail(key, reason.response["Error"]["Code"] if isinstance(reason, ClientError) else type(reason or error).__name__, error)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("404", "NoSuchKey"):
                raise KeyError(key) from None
            self._fail(key, code, error)
        except BotoCoreError as error:
            self._fail(key, type(error).__name__, error)

    def _fail(self, key: str, code: str, error: Exception) -> NoReturn:
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoCredentialsError", "PartialCredentialsError"):
            advice = "refuses the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and the rights on the bucket"
        elif code == "NoSuchBucket":
            advice = f"has no bucket {self.bucket}: create it or correct PERENNIAL_STORE"
        elif code in ("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError"):
            advice = "does not answer: check AWS_ENDPOINT_URL and the network"
        else:
            advice = f"failed ({code})"
        raise StoreUnreachable(f"The store {self.root} {advice} (at {key}).") from error

    def _key(self, key: str) -> str:
        return self.prefix + _checked(key)

    @override
    def read(self, key: str) -> bytes:
        with self._sentences(key):
            data: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read()
            return data

    @override
    def write(self, key: str, data: bytes) -> None:
        with self._sentences(key):
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    @override
    def put_if_absent(self, key: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        with self._sentences(key):
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
            except ClientError as error:
                # 409: another conditional write to the key is under way and one of the two will win
                if error.response["Error"]["Code"] in ("PreconditionFailed", "412"):
                    # A retried request may meet its own first attempt: the same bytes mean this call wrote them.
                    return error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0 and self.read(key) == data
                if error.response["Error"]["Code"] in ("ConditionalRequestConflict", "409"):
                    return False
                raise
            return True

    @override
    def list(self, prefix: str) -> Iterator[StoredObject]:
        with self._sentences(prefix):
            for page in self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._key(prefix).rstrip("/") + "/"
            ):
                for item in page.get("Contents", ()):
                    yield self._stored(item["Key"][len(self.prefix) :], item["Size"], item)

    @override
    def delete(self, key: str) -> None:
        with self._sentences(key):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(key))

    @override
    def download(self, key: str, path: Path) -> None:
        with self._sentences(key):
            self.client.download_file(self.bucket, self._key(key), str(path))

    @override
    def upload(self, path: Path, key: str) -> None:
        with self._sentences(key):
            self.client.upload_file(str(path), self.bucket, self._key(key))

    @override
    def copy(self, source: str, target: str) -> None:
        with self._sentences(source):
            self.client.copy({"Bucket": self.bucket, "Key": self._key(source)}, self.bucket, self._key(target))

    @override
    def stat(self, key: str) -> StoredObject | None:
        try:
            with self._sentences(key):
                found = self.client.head_object(Bucket=self.bucket, Key=self._key(key))
        except KeyError:
            return None
        return self._stored(key, found["ContentLength"], found)

    def _stored(self, key: str, size: int, told: Mapping[str, Any]) -> StoredObject:
        # S3's own tag is the same for the same content written again; a HEAD tells times to the second, a listing finer
        seconds = told["LastModified"].timestamp()
        return StoredObject(key, size, seconds, f"{told['ETag'].strip(chr(34))}-{int(seconds):x}")

    @override
    def storage_options(self) -> dict[str, str]:
        options = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
        if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        options["aws_conditional_put"] = "etag"  # commits are put-if-absent: no lock table needed
        return options
