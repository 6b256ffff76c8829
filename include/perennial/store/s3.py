"""The store below a prefix of an S3 bucket."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from perennial.errors import SettingMissing, StoreUnreachable
from perennial.store.changes import Changes, PrefixChanges
from perennial.store.interface import Store, StoredObject, checked_key
from perennial.store.s3_access import access, credentials, forget_access
from perennial.store.s3_refusals import advice, code_of, concerns_credentials, lacking_right, role_refused, token_file_missing

_AMAZON = r"https://s3[.-]([a-z0-9-]+\.)?amazonaws\.com(\.cn)?"
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
_THERE_ALREADY = ("PreconditionFailed", "412")
_NOT_WRITTEN = (*_THERE_ALREADY, "ConditionalRequestConflict", "409")  # 409: another conditional write to the key is under way
_CONDITIONAL_KEY = "probe/conditional-write"


class S3Store(Store):
    """A prefix of a bucket.

    The usual AWS_* variables say which server (AWS_ENDPOINT_URL) and who asks: keys, a profile, or a role of the machine or pod.
    """

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
        return access().client

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
            if code_of(error) in ("404", "NoSuchKey") and self._is_there(error):
                raise KeyError(key) from None
            self._refused(key, self._with_reason(key, error))
        except BotoCoreError as error:
            self._fail(key, type(error).__name__, error)
        except FileNotFoundError as error:
            if error.filename is None or error.filename != os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
                raise
            self._raise(key, token_file_missing(error.filename), error)

    def _is_there(self, error: Any) -> bool:
        """Whether the bucket is: where no object is meant by 404, a bucket may be."""
        from botocore.exceptions import BotoCoreError, ClientError

        if code_of(error) == "NoSuchKey":
            self._seen = True
        if not self._seen:
            try:
                self.client.head_bucket(Bucket=self.bucket)
            except ClientError as refusal:
                if code_of(refusal) in ("404", "NoSuchBucket"):
                    return False
            except BotoCoreError as silence:
                self._fail(self.bucket, type(silence).__name__, silence)
            self._seen = True
        return True

    def _with_reason(self, key: str, error: Any) -> Any:
        """The refusal with its reason. The answer to a HEAD has no body that could tell it: a GET of the same object is asked for one."""
        from botocore.exceptions import BotoCoreError, ClientError

        if error.operation_name == "HeadObject" and code_of(error) in ("400", "403"):
            try:
                self.client.get_object(Bucket=self.bucket, Key=self._key(key), Range="bytes=0-0")["Body"].close()
            except ClientError as with_body:
                return with_body
            except BotoCoreError:
                return error  # nobody answers any more: the first answer is the only one
        return error

    def _refused(self, key: str, error: Any) -> NoReturn:
        code, operation = code_of(error), error.operation_name
        if operation.startswith("AssumeRole"):
            self._raise(key, role_refused(os.environ.get("AWS_ROLE_ARN", "of the AWS profile"), code), error)
        if code == "AccessDenied":
            self._raise(key, lacking_right(operation, self.bucket), error)
        self._fail(key, "NoSuchBucket" if code == "404" else code, error)

    def _fail(self, key: str, code: str, error: Exception) -> NoReturn:
        asks_who = code in ("400", "InvalidArgument")  # whose credentials they are may take a request
        sentence = advice(code, error, bucket=self.bucket, with_token=asks_who and bool((used := credentials()) and used.token))
        if concerns_credentials(sentence) and (used := credentials()) and used.method != "env":
            forget_access()
        self._raise(key, sentence, error)

    def _raise(self, key: str, sentence: str, error: Exception) -> NoReturn:
        raise StoreUnreachable(f"The store {self.root} {sentence} (at {key}).") from error

    def _key(self, key: str) -> str:
        return self.prefix + checked_key(key)

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
                if code_of(error) in _THERE_ALREADY:
                    # A retried request may meet its own first attempt: the same bytes mean this call wrote them.
                    return error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0 and self.read(key) == data
                if code_of(error) in _NOT_WRITTEN:
                    return False
                raise
            return True

    def _refuse_unconditional(self) -> None:
        """Once for every opened store. A server that does not know conditional writes obeys them as plain ones.

        The ledger's chain and every table would break without a word.
        """
        from botocore.exceptions import ClientError

        if self._conditional:
            return
        for _ in range(2):  # the first may be the first ever
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._key(_CONDITIONAL_KEY), Body=b"", IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) not in _NOT_WRITTEN:
                    raise
                self._conditional = True
                return
        raise StoreUnreachable(
            f"The store {self.root} is on a server that does not know conditional writes (If-None-Match): two writers would both win. "
            "Use S3 itself, or a server that knows them."
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
    def keys(self, prefix: str) -> Iterator[str]:
        return (item.key for item in self.list(prefix))

    @override
    def changes(self, prefix: str) -> Changes:
        return PrefixChanges(functools.partial(self._page, prefix))

    def _page(self, prefix: str, after: str, most: int) -> Sequence[StoredObject]:
        """The objects of a listing that come after a key, so many at most: one request."""
        above, begin = self._key(prefix).rstrip("/") + "/", {"StartAfter": self._key(after)} if after else {}
        with self._sentences(prefix):
            answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=above, MaxKeys=most, **begin)
        return [self._stored(item["Key"][len(self.prefix) :], item["Size"], item) for item in answer.get("Contents", ())]

    @override
    def folders(self, prefix: str) -> Sequence[str]:
        above = self._key(prefix).rstrip("/") + "/"
        with self._sentences(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=above, Delimiter="/")
            return sorted(found["Prefix"][len(above) :].rstrip("/") for page in pages for found in page.get("CommonPrefixes", ()))

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
        """Does nothing: S3 has keys only, no folders."""

    @override
    def make_private(self) -> None:
        """Does nothing: the bucket's policy says who may read it."""

    @override
    def stat(self, key: str) -> StoredObject | None:
        try:
            with self._sentences(key):
                head = self.client.head_object(Bucket=self.bucket, Key=self._key(key))
        except KeyError:
            return None
        return self._stored(key, head["ContentLength"], head)

    def _stored(self, key: str, size: int, answer: Mapping[str, Any]) -> StoredObject:
        # S3's own tag is the same for the same content written again; a HEAD tells times to the second, a listing finer
        seconds = answer["LastModified"].timestamp()
        return StoredObject(key, size, seconds, f"{answer['ETag'].strip(chr(34))}-{int(seconds):x}")

    @override
    def storage_options(self) -> dict[str, str]:
        from botocore.exceptions import NoCredentialsError

        with self._sentences("tables"):
            used = credentials()
            if used is None:
                raise NoCredentialsError
            # Delta Lake has a chain of providers of its own, which finds others than boto3's: it is told who asks
            frozen = used.get_frozen_credentials()
        options = {name: value for name, value in os.environ.items() if name.startswith("AWS_") and name not in _CHAIN}
        options |= {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_REGION": self.client.meta.region_name,
            "aws_conditional_put": "etag",  # commits are put-if-absent: no lock table needed
            "connect_timeout": "5s",
            "max_retries": "4",  # like boto3's; otherwise a server that is gone holds everybody up for minutes
        }
        if frozen.token:
            options["AWS_SESSION_TOKEN"] = frozen.token
        if not re.fullmatch(_AMAZON, endpoint := self.client.meta.endpoint_url):
            options["AWS_ENDPOINT_URL"] = endpoint
        if endpoint.startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        return options
