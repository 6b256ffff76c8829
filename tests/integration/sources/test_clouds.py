"""Buckets of Google and Azure, as their emulators give them: files that come, and one that is written again."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perennial.sources.connections import Connection
from perennial.sources.file_systems import file_system
from perennial.specs import Column, DatasetSpec, FilesSource
from perennial.testing import free_ports, wait_until
from perennial.testing.collecting import Collecting

AZURITE = shutil.which("azurite-blob")
# The account of every Azurite, which Microsoft publishes.
ACCOUNT, KEY = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextlib.contextmanager
def _running(command: list[str], folder: Path, connection: dict[str, Any], url: str) -> Iterator[Any]:
    """The bucket of a server that was just started, as a file system."""
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:

        def made() -> Any:
            with contextlib.suppress(OSError):
                system = file_system(url, Connection.model_validate(connection))[0]
                system.fs.create_dir("theirs")
                return system
            return None

        yield wait_until(made, 60, f"a bucket of {command[0]}")
    finally:
        server.terminate()
        server.wait(30)


def _takes(tmp_path: Path, system: Any, url: str, connection: dict[str, Any]) -> None:
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    source = FilesSource(url=url, connection="cloud", settle_seconds=1)
    spec = DatasetSpec(name="theirs", title="T", owner="tests", columns=columns, key=("id",), event_time="at", source=source)
    theirs = Collecting(spec, tmp_path / "store", {"cloud": connection})

    def put(name: str, number: int) -> None:
        with system.open(f"theirs/in/{name}", "wb") as file:
            file.write(f"id,at\n{number},2026-03-01\n".encode())

    for number in range(3):
        put(f"{number}.csv", number)
    time.sleep(2.1)
    assert theirs.collect().files == ("0-00000001.csv", "1-00000001.csv", "2-00000001.csv")
    assert theirs.collect().outcome == "skipped"
    put("1.csv", 11)
    time.sleep(2.1)
    assert theirs.collect().files == ("1-00000002.csv",)
    assert not theirs.take_in().refused
    assert theirs.keys() == dict.fromkeys((0, 1, 2, 11), 1)


def test_a_bucket_of_google(tmp_path: Path) -> None:
    """DM-01, DM-08, SY-08: Opened by `gs://`."""
    (port,) = free_ports(1)
    connection = {"extra": {"anonymous": True, "endpoint_override": f"127.0.0.1:{port}", "scheme": "http", "project_id": "p"}}
    program = str(Path(sys.executable).parent / "gcp-storage-emulator")
    emulator = [program, "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]
    with _running(emulator, tmp_path, connection, "gs://theirs/in") as system:
        _takes(tmp_path, system, "gs://theirs/in", connection)


@pytest.mark.skipif(AZURITE is None, reason="Azurite is not installed: npm install -g azurite")
def test_a_container_of_azure(tmp_path: Path) -> None:
    """DM-01, DM-08, SY-08: Opened by `abfs://`."""
    (port,) = free_ports(1)
    place = {"authority": f"127.0.0.1:{port}", "scheme": "http"}
    places = {f"{kind}_storage_{part}": value for kind in ("blob", "dfs") for part, value in place.items()}
    connection = {"login": ACCOUNT, "password": KEY, "extra": places}
    options = {"--location": str(tmp_path), "--blobHost": "127.0.0.1", "--blobPort": str(port)}
    emulator = [str(AZURITE), "--silent", "--skipApiVersionCheck", *(word for option in options.items() for word in option)]
    with _running(emulator, tmp_path, connection, "abfs://theirs/in") as system:
        _takes(tmp_path, system, "abfs://theirs/in", connection)
