"""Which home and store the functions of a notebook work on: those of this checkout, of the environment, or those that are named.

>>> import tempfile
>>> connect(store=tempfile.mkdtemp()).settings.runtime
'process'
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from perennial.errors import SettingMissing
from perennial.local.airflow_api import AirflowApi
from perennial.local.airflow_programs import login, passwords_file
from perennial.local.project import ROOT
from perennial.settings import PREFIX, Settings
from perennial.store import Store, open_store


@dataclass(frozen=True)
class Connection:
    """Settings and store that the functions use."""

    settings: Settings
    airflow_login: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def store(self) -> Store:
        """The store, for questions: what writes is a process of its own."""
        return open_store(self.settings.store, writes=False)

    def airflow(self) -> AirflowApi:
        """Airflow's REST API, as the person that `connect` named, or as the user of the platform that `perennial up` starts.

        Raises:
            SettingMissing: nobody was named, and this home has no password.
        """
        if self.airflow_login is None and not passwords_file(self.settings).exists():
            raise SettingMissing(
                f"Nothing says who asks Airflow at {self.settings.airflow_url}: this home, {self.settings.home}, has no platform. "
                'Run `perennial up`, or name a user: perennial.connect(airflow_login=("user", "password")).'
            )
        return AirflowApi(self.settings.airflow_url, *(self.airflow_login or login(self.settings)))

    def __repr__(self) -> str:
        return f"Perennial on the store {self.settings.store}, home {self.settings.home}"


_named: Connection | None = None


def connect(
    home: str | Path | None = None,
    store: str | Path | None = None,
    *,
    airflow_login: tuple[str, str] | None = None,
    **settings: object,
) -> Connection:
    """Say where the functions find everything; without it, they use the environment and the folder `.perennial` of this checkout.

    Args:
        home: folder with environments and passwords, such as `.perennial/demo`.
        store: a folder or `s3://bucket/prefix`; `<home>/store` if absent.
        airflow_login: user and password of an Airflow that another machine runs.
        settings: further settings by their names in docs/settings.md, without `PERENNIAL_` and in small letters, such as `mlflow_url`.

    Raises:
        SettingMissing: there is no such setting, or a value does not fit.
    """
    global _named  # noqa: PLW0603 - a notebook has one connection at a time, like one store
    given = {"home": home, "store": store, **settings}
    _named = Connection(_settings({name: str(value) for name, value in given.items() if value is not None}), airflow_login)
    return _named


def connection() -> Connection:
    """The one that `connect` named, else that of the environment and this checkout."""
    return _named or Connection(_settings({}))


def _settings(given: dict[str, str]) -> Settings:
    environment = {
        f"{PREFIX}HOME": str(ROOT / ".perennial"),
        **os.environ,
        **{PREFIX + name.upper(): value for name, value in given.items()},
    }
    if "home" in given and "store" not in given:
        environment.pop(f"{PREFIX}STORE", None)  # another home's own
    return Settings.from_environment(environment)
