"""What Perennial adds to Airflow's web UI. The only file that Airflow's plugin loader runs; all else is imported by name."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from perennial.settings import Settings

_SETTINGS = Settings.from_environment()


class PerennialPlugin(AirflowPlugin):
    """Doors to the other servers of the platform, in the menu of the web UI."""

    name = "perennial"
    external_views = [  # noqa: RUF012 - Airflow declares it so
        {"name": "MLflow", "href": _SETTINGS.mlflow_url, "destination": "nav"},
        {"name": "Reports", "href": _SETTINGS.reports_url, "destination": "nav"},
    ]
