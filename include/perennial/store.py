"""The store: a folder or an S3 prefix below which everything durable lives. The only module that knows its paths.

Keys are relative, `/`-separated and identical in both kinds of store. Writes are atomic: a reader sees the whole
object or none. `put_if_absent` lets exactly one of several writers win.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any, NoReturn

from typing_extensions import override

from perennial.errors import SettingMissing, StoreUnreachable

# What is below the root. Others may keep things beside it.
FOLDERS = (
    "landing",
    "quarantine",
    "receipts",
    "removals",
    "tables",
    "models",
    "reports",
    "predictions",
    "outcomes",
    "profiles",
    "requests",
    "incidents",
    "ledger",
    "probe",
    "releases",
    "observed",
    "mlflow",
)
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


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
    appears_whole = False  # whether an object that others write is seen only once it is complete

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
    def sha256(self, key: str) -> str:
        """SHA-256 of an object's bytes, read piece by piece. Raises KeyError if there is none."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the store without reading it here. Raises KeyError if there is none."""

    @abstractmethod
    def stat(self, key: str) -> StoredObject | None:
        """What a listing would tell of one object; None if there is none."""

    def being_written(self, keys: Collection[str]) -> frozenset[str]:
        """Those of some objects that a program holds open for writing now, as far as the system tells: in S3 an object appears whole."""
        del keys
        return frozenset()

    @abstractmethod
    def make_folder(self, key: str) -> None:
        """Let a folder be there before anything is in it, for a person who looks for it; nothing where a folder is but part of names."""

    @abstractmethod
    def make_private(self) -> None:
        """Let nobody but this user into what the store keeps, whoever could until now; nothing where the store itself knows who may."""

    def exists(self, key: str) -> bool:
        """Whether an object has that key."""
        return self.stat(key) is not None

    def uri(self, key: str) -> str:
        """Address of a key for libraries that read the store themselves (Delta Lake, MLflow)."""
        return f"{self.root}/{key}"

    def storage_options(self) -> dict[str, str]:
        """What `deltalake` must be told to reach the store."""
        return {}


def open_store(root: str, *, writes: bool = True) -> Store:
    """The store at a folder path or an `s3://bucket/prefix` address.

    Args:
        root: where it is.
        writes: whether who opens it will write. One who only reads may have a folder that is mounted read-only. In S3
            rights are asked for by writing: a missing one is told by the first write.

    Raises:
        SettingMissing: it is neither, or a file.
        StoreUnreachable: it is a folder without the rights to read it, and to write it where that is wanted, or one that may not be made.
    """
    if root.startswith("s3://"):
        return S3Store(root)
    if "://" in root:
        raise SettingMissing(f"PERENNIAL_STORE is {root!r}: it must be a folder or begin with s3://.")
    store = FolderStore(root)
    _refuse_unusable(store.path, writes)
    return store


def _refuse_unusable(folder: Path, writes: bool) -> None:
    """Else it would look like an empty store until somebody writes to it."""
    nearest = next(place for place in (folder, *folder.parents) if os.path.exists(place))  # Path.exists raises where rights are missing
    if not nearest.is_dir():
        where = "it" if nearest == folder else str(nearest)
        raise SettingMissing(
            f"PERENNIAL_STORE is {str(folder)!r}: {where} is a file, and must be a folder. Name another place, or move the file."
        )
    wanted = os.R_OK | os.X_OK | (os.W_OK if writes else 0) if nearest == folder else os.W_OK | os.X_OK
    if not os.access(nearest, wanted):
        lacking = (
            f"{nearest} may not be read{' and written' * writes}"
            if nearest == folder
            else f"it is not there, and {nearest} may not be written to make it"
        )
        raise StoreUnreachable(
            f"The store {folder} cannot be used: {lacking} by the user {os.geteuid()}. Give the user the rights, or name another place as PERENNIAL_STORE."
        )


_MOST_OPEN = 50_000  # open files of other programs that are looked at: beyond them a file's time and size alone tell


def open_for_writing(paths: Iterable[Path]) -> frozenset[Path]:
    """Those of some files that a process holds open for writing: Linux tells it of the processes of the same user, root of all. Elsewhere none."""
    wanted: dict[tuple[int, int], Path] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = path.stat()
            wanted[found.st_dev, found.st_ino] = path
    written: set[Path] = set()
    if not wanted or not os.path.isdir("/proc/self/fd"):
        return frozenset()
    looked = 0
    for process in os.listdir("/proc"):
        if not process.isdecimal() or looked > _MOST_OPEN:
            continue
        # a process that ends meanwhile, or is another user's, tells nothing
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            for number in os.listdir(f"/proc/{process}/fd"):
                looked += 1
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                    found = os.stat(f"/proc/{process}/fd/{number}")
                    file = wanted.get((found.st_dev, found.st_ino))
                    if file is not None and _is_for_writing(process, number):
                        written.add(file)
    return frozenset(written)


