"""The store, in both kinds: S3 is moto's, in this process."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.errors import SettingMissing, StoreUnreachable
from perennial.store import FolderStore, S3Store, Store, open_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|responses|werkzeug).*")


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


def test_what_is_written_is_read_listed_and_deleted(store: Store) -> None:
    """A key holds the last bytes written; a deleted one is gone, and deleting it again is no error."""
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"two"
    assert [(item.key, item.size) for item in store.list("a")] == [("a/b.txt", 3)]
    store.delete("a/b.txt")
    store.delete("a/b.txt")
    assert not store.exists("a/b.txt")
    assert list(store.list("a")) == []


def test_absent_keys_raise_key_error(store: Store, tmp_path: Path) -> None:
    """Reading, downloading or copying what is not there is a KeyError that names the key; its stat is None."""
    with pytest.raises(KeyError, match="nothing/here"):
        store.read("nothing/here")
    with pytest.raises(KeyError, match="nothing/here"):
        store.download("nothing/here", tmp_path / "target")
    with pytest.raises(KeyError, match="nothing/here"):
        store.copy("nothing/here", "there")
    assert store.stat("nothing/here") is None


def test_a_listing_is_in_key_order_and_within_its_folder(store: Store) -> None:
    """`a` does not list `ab/`, and folders below it are walked."""
    for key in ("a/2", "a/10", "a/x/1", "ab/1", "b"):
        store.write(key, b"x")
    assert [item.key for item in store.list("a")] == ["a/10", "a/2", "a/x/1"]


def test_the_identity_of_an_object_changes_when_it_is_written_again(store: Store) -> None:
    """A listing and a stat tell the same, and other content has another identity."""
    store.write("k", b"one")
    first = store.stat("k")
    assert first is not None
    store.write("k", b"eno")
    second = store.stat("k")
    assert second is not None
    assert (first.size, second.size) == (3, 3)
    assert first.etag != second.etag


def test_listing_and_stat_agree(store: Store) -> None:
    """What a listing tells of an object is what `stat` tells."""
    store.write("f/k", b"one")
    assert list(store.list("f")) == [store.stat("f/k")]


def test_files_go_up_down_and_across(store: Store, tmp_path: Path) -> None:
    """Upload, copy and download keep the bytes; the copy outlives its source."""
    (tmp_path / "local").write_bytes(b"x" * 100_000)
    store.upload(tmp_path / "local", "up")
    store.copy("up", "deep/copy")
    store.delete("up")
    store.download("deep/copy", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 100_000


def test_the_hash_is_over_the_bytes(store: Store) -> None:
    """Whatever their number; an object that is not there has none."""
    data = bytes(range(256)) * 10_000
    store.write("f/k", data)
    assert store.sha256("f/k") == hashlib.sha256(data).hexdigest()
    with pytest.raises(KeyError):
        store.sha256("f/absent")


def test_copying_twice_changes_nothing(store: Store) -> None:
    """A copy onto its own copy leaves one object and no unfinished file."""
    store.write("a", b"x")
    store.copy("a", "f/b")
    store.copy("a", "f/b")
    assert [item.key for item in store.list("f")] == ["f/b"]
    if isinstance(store, FolderStore):
        assert os.listdir(store.path / "f") == ["b"]


def test_put_if_absent_writes_once(store: Store) -> None:
    """The first writer wins and the loser changes nothing."""
    assert store.put_if_absent("k", b"first")
    assert not store.put_if_absent("k", b"second")
    assert store.read("k") == b"first"


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", ".."])
def test_keys_cannot_leave_the_store(store: Store, key: str) -> None:
    """A key that climbs out of the root is a mistake of the caller, in every method."""
    for act in (lambda: store.read(key), lambda: store.write(key, b""), lambda: list(store.list(key)), lambda: store.stat(key)):
        with pytest.raises(ValueError, match="not a key"):
            act()


def test_one_thread_of_many_wins(store: Store) -> None:
    """Sixteen threads that put one key: exactly one is told that it wrote, and its bytes are there."""
    barrier, won = threading.Barrier(16), []

    def put(number: int) -> None:
        barrier.wait()
        if store.put_if_absent("race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if isinstance(store, FolderStore):  # moto's dictionary is not atomic among threads; a real server is tested in integration
        assert len(won) == 1
        assert store.read("race") == str(won[0]).encode()
    assert store.exists("race")


_PUT = """
import sys
from perennial.store import open_store
store, number = open_store(sys.argv[1]), sys.argv[2]
sys.stdin.read(1)  # all begin together
print(*[key for key in range(20) if store.put_if_absent(f"race/{key}", number.encode())])
"""


def test_one_process_of_many_wins_in_a_folder(tmp_path: Path) -> None:
    """Four processes that put the same twenty keys: each key is won exactly once."""
    processes = [
        subprocess.Popen([sys.executable, "-c", _PUT, str(tmp_path), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
    won = [int(key) for process in processes for key in process.communicate(timeout=60)[0].split()]
    assert sorted(won) == list(range(20))


def test_unfinished_writes_are_not_listed(tmp_path: Path) -> None:
    """What a killed writer left behind is invisible."""
    store = FolderStore(str(tmp_path))
    store.write("a/whole", b"x")
    (tmp_path / "a" / ".half.0123.unfinished").write_bytes(b"ha")
    assert [item.key for item in store.list("a")] == ["a/whole"]


@pytest.mark.parametrize("name", ["売" * 83 + ".csv", "é" * 125 + ".csv", "x" * 251 + ".csv"])
def test_an_object_may_have_the_longest_name_that_the_system_allows(tmp_path: Path, name: str) -> None:
    """In whatever letters: a file that landed with it can be copied away, written and put."""
    store = FolderStore(str(tmp_path))
    (tmp_path / name).write_bytes(b"landed")
    store.copy(name, f"quarantine/{name}")
    store.write(f"written/{name}", b"landed")
    assert store.put_if_absent(f"put/{name}", b"landed")
    assert [item.key for item in store.list("quarantine")] == [f"quarantine/{name}"]
    assert {store.read(f"{place}/{name}") for place in ("quarantine", "written", "put")} == {b"landed"}


def test_a_link_that_leads_nowhere_is_no_object(tmp_path: Path) -> None:
    """Neither one to a file that is gone nor one to itself keeps the others from being listed."""
    store = FolderStore(str(tmp_path))
    store.write("landing/sales/day.csv", b"x")
    for name, target in (("gone", "nowhere"), ("round", "round")):
        (tmp_path / "landing/sales" / name).symlink_to(target)
    assert [item.key for item in store.list("landing/sales")] == ["landing/sales/day.csv"]
    assert store.stat("landing/sales/round") is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("act", ["write", "put_if_absent", "upload"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, act: str) -> None:
    """The sentence names the store and says what to do; no half-written file stays."""
    store = FolderStore(str(tmp_path / "store"))
    (tmp_path / "local").write_bytes(b"x")

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnreachable, match=r"has no room left: free some space \(at f/k\)"):
        store.upload(tmp_path / "local", "f/k") if act == "upload" else getattr(store, act)("f/k", b"x")
    assert list((tmp_path / "store" / "f").iterdir()) == []


def test_a_file_in_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    """A root or folder that has become a file is told as such when it is written to, and holds nothing when it is read."""
    (tmp_path / "store").write_text("I was a folder")
    store = FolderStore(str(tmp_path / "store"))
    with pytest.raises(StoreUnreachable, match="check the folder"):
        store.write("a/b", b"x")
    with pytest.raises(StoreUnreachable, match="check the folder"):
        store.put_if_absent("a/b", b"x")
    assert store.stat("a/b") is None
    with pytest.raises(KeyError):
        store.read("a/b")


def test_a_folder_in_place_of_an_object_is_a_sentence(tmp_path: Path) -> None:
    """Writing a key that is a folder of other keys says so; reading it is a KeyError."""
    store = FolderStore(str(tmp_path))
    store.write("a/b", b"x")
    with pytest.raises(StoreUnreachable, match="check the folder"):
        store.write("a", b"x")
    with pytest.raises(KeyError):
        store.read("a")
    assert [item.key for item in store.list("a")] == ["a/b"]


def test_a_folder_that_may_not_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing rights are told as such, also when a listing meets them."""
    store = FolderStore(str(tmp_path))
    store.write("a/b", b"x")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", forbidden)
    for act in (lambda: store.stat("a/b"), lambda: list(store.list("a"))):
        with pytest.raises(StoreUnreachable, match="Permission denied"):
            act()


