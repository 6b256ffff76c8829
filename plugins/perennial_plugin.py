"""What Perennial adds to Airflow's web UI. Airflow's plugin loader runs this file; all else is imported by name."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from perennial.settings import Settings
from perennial_airflow.console import PREFIX, Console
from perennial_airflow.run_notes import RunNotes
from perennial_airflow.task_line_ids import TaskLineIds
from perennial_airflow.ui import asset_graph, doors

_SETTINGS = Settings.from_environment()


class PerennialPlugin(AirflowPlugin):
    """The console's pages and the way to MLflow in the menu of the web UI, tabs of runs and DAGs, notes on runs, ids in tasks' lines, and
    who may ask the UI."""

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
        {"name": "Model", "href": f"{PREFIX}/dag?dag_id={{DAG_ID}}", "destination": "dag", "url_route": "perennial-model"},
        {
            "name": "What happened",
            "href": f"{PREFIX}/run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "perennial-run",
        },
        {"name": "Reports", "href": f"{PREFIX}/reports", "destination": "nav", "url_route": "reports"},
        # Without this parameter its own pages open on traces of language models, of which there are none.
        {"name": "MLflow", "href": f"{_SETTINGS.mlflow_url}/#/experiments?workflowType=machine_learning", "destination": "nav"},
    ]
    listeners = [RunNotes(), TaskLineIds()]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"name": "MendedAssetGraph", "middleware": asset_graph.MendedAssetGraph},
        {"name": "HttpOnlyToken", "middleware": doors.HttpOnlyToken, "kwargs": {"settings": _SETTINGS}},
        {"name": "KnownCallers", "middleware": doors.KnownCallers, "kwargs": {"settings": _SETTINGS}},  # the last one is asked first
    ]
