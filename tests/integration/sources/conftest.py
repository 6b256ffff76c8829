"""Servers from which data come."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.local.postgres import binaries
from perennial.settings import Settings
from perennial.testing import free_ports, started, wait_until
from perennial.testing.programs import RunningProgram


class Postgres:
    """A PostgreSQL of its own, which tests stop and start."""

    def __init__(self, folder: Path) -> None:
        self.folder, (self.port,) = folder, free_ports(1)
        self.bin = binaries(Settings.from_environment())
        self.user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
            os.chown(folder, 65534, 65534)
            os.chmod(folder, 0o755)
            for above in (folder.parent, folder.parent.parent):
                os.chmod(above, 0o755)
            self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        command = [*self.user, str(self.bin / "initdb"), "-D", f"{folder}/data", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd="/")
        self.program: RunningProgram | None = None

    @property
    def url(self) -> str:
        """Its address for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}", "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off"]
        command = [*self.user, str(self.bin / "postgres"), "-D", f"{self.folder}/data", *options]
        self.program = started(command, self.folder / "log", cwd="/")
        wait_until(self._answers, 30)

    def stop(self) -> None:
        """End it at once."""
        assert self.program
        self.program.kill()

    def sql(self, *statements: str) -> None:
        """Run statements, all or none."""
        import psycopg

        with psycopg.connect(self._address()) as connection:
            for statement in statements:
                connection.execute(statement)

    def _address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self._address()).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One for all tests of a module."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.stop()
