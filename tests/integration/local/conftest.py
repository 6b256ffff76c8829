from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perennial.settings import Settings

VENVS = Path(sys.prefix).parent


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for found in sockets:
        found.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for found in sockets:
        found.close()
    return ports


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings of a fresh home with the installed environments and free ports."""

    def make(**given: str) -> Settings:
        home = tmp_path_factory.mktemp("home")
        (home / "venvs").symlink_to(VENVS)
        names = ("AIRFLOW_PORT", "MLFLOW_PORT", "GATEWAY_PORT", "METRICS_PORT", "REPORTS_PORT")
        ports = {f"PERENNIAL_{name}": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
        return Settings.from_environment({"PERENNIAL_HOME": str(home), **ports, **given})

    return make