def _is_for_writing(process: str, number: str) -> bool:
    with open(f"/proc/{process}/fdinfo/{number}") as told:
        flags = next((int(line.split()[1], 8) for line in told if line.startswith("flags:")), 0)
    return flags & os.O_ACCMODE != os.O_RDONLY


def _checked(key: str) -> str:
    if not key or key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"{key!r} is not a key of the store")
    return key


def private_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for this user only. Raises NotADirectoryError."""
    if folder.is_dir():
        return
    for place in reversed([place for place in (folder, *folder.parents) if not place.is_dir()]):
        try:
            place.mkdir(mode=PRIVATE_FOLDER)
        except FileExistsError as error:  # another process made it, or it is a file
            if not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "a file stands where a folder is needed", str(place)) from error


def tighten(folder: Path) -> None:
    """Let nobody but this user into a folder, if it is there and the user's own."""
    with contextlib.suppress(FileNotFoundError):
        if folder.is_dir() and folder.stat().st_uid == os.geteuid():
            folder.chmod(PRIVATE_FOLDER)


def _private_file(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)


class FolderStore(Store):
    """A folder of this machine, or one that several machines mount. What it writes only its user can read."""

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
        private_folder(target.parent)
        begin = os.fsdecode(os.fsencode(target.name)[:180])  # a name has at most 255 bytes, whatever its letters
        return target.with_name(f".{begin}.{uuid.uuid4().hex}.unfinished")

    def _write_unfinished(self, key: str, data: bytes) -> Path:
        unfinished = self._unfinished(key)
        try:
            with open(unfinished, "wb", opener=_private_file) as file:
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
                with open(path, "rb") as source, open(unfinished, "wb", opener=_private_file) as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(unfinished, self._file(key))
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise

    @override
    def sha256(self, key: str) -> str:
        with self._sentences_of_reading(key), open(self._file(key), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @override
    def being_written(self, keys: Collection[str]) -> frozenset[str]:
        files = {self._file(key): key for key in keys}
        return frozenset(files[path] for path in open_for_writing(files))

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
                unfinished.touch(PRIVATE_FILE)
                shutil.copyfile(self._file(source), unfinished)
            os.replace(unfinished, self._file(target))
            unfinished.unlink(missing_ok=True)  # renaming onto another link of the same file leaves both names

    @override
    def make_folder(self, key: str) -> None:
        with self._sentences(key):
            private_folder(self._file(key))

    @override
    def make_private(self) -> None:
        for name in FOLDERS:
            tighten(self.path / name)

    @override
    def stat(self, key: str) -> StoredObject | None:
        with self._sentences(key):
            try:
                stat = self._file(key).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                if error.errno == errno.ELOOP:  # a link that leads to itself: it holds nothing either
                    return None
                raise
        if not S_ISREG(stat.st_mode):
            return None
        return StoredObject(key, stat.st_size, stat.st_mtime, f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}")


@dataclass(frozen=True)
class _Access:
    """Who this process is towards S3."""

    session: Any
    client: Any


def _access() -> _Access:
    """One session of boto3 and its client for all stores of a process, as the AWS_* variables of now say.

    Making one costs a tenth of a second, and with a role of the machine or the pod a request for credentials; a session
    renews those by itself. Another process, forked from this one, must not use its connections.
    """
    return _access_of(os.getpid(), frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))


@functools.lru_cache(maxsize=8)
def _access_of(process: int, variables: frozenset[tuple[str, str]]) -> _Access:
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
    return _Access(session, client)


