"""A real MLflow server for the tests beside it."""

import pytest

from perennial.testing import mlflow_server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Settings that name it, and its folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder) as settings:
        yield settings, folder