def test_a_listing_does_not_pass_over_a_folder_that_it_cannot_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without rights is an error: silence would look like an empty landing zone."""
    store = FolderStore(str(tmp_path))
    store.write("a/b", b"x")

    def forbidden(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "a"))

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(StoreUnreachable, match="Permission denied"):
        list(store.list("a"))


def test_a_copy_is_made_where_links_are_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hard links the bytes are copied."""
    store = FolderStore(str(tmp_path))
    store.write("a", b"x")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", forbidden)
    store.copy("a", "b")
    assert store.read("b") == b"x"


def test_addresses_are_checked() -> None:
    """Only folders and buckets are stores."""
    with pytest.raises(SettingMissing, match="begin with s3://"):
        open_store("gs://bucket")
    with pytest.raises(SettingMissing, match="names no bucket"):
        open_store("s3://")
    assert isinstance(open_store("s3://bucket"), S3Store)
    assert open_store("s3://bucket/p/").uri("k") == "s3://bucket/p/k"


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """It would look like an empty store; so would one below a file."""
    (tmp_path / "store").write_text("no folder")
    for root in (tmp_path / "store", tmp_path / "store" / "below" / "it"):
        with pytest.raises(SettingMissing, match=rf"PERENNIAL_STORE is '{root}': .* is a file, and must be a folder. Name another place"):
            open_store(str(root))


