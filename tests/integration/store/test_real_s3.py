"""The store on a real S3 server: credentials are checked, and put-if-absent has one winner."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data.landing import listing
from perennial.data.tables import Table
from perennial.errors import StoreUnreachable
from perennial.store import S3Store

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
MISSING = [program for program in PROGRAMS if not shutil.which(program)]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: apt-get install radosgw ceph-mon ceph-osd")


def free_port() -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon}
public network = 127.0.0.0/8
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 1073741824
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
keyring = {folder}/keyring
[mon.a]
host = localhost
mon data = {folder}/mon
mon addr = v1:127.0.0.1:{mon}
[osd.0]
osd data = {folder}/osd
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw dns name = 127.0.0.1
rgw enable usage log = false
rgw gc max objs = 1
rgw num control oids = 1
"""


ATTEMPTS = 3  # another program may take a free port between its choice and its use


class DiedAtStart(Exception):
    """A server did not come up."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A monitor, one storage process in memory and the S3 gateway. Begun anew, on other ports, if a process dies while they start."""
    for attempt in range(ATTEMPTS):
        with contextlib.ExitStack() as servers:
            try:
                address = servers.enter_context(_servers())
            except DiedAtStart:
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
            yield address
            return


@contextlib.contextmanager
def _servers() -> Iterator[str]:
    folder = Path("/tmp", f"rgw-{uuid.uuid4().hex[:8]}")  # short: its sockets' paths have at most 107 characters
    for name in ("mon", "osd"):
        (folder / name).mkdir(parents=True)
    fsid, mon, port = str(uuid.uuid4()), free_port(), free_port()
    (folder / "ceph.conf").write_text(CONFIGURATION.format(fsid=fsid, mon=mon, port=port, folder=folder))
    (folder / "keyring").touch()
    processes: list[subprocess.Popen[bytes]] = []

    def call(*command: str) -> str:
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def start(*command: str) -> None:
        processes.append(subprocess.Popen([*command, "-f"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    conf = ("-c", str(folder / "ceph.conf"))
    try:
        call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon}]", "monmap")
        call("ceph-mon", *conf, "-i", "a", "--mkfs", "--monmap", "monmap", "--no-mon-config")
        start("ceph-mon", *conf, "-i", "a", "--no-mon-config")
        osd = str(uuid.uuid4())
        call("ceph", *conf, "--connect-timeout", "30", "osd", "new", osd, "0")
        call("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        start("ceph-osd", *conf, "-i", "0")
        _until(lambda: "1 up" in call("ceph", *conf, "osd", "stat"), "the storage process came up", processes, folder)
        start("radosgw", *conf, "-n", "client.rgw.a")
        _until(lambda: _answers(f"http://127.0.0.1:{port}/"), "the gateway answered", processes, folder)
        call("radosgw-admin", *conf, "user", "create", "--uid=u", "--display-name=u", "--access-key=AK", "--secret-key=SK")
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _until(holds: Callable[[], bool], what: str, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    end = time.monotonic() + 120
    while not holds():
        dead = any(process.poll() is not None for process in processes)
        if dead or time.monotonic() > end:
            logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in folder.glob("*.log"))
            raise DiedAtStart(f"Not before {'a process died' if dead else '120 s were over'}: {what}.\n{logs}")
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    own = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{uuid.uuid4().hex[:8]}"
    store = S3Store(f"s3://{bucket}/prefix")
    store.client.create_bucket(Bucket=bucket)
    return store


def _at_once(count: int, act) -> list[object]:
    barrier, found = threading.Barrier(count), []

    def wait_and_act(number: int) -> None:
        barrier.wait()
        found.append(act(number))

    threads = [threading.Thread(target=wait_and_act, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_one_of_many_writers_wins(store: S3Store) -> None:
    """Ten keys, twelve writers each: one is told that it wrote, and its bytes are there."""
    for key in range(10):
        won = [
            n for n in _at_once(12, lambda n, key=key: n if store.put_if_absent(f"race/{key}", str(n).encode()) else None) if n is not None
        ]
        assert [str(n).encode() for n in won] == [store.read(f"race/{key}")]


def test_a_batch_is_appended_once_by_many(store: S3Store) -> None:
    """Six writers of one batch into an absent table: one commit has it."""
    rows = pa.table({"sold": pa.array([datetime(2013, 1, 1)], pa.timestamp("us")), "shop": ["a"]})
    _at_once(6, lambda _: Table(store, "sales").append(rows, "one", key=("shop", "sold"), event_time="sold"))
    assert (Table(store, "sales").version(), Table(store, "sales").count()) == (1, 1)


def test_files_move_within_the_store(store: S3Store, tmp_path: Path) -> None:
    """Upload, listing, copy, download and removal; what is listed is unchanged until it is written again."""
    (tmp_path / "local").write_bytes(b"x" * 100_000)
    store.upload(tmp_path / "local", "landing/sales/a.csv")
    (file,) = listing(store, "sales")
    assert file.is_unchanged(store.stat(file.key))
    store.copy(file.key, "quarantine/sales/d/a.csv")
    store.write(file.key, b"y" * 100_000)
    assert not file.is_unchanged(store.stat(file.key))
    store.delete(file.key)
    store.download("quarantine/sales/d/a.csv", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 100_000
    assert not store.exists(file.key)


@pytest.mark.parametrize(("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody")])
def test_wrong_credentials_are_told(store: S3Store, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The sentence names both variables, in the store and in its tables alike."""
    monkeypatch.setenv(name, value)
    other = S3Store(store.root)
    for act in (lambda: other.read("k"), lambda: other.write("k", b""), lambda: list(other.list("k")), lambda: other.exists("k")):
        with pytest.raises(StoreUnreachable, match="refuses the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            act()
    with pytest.raises(StoreUnreachable, match=r"The table sales .* credentials are right"):
        Table(other, "sales").version()
