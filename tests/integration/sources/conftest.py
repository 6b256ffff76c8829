"""Servers from which data come."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from perennial.local.postgres import binaries
from perennial.settings import Settings
from perennial.testing import free_ports, wait_until


class Postgres:
    """A PostgreSQL of its own, which tests stop and start."""

    def __init__(self, folder: Path) -> None:
        self.folder, (self.port,) = folder, free_ports(1)
        self.bin = binaries(Settings.from_environment())
        self.user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            os.chown(folder, 65534, 65534)
            for above in folder.parents[:3]:  # of this test, its worker and its user
                os.chmod(above, os.stat(above).st_mode | 0o055)
            self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        arguments = ["-D", f"{folder}/data", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run([*self.user, str(self.bin / "initdb"), *arguments], check=True, capture_output=True, cwd="/")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off"}
        command = [*self.user, str(self.bin / "postgres"), "-D", f"{self.folder}/data", *(f"--{k}={v}" for k, v in options.items())]
        self.process = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 30)

    def stop(self) -> None:
        """End it, and whatever it is asked just then."""
        assert self.process
        self.process.send_signal(3)  # SIGQUIT: at once
        self.process.wait(30)

    def sql(self, *statements: str) -> None:
        """Run statements, all or none."""
        with psycopg.connect(self._address) as connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def _address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self._address).close()
            return True
        return False


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One for all tests; each makes its own tables."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.stop()
