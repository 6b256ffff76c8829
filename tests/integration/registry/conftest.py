"""A real MLflow server for the tests beside it."""

import subprocess
import sys
from pathlib import Path

import pytest

from perennial.errors import ServiceUnreachable
from perennial.registry.model_registry import ModelRegistry
from perennial.settings import Settings
from perennial.testing import free_ports, wait_until


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Settings that name it, and its folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_ports(1)[0]
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    settings = Settings.from_environment({"PERENNIAL_MLFLOW_URL": f"http://127.0.0.1:{port}"})

    def up():
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return ModelRegistry(settings).versions("nothing") == []
        except ServiceUnreachable:
            return False

    wait_until(up, 120, "MLflow")
    yield settings, folder
    process.terminate()
    process.wait(30)
