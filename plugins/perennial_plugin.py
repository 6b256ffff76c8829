"""What Perennial adds to Airflow's web UI. Airflow's plugin loader runs this file; all else is imported by name."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from perennial.settings import Settings
from perennial_airflow.ui import doors

_SETTINGS = Settings.from_environment()


class PerennialPlugin(AirflowPlugin):
    """Ways to the other servers of the platform, in the menu of the web UI, and who may ask the UI itself."""

    name = "perennial"
    external_views = [  # noqa: RUF012 - Airflow declares it so
        {"name": "MLflow", "href": _SETTINGS.mlflow_url, "destination": "nav"},
        {"name": "Reports", "href": _SETTINGS.reports_url, "destination": "nav"},
    ]
    fastapi_root_middlewares = [  # noqa: RUF012
        {"name": "HttpOnlyToken", "middleware": doors.HttpOnlyToken},
        {"name": "KnownCallers", "middleware": doors.KnownCallers, "kwargs": {"settings": _SETTINGS}},  # the last one is asked first
    ]
