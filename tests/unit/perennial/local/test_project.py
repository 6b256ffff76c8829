from __future__ import annotations

import pytest

from perennial.errors import Fault
from perennial.local import airflow_programs, project
from perennial.settings import Settings


@pytest.fixture
def settings(tmp_path):
    """Settings of an empty home."""
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})


def test_a_secret_is_made_once_and_for_its_owner_only(settings):
    """SC-04: Signed cookies and tokens outlive a restart."""
    first = project.secret(settings, "airflow-jwt")
    assert project.secret(settings, "airflow-jwt") == first
    assert project.secret(settings, "airflow-api") != first
    assert (settings.home / "secrets" / "airflow-jwt").stat().st_mode & 0o777 == 0o600
    assert (settings.home / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_program_that_is_not_installed_points_to_set_up(settings):
    """DE-09: Before `make setup` nothing is there."""
    with pytest.raises(Fault, match="make setup"):
        project.executable(settings, "airflow", "airflow")


def test_the_password_is_generated_and_kept(settings):
    """SC-04: Nobody gets in with a password that stands in the documentation."""
    user, password = airflow_programs.login(settings)
    assert user == "admin"
    assert len(password) >= 16
    assert airflow_programs.login(settings) == (user, password)
    assert airflow_programs.passwords_file(settings).stat().st_mode & 0o777 == 0o600


def test_airflow_is_told_to_be_one_platform_on_loopback(settings):
    """SC-01, OP-01: It listens where the settings say, knows one user, and hands the settings on to stages."""
    told = airflow_programs.environment(settings)
    assert told["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert told["AIRFLOW__CORE__EXECUTOR"].endswith(".WakingExecutor")
    assert told["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS" not in told
    assert told["PERENNIAL_STORE"] == settings.store
    assert told == airflow_programs.environment(settings)