def test_a_store_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    """The first write makes it."""
    store = open_store(str(tmp_path / "not" / "yet"))
    assert list(store.list("landing")) == []
    store.write("a/b", b"x")
    assert store.read("a/b") == b"x"


_OPEN = """
import os, sys
from perennial.store import open_store
if os.geteuid() == 0:  # rights do not bind root
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
open_store(sys.argv[1], writes="read" not in sys.argv)
print("open")
"""


@pytest.mark.parametrize(
    ("mode", "below", "said"),
    [
        (0o000, "", "may not be read and written by the user"),
        (0o555, "", "may not be read and written by the user"),
        (0o333, "", "may not be read and written by the user"),
        (0o555, "/new", "it is not there, and .* may not be written to make it by the user"),
        (0o777, "", "^open$"),
        (0o333, "/new", "^open$"),
    ],
)
def test_a_store_without_rights_is_refused(mode: int, below: str, said: str) -> None:
    """Read, write and enter, or the right to make it."""
    with tempfile.TemporaryDirectory(prefix="perennial-rights-", dir="/tmp") as scratch:
        Path(scratch).chmod(0o755)
        folder = Path(scratch, "store")
        folder.mkdir()
        folder.chmod(mode)
        found = subprocess.run([sys.executable, "-c", _OPEN, f"{folder}{below}"], capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    assert re.search(said, (found.stdout + found.stderr).strip().splitlines()[-1])


@pytest.mark.parametrize(
    ("mode", "below", "said"),
    [
        (0o555, "", "^open$"),
        (0o000, "", r"may not be read by the user \d+\. Give the user the rights"),
        (0o555, "/new", "it is not there, and .* may not be written to make it by the user"),
    ],
)
def test_who_only_reads_needs_no_right_to_write(mode: int, below: str, said: str) -> None:
    """A folder that is mounted read-only can be asked; one that is not there is most likely another than was meant."""
    with tempfile.TemporaryDirectory(prefix="perennial-rights-", dir="/tmp") as scratch:
        Path(scratch).chmod(0o755)
        folder = Path(scratch, "store")
        folder.mkdir()
        folder.chmod(mode)
        found = subprocess.run([sys.executable, "-c", _OPEN, f"{folder}{below}", "read"], capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    assert re.search(said, (found.stdout + found.stderr).strip().splitlines()[-1])


def test_what_delta_is_told(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and endpoint are passed on, plain HTTP is allowed where asked for, commits are conditional; a folder needs nothing."""
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
    """Each refusal of the server says what to check, in every method that meets it."""
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
    """Some servers call a token that has expired an invalid argument, and the answer to a HEAD gives no reason at all."""
    from botocore.exceptions import ClientError

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}, "HeadObject")

    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    monkeypatch.setattr(s3.client, "head_object", refuse)
    monkeypatch.setattr(s3.client, "get_object", refuse)
    with pytest.raises(StoreUnreachable, match="AWS_SESSION_TOKEN"):
        s3.exists("k")


def test_a_server_without_conditional_writes_is_refused(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would let two writers win without a word."""
    monkeypatch.setattr(s3.client, "put_object", lambda **_: {})
    with pytest.raises(StoreUnreachable, match=r"does not know conditional writes \(If-None-Match\)"):
        s3.put_if_absent("k", b"x")


def test_credentials_of_a_file_are_read_again_once_they_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that runs for days survives a change of its keys."""
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
    """Amazon's own endpoint follows from the region, which boto3 alone would not read from AWS_REGION; any other endpoint is passed on."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    options = s3.storage_options()
    assert options["AWS_REGION"] == "eu-central-1"
    assert "AWS_ENDPOINT_URL" not in options
    assert "AWS_ALLOW_HTTP" not in options
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com")
    assert s3.storage_options()["AWS_ENDPOINT_URL"] == "https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com"


def test_a_missing_bucket_is_told(s3: S3Store) -> None:
    """Listing and writing below a bucket that is not there say to create it."""
    other = S3Store("s3://absent")
    for act in (lambda: list(other.list("a")), lambda: other.write("k", b"")):
        with pytest.raises(StoreUnreachable, match="has no bucket absent"):
            act()


def test_an_endpoint_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection says to check AWS_ENDPOINT_URL."""
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
    """Without any credentials the sentence names the two variables."""
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
    """A retried put that meets its own first attempt has won; one that meets another's bytes, or was not retried, has lost."""
    from botocore.exceptions import ClientError

    s3.write("k", stored)

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"RetryAttempts": retries}}, "PutObject")  # type: ignore[typeddict-item]

    monkeypatch.setattr(s3.client, "put_object", refuse)
    assert s3.put_if_absent("k", b"mine") is won


