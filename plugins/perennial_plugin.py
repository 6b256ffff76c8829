"""What Perennial adds to Airflow's web UI. Airflow's plugin loader runs this file; all else is imported by name."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from perennial.settings import Settings
from perennial_airflow.console import PREFIX, Console
from perennial_airflow.ui import doors

_SETTINGS = Settings.from_environment()


class PerennialPlugin(AirflowPlugin):
    """Ways to the other servers of the platform, in the menu of the web UI, and who may ask the UI itself."""

    name = "perennial"
    fastapi_apps = [{"app": Console(_SETTINGS), "url_prefix": PREFIX, "name": "Perennial"}]  # noqa: RUF012 - Airflow declares it so
    external_views = [  # noqa: RUF012
        {
            "name": "Models",
            "href": f"{PREFIX}/models",
            "destination": "nav",
            "url_route": "models",
            "nav_top_level": True,
            "icon": f"{PREFIX}/static/models.svg",
            "icon_dark_mode": f"{PREFIX}/static/models-dark.svg",
        },
        {"name": "MLflow", "href": _SETTINGS.mlflow_url, "destination": "nav"},
        {"name": "Reports", "href": _SETTINGS.reports_url, "destination": "nav"},
    ]
    fastapi_root_middlewares = [  # noqa: RUF012
        {"name": "HttpOnlyToken", "middleware": doors.HttpOnlyToken},
        {"name": "KnownCallers", "middleware": doors.KnownCallers, "kwargs": {"settings": _SETTINGS}},  # the last one is asked first
    ]