# Operation -> the right that it needs.
_RIGHTS = {
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "CopyObject": "s3:GetObject and s3:PutObject",
    **dict.fromkeys(("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "s3:PutObject"),
    **{name: f"s3:{name}" for name in ("GetObject", "PutObject", "DeleteObject")},
}
_CREDENTIALS = "refuses the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and the rights on the bucket"
_NONE = "was asked without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine or pod a role"
_EXPIRED = (
    "refuses the session token, which has expired or is not valid: get new credentials with a new AWS_SESSION_TOKEN, then start again"
)
_SILENT = "does not answer: check AWS_ENDPOINT_URL and the network"
_REGION = "is in another region than AWS_REGION says: set AWS_REGION to the bucket's"
_ADVICE = {
    **dict.fromkeys(("403", "InvalidAccessKeyId", "SignatureDoesNotMatch"), _CREDENTIALS),
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError"), _NONE),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ReadTimeoutError"), _SILENT),
    **dict.fromkeys(("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"), _REGION),
    "RequestTimeTooSkewed": "refuses requests because this machine's clock is wrong: set it",
    "SSLError": "cannot be spoken to over TLS: check whether AWS_ENDPOINT_URL begins with http:// or https://, and that AWS_CA_BUNDLE has its authority",
    "ProfileNotFound": "was asked with a profile that is not there: correct AWS_PROFILE",
    **dict.fromkeys(("ParamValidationError", "InvalidBucketName"), "has no valid name: correct PERENNIAL_STORE"),
    **dict.fromkeys(("QuotaExceeded", "EntityTooLarge"), "has no room left: free some space, or raise the bucket's quota"),
}
_WITHOUT_CREDENTIALS = {"CredentialRetrievalError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "SSOTokenLoadError"}
_AMAZON = re.compile(r"https://s3[.-]([a-z0-9-]+\.)?amazonaws\.com(\.cn)?")
# By these boto3 finds credentials and the server; what it found is passed on instead.
_CHAIN = {
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
}
_HELD = ("PreconditionFailed", "412")
_TAKEN = (*_HELD, "ConditionalRequestConflict", "409")  # 409: another conditional write to the key is under way
_CONDITIONAL_KEY = "probe/conditional-write"


def _used() -> Any:
    """The credentials that this process uses, or None."""
    return _access().session.get_credentials()


def _code(error: Any) -> str:
    """What the server calls its refusal; some servers lay it one level higher than Amazon's."""
    return str(error.response.get("Error", error.response).get("Code", "no reason given"))


class S3Store(Store):
    """A prefix of a bucket. The usual AWS_* variables say which server (AWS_ENDPOINT_URL) and who asks: keys, a profile, or a role of the machine or pod."""

    appears_whole = True

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        bucket, _, prefix = root.removeprefix("s3://").rstrip("/").partition("/")
        if not bucket:
            raise SettingMissing(f"PERENNIAL_STORE is {root!r}: it names no bucket.")
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self._seen = False  # whether the bucket is known to be there
        self._conditional = False  # whether the server is known to refuse a conditional write to a key that is taken

    @property
    def client(self) -> Any:
        """boto3's client, made at first use."""
        return _access().client

    @contextlib.contextmanager
    def _sentences(self, key: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except Boto3Error as error:  # what uploads and copies of several parts wrap their reason in
            reason = error.__cause__ or error.__context__
            if isinstance(reason, ClientError):
                self._refused(key, self._with_reason(key, reason))
            self._fail(key, type(reason or error).__name__, error)
        except ClientError as error:
            if _code(error) in ("404", "NoSuchKey") and self._is_there(error):
                raise KeyError(key) from None
            self._refused(key, self._with_reason(key, error))
        except BotoCoreError as error:
            self._fail(key, type(error).__name__, error)
        except FileNotFoundError as error:
            if error.filename is None or error.filename != os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
                raise
            advice = f"was asked without credentials: there is no file {error.filename} with the pod's token; check its service account, or AWS_WEB_IDENTITY_TOKEN_FILE"
            raise StoreUnreachable(f"The store {self.root} {advice} (at {key}).") from error

    def _is_there(self, error: Any) -> bool:
        """Whether the bucket is: where no object is meant by 404, a bucket may be."""
        from botocore.exceptions import BotoCoreError, ClientError

        if _code(error) == "NoSuchKey":
            self._seen = True
        if not self._seen:
            try:
                self.client.head_bucket(Bucket=self.bucket)
            except ClientError as refusal:
                if _code(refusal) in ("404", "NoSuchBucket"):
                    return False
            except BotoCoreError as silence:
                self._fail(self.bucket, type(silence).__name__, silence)
            self._seen = True
        return True

    def _with_reason(self, key: str, error: Any) -> Any:
        """The refusal with its reason. The answer to a HEAD has no body that could tell it: a GET of the same object is asked for one."""
        from botocore.exceptions import BotoCoreError, ClientError

        if error.operation_name == "HeadObject" and _code(error) in ("400", "403"):
            try:
                self.client.get_object(Bucket=self.bucket, Key=self._key(key), Range="bytes=0-0")["Body"].close()
            except ClientError as told:
                return told
            except BotoCoreError:
                return error  # nobody answers any more: the first answer is the only one
        return error

    def _refused(self, key: str, error: Any) -> NoReturn:
        code, operation = _code(error), error.operation_name
        if operation.startswith("AssumeRole"):
            role = os.environ.get("AWS_ROLE_ARN", "of the AWS profile")
            advice = f"was asked without credentials: the role {role} was not given ({code}): check the trust of the role, and AWS_ROLE_ARN"
            raise StoreUnreachable(f"The store {self.root} {advice} (at {key}).") from error
        if code == "AccessDenied":
            right = f"it takes {_RIGHTS[operation]}" if operation in _RIGHTS else f"{operation} is refused"
            raise StoreUnreachable(
                f"The store {self.root} does not let these credentials do it: {right}; check their rights on the bucket {self.bucket} (at {key})."
            ) from error
        self._fail(key, "NoSuchBucket" if code == "404" else code, error)

    def _fail(self, key: str, code: str, error: Exception) -> NoReturn:
        if code == "NoSuchBucket":
            advice = f"has no bucket {self.bucket}: create it or correct PERENNIAL_STORE, or AWS_ENDPOINT_URL if another server is meant"
        elif code in _WITHOUT_CREDENTIALS:
            advice = f"{_NONE} ({error})"
        elif code in ("400", "InvalidArgument") and (used := _used()) and used.token:
            advice = _EXPIRED
        elif code.isdigit() and code not in _ADVICE and (code < "500" or code == "501"):
            advice = f"does not answer as S3 does (status {code}): check AWS_ENDPOINT_URL"
        else:
            advice = _ADVICE.get(code, f"failed ({code})")
        if advice in (_CREDENTIALS, _EXPIRED) and (used := _used()) and used.method != "env":
            _access_of.cache_clear()  # a file may hold other ones by now, or a role give them: the next call asks again
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
            self._refuse_unconditional()
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) in _HELD:
                    # A retried request may meet its own first attempt: the same bytes mean this call wrote them.
                    return error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0 and self.read(key) == data
                if _code(error) in _TAKEN:
                    return False
                raise
            return True

    def _refuse_unconditional(self) -> None:
        """Once for every opened store. A server that does not know conditional writes obeys them as plain ones: the ledger's chain and every table would break without a word."""
        from botocore.exceptions import ClientError

        if self._conditional:
            return
        for _ in range(2):  # the first may be the first ever
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._key(_CONDITIONAL_KEY), Body=b"", IfNoneMatch="*")
            except ClientError as error:
                if _code(error) not in _TAKEN:
                    raise
                self._conditional = True
                return
        raise StoreUnreachable(
            f"The store {self.root} is on a server that does not know conditional writes (If-None-Match): two writers would both win. Use S3 itself, or a server that knows them."
        )

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
    def sha256(self, key: str) -> str:
        with self._sentences(key):
            digest, body = hashlib.sha256(), self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            for piece in body.iter_chunks(1 << 20):
                digest.update(piece)
            return digest.hexdigest()

    @override
    def copy(self, source: str, target: str) -> None:
        with self._sentences(source):
            self.client.copy({"Bucket": self.bucket, "Key": self._key(source)}, self.bucket, self._key(target))

    @override
    def make_folder(self, key: str) -> None:
        """Nothing: keys alone exist."""

    @override
    def make_private(self) -> None:
        """Nothing: the bucket's policy says who may read it."""

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
        from botocore.exceptions import NoCredentialsError

        with self._sentences("tables"):
            access, credentials = _access(), _used()
            if credentials is None:
                raise NoCredentialsError
            # Delta Lake has a chain of providers of its own, which finds others than boto3's: it is told who asks
            frozen = credentials.get_frozen_credentials()
        options = {name: value for name, value in os.environ.items() if name.startswith("AWS_") and name not in _CHAIN}
        options |= {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_REGION": access.client.meta.region_name,
            "aws_conditional_put": "etag",  # commits are put-if-absent: no lock table needed
            "connect_timeout": "5s",
            "max_retries": "4",  # like boto3's; otherwise a server that is gone holds everybody up for minutes
        }
        if frozen.token:
            options["AWS_SESSION_TOKEN"] = frozen.token
        if not _AMAZON.fullmatch(endpoint := access.client.meta.endpoint_url):
            options["AWS_ENDPOINT_URL"] = endpoint
        if endpoint.startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        return options