def test_the_same_content_written_again_to_s3_is_another_object(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's own tag would not tell: a refused file that is landed again, after the suite was mended, would be taken for the old one."""
    told = {"ContentLength": 1, "ETag": '"0cc1"', "LastModified": datetime(2026, 11, 1, 6, 0, 0, 250_000, timezone.utc)}
    monkeypatch.setattr(s3.client, "head_object", lambda **_: told)
    first = s3.stat("landing/a.csv")
    told = {**told, "LastModified": told["LastModified"] + timedelta(seconds=0.5)}  # listings and HEAD differ in precision
    assert s3.stat("landing/a.csv").etag == first.etag  # type: ignore[union-attr]
    told = {**told, "LastModified": told["LastModified"] + timedelta(seconds=1)}
    assert s3.stat("landing/a.csv").etag != first.etag  # type: ignore[union-attr]


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that lets all others read what it writes."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_a_folder_store_writes_only_its_user_can_read(tmp_path: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Landing files, tables of people, reports: whatever the process lets others read by default, and by whichever way it comes in."""
    store, local = FolderStore(str(tmp_path / "new" / "store")), tmp_path / "local"
    local.write_bytes(b"x")
    store.write("a/b/written", b"x")
    store.put_if_absent("a/put", b"x")
    store.upload(local, "c/uploaded")
    store.copy("c/uploaded", "d/linked")
    store.make_folder("landing/flights")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "across devices")))
        store.copy("c/uploaded", "e/copied")
    found = list((tmp_path / "new").rglob("*"))
    assert {p.name for p in found if p.is_file()} == {"written", "put", "uploaded", "linked", "copied"}
    assert {p.stat().st_mode & 0o777 for p in found if p.is_file()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in found if p.is_dir()} == {0o700}
    assert (store.path / "landing/flights").is_dir()


def test_an_open_store_is_closed_to_others(tmp_path: Path, open_umask: None) -> None:
    """One of an earlier release; a folder beside it that is none of the store's stays as it is."""
    for name in ("ledger/digits", "shared"):
        (tmp_path / name).mkdir(parents=True)
    FolderStore(str(tmp_path)).make_private()
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "landing").exists()
