"""How to get into a server: host, user and password, from a file that its owner alone may read.

Airflow's tasks write such a file from Airflow's connection and remove it afterwards; by hand it is written by a person:

    {"shop": {"type": "postgres", "host": "db.example", "login": "reader", "password": "…", "database": "shop"},
     "cars": {"url": "postgresql+psycopg://reader:…@db.example/cars"}}
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from perennial import log_lines
from perennial.errors import SettingMissing
from perennial.specs.sources import without_secret

_SECRET_NAME = re.compile("pass|pwd|secret|token|key", re.IGNORECASE)


class Connection(BaseModel):
    """Where a server is and how to get in. What is secret is shown as stars wherever it is printed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr = Field(default=SecretStr(""), description="The whole address, in the form that the kind of source asks for.")
    type: str = Field(default="", description="Kind of server, as Airflow calls it: `postgres`, `mysql`, `http`, `kafka`, `aws` ...")
    host: str = Field(default="", description="Name or address of the server.")
    port: int | None = Field(default=None, description="Its port; that of its kind if none.")
    login: str = Field(default="", description="User.")
    password: SecretStr = Field(default=SecretStr(""), description="Password or token.")
    database: str = Field(default="", description="Database, or what Airflow calls schema; for HTTP `http` or `https`.")
    extra: dict[str, Any] = Field(
        default_factory=dict, description="Further settings, by the names that the kind of source knows.", repr=False
    )


def read_connection(path: str, name: str) -> Connection:
    """The connection of that name in a file of connections.

    Raises:
        SettingMissing: there is no such file, others than its owner may read it, it is no JSON of this form, or the name is not in it.
    """
    if not path:
        raise SettingMissing(
            f"The connection {name} is needed and PERENNIAL_CONNECTIONS is empty: set it to a JSON file of connections by name "
            f"(chmod 600). In Airflow make a connection {name}."
        )
    try:
        status = os.stat(path)
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingMissing(f"The file of connections {path} cannot be read ({error}): check PERENNIAL_CONNECTIONS.") from None
    # A file that a cluster mounts belongs to root, and the stage's user reads it by its group.
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO if status.st_uid == os.getuid() else stat.S_IRWXO):
        raise SettingMissing(f"Others may read {path}, which holds passwords: chmod 600 {path}")
    try:
        known = json.loads(text)
        if not isinstance(known, dict):
            raise ValueError
    except ValueError:
        raise SettingMissing(f'{path} is no JSON object of connections by name, such as {{"{name}": {{"host": "…"}}}}.') from None
    if name not in known:
        raise SettingMissing(f"There is no connection {name} in {path}; it has {', '.join(sorted(known)) or 'none'}.")
    try:
        connection = Connection.model_validate(known[name])
        log_lines.hide(*_secrets(connection))
        return connection
    except ValidationError as error:
        # The values may be secret: only the places and the rule are told.
        wrong = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in error.errors(include_input=False))
        raise SettingMissing(f"The connection {name} in {path} is not of its form ({wrong}).") from None


def _secrets(connection: Connection) -> list[str]:
    """What no line may show: the password, those among the further settings, and an address that holds one."""
    url = connection.url.get_secret_value()
    try:
        without_secret(url)
    except ValueError:
        holds_one = [url]
    else:
        holds_one = []
    further = [str(value) for name, value in connection.extra.items() if _SECRET_NAME.search(name) and isinstance(value, str)]
    return [connection.password.get_secret_value(), *holds_one, *further]
