"""A real S3 server for tests, the project's and yours: Ceph's gateway over one storage process in memory, with real authentication.

Standard library alone, so that tests of every environment can start one:

    with s3_server() as server:
        os.environ.update(server.environment())
        server.create_bucket("somewhere")
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
PACKAGES = "radosgw ceph-mon ceph-osd"
LOOPBACK = "127.0.0.1"
ATTEMPTS = 3  # another program may take a free port between its choice and its use

# The storage process reads the monitors' map from its file: one that waits for it over the wire may begin without the cluster's id and die.
_CONFIGURATION = """
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
memstore device bytes = {bytes}
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
monmap = {folder}/monmap
[client.rgw.a]
rgw frontends = beast endpoint={address}:{port}
rgw dns name = {address}
rgw enable usage log = false
rgw gc max objs = 1
rgw num control oids = 1
"""


class DiedAtStart(Exception):
    """A server did not come up."""


@dataclass(frozen=True)
class User:
    """Somebody whom the server knows."""

    name: str
    access_key: str
    secret_key: str


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    url: str
    owner: User  # makes the buckets
    folder: Path

    def environment(self, user: User | None = None) -> dict[str, str]:
        """The variables by which a process reaches the server as a user; the owner if none is named."""
        user = user or self.owner
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": user.access_key,
            "AWS_SECRET_ACCESS_KEY": user.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }

    def client(self, service: str = "s3", user: User | None = None) -> object:
        """boto3's client of the server, as the owner or as a user."""
        import boto3

        user = user or self.owner
        return boto3.Session(user.access_key, user.secret_key, region_name="us-east-1").client(service, endpoint_url=self.url)

    def create_bucket(self, name: str) -> None:
        """Make a bucket of the owner's."""
        self.client().create_bucket(Bucket=name)  # type: ignore[attr-defined]

    def add_user(self, name: str) -> User:
        """Make a user without any rights on the owner's buckets."""
        user = User(name, f"{name}-key", f"{name}-secret")
        self._user(user)
        return user

    def let(self, user: User, bucket: str, *actions: str) -> None:
        """Let a user do these alone in a bucket of the owner's, such as `s3:GetObject` and `s3:ListBucket`.

        Replaces what was said before.
        """
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        rule = {
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam:::user/{user.name}"]},
            "Action": list(actions),
            "Resource": resources,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        self.client().put_bucket_policy(Bucket=bucket, Policy=policy)  # type: ignore[attr-defined]

    def admin(self, *arguments: str) -> str:
        """Run `radosgw-admin`; returns what it said."""
        return _call(self.folder, "radosgw-admin", "-c", str(self.folder / "ceph.conf"), *arguments)

    def _user(self, user: User) -> None:
        named = (f"--uid={user.name}", f"--display-name={user.name}")
        self.admin("user", "create", *named, f"--access-key={user.access_key}", f"--secret-key={user.secret_key}")


def missing_programs() -> str:
    """Why no server can be started here, as the reason of a skipped test; empty if one can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    return f"{', '.join(missing)} not installed: apt-get install {PACKAGES}" if missing else ""


@contextlib.contextmanager
def s3_server(address: str = LOOPBACK, port: int = 0, *, gigabytes: float = 1) -> Iterator[S3Server]:
    """A monitor, one storage process in memory and the S3 gateway; gone with all data at the end. Up in about 17 s.

    Begun anew, on other ports, if a process dies while they start.

    Args:
        address: where the gateway listens; the other two stay on the loopback address.
        port: of the gateway; a free one if 0.
        gigabytes: how much it holds at most.

    Raises:
        DiedAtStart: it did not come up.
    """
    for attempt in range(ATTEMPTS):
        with contextlib.ExitStack() as servers:
            try:
                server = servers.enter_context(_servers(address, port, int(gigabytes * 2**30)))
            except DiedAtStart:
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
            yield server
            return


@contextlib.contextmanager
def _servers(address: str, port: int, size: int) -> Iterator[S3Server]:
    folder = Path("/tmp", f"rgw-{uuid.uuid4().hex[:8]}")  # noqa: S108 - short: its sockets' paths have at most 107 characters
    for name in ("mon", "osd"):
        (folder / name).mkdir(parents=True)
    fsid, mon, port = str(uuid.uuid4()), _free_port(LOOPBACK), port or _free_port(address)
    (folder / "ceph.conf").write_text(_CONFIGURATION.format(fsid=fsid, mon=mon, address=address, port=port, folder=folder, bytes=size))
    (folder / "keyring").touch()
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        processes.append(subprocess.Popen([*command, "-f"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    conf = ("-c", str(folder / "ceph.conf"))
    server = S3Server(f"http://{address}:{port}", User("owner", "owner-key", "owner-secret"), folder)
    try:
        _call(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon}]", "monmap")
        _call(folder, "ceph-mon", *conf, "-i", "a", "--mkfs", "--monmap", "monmap", "--no-mon-config")
        start("ceph-mon", *conf, "-i", "a", "--no-mon-config")
        osd = str(uuid.uuid4())
        _call(folder, "ceph", *conf, "--connect-timeout", "30", "osd", "new", osd, "0")
        _call(folder, "ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        start("ceph-osd", *conf, "-i", "0")
        _until(lambda: "1 up" in _call(folder, "ceph", *conf, "osd", "stat"), "the storage process came up", processes, folder)
        start("radosgw", *conf, "-n", "client.rgw.a")
        _until(lambda: _answers(f"{server.url}/"), "the gateway answered", processes, folder)
        server._user(server.owner)
        yield server
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port(address: str) -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind((address, 0))
        port: int = sock.getsockname()[1]
        return port


def _call(folder: Path, *command: str) -> str:
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise DiedAtStart(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


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
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def main() -> None:
    """`python -m perennial.testing_s3 [ADDRESS [PORT]]`: keep a server up until a signal ends it; the first lines are its environment."""
    address = sys.argv[1] if len(sys.argv) > 1 else LOOPBACK
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with s3_server(address, port, gigabytes=4) as server, contextlib.suppress(KeyboardInterrupt):
        for name, value in server.environment().items():
            print(f"export {name}={value}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
