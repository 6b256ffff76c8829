"""The MLflow server behind its own login: its settings, its command, and the program that starts it.

Run as `python -m perennial.local.mlflow_program`, with arguments of `mlflow server`, where MLFLOW_BACKEND_STORE_URI names the database.
Users and their rights lie in tables beside the others of that database; docs/decisions/0066 says what the login is for.
"""

from __future__ import annotations

import configparser
import json
import os
import shlex
import sys
from pathlib import Path

from perennial import log_lines
from perennial.local import postgres
from perennial.local.project import executable, secret
from perennial.registry.mlflow_server import USER
from perennial.settings import Settings
from perennial.store import private_folder

REMEMBERED_SECONDS = 60  # for which a password that was right is not checked again: a check takes a quarter of a second of CPU


def command(settings: Settings) -> list[str]:
    """The command that runs this module."""
    return [executable(settings, "workload", "python"), "-m", "perennial.local.mlflow_program"]


def login(settings: Settings) -> tuple[str, str]:
    """User and password; the password is made at first use."""
    return USER, secret(settings, settings.mlflow_password.name, 12)


def environment(settings: Settings) -> dict[str, str]:
    """What the server takes from its environment: no argument, which every user of the machine could read, holds a secret."""
    return {
        "MLFLOW_BACKEND_STORE_URI": postgres.address(settings, "mlflow", "psycopg"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": login(settings)[1],  # read at the first start alone; then its hash is in the database
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(settings, "mlflow-pages"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its own runners of background work, which nothing here uses
    }


def write_configuration(folder: Path, database: str) -> Path:
    """Write the file that tells the server how it asks for a login.

    Args:
        folder: where it goes; it is made for this user alone.
        database: SQLAlchemy address of the database with users and rights.
    """
    private_folder(folder)
    file = folder / "login.ini"
    parser = configparser.ConfigParser(interpolation=None)
    parser["mlflow"] = {
        "default_permission": "READ",  # of users whom the admin makes
        "database_uri": database.replace("%", "%%"),  # its reader takes a single one for a reference
        "admin_username": USER,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": str(REMEMBERED_SECONDS),
    }
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        parser.write(stream)
    return file


def write_line_form(folder: Path) -> Path:
    """Write the file that has the server log in JSON, and return its path."""
    file = folder / "lines.json"
    file.write_text(json.dumps(log_lines.logging_form("mlflow")))
    return file


def main(arguments: list[str]) -> None:
    """Write the configuration and become the server."""
    file = write_configuration(Settings.from_environment().home / "mlflow", os.environ["MLFLOW_BACKEND_STORE_URI"])
    environment = {**os.environ, "MLFLOW_AUTH_CONFIG_PATH": str(file)}
    if log_lines.wants_json():
        # Where MLflow sets up its own logger, it would not listen to the server's configuration.
        environment["MLFLOW_CONFIGURE_LOGGING"] = "false"
        arguments = [*arguments, "--uvicorn-opts", f"--log-config {shlex.quote(str(write_line_form(file.parent)))}"]
    server = [sys.executable, "-m", "perennial.registry.mlflow_process", "--app-name", "basic-auth", *arguments]
    os.execve(sys.executable, server, environment)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
