from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perennial.settings import Settings
from perennial.testing import free_ports

VENVS = Path(sys.prefix).parent


@pytest.fixture(scope="session")
def make_settings(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings of a fresh home with the installed environments and free ports."""

    def make(**given: str) -> Settings:
        home = tmp_path_factory.mktemp("home")
        (home / "venvs").symlink_to(VENVS)
        names = ("AIRFLOW_PORT", "MLFLOW_PORT", "GATEWAY_PORT", "METRICS_PORT")
        ports = {f"PERENNIAL_{name}": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
        return Settings.from_environment({"PERENNIAL_HOME": str(home), **ports, **given})

    return make
