"""Opens Airflow's asset graph on PostgreSQL with psycopg 3: Airflow 3.3.2 sends a JSON path as a text parameter there, and gets an error.

With the path written into the query PostgreSQL reads it as what it is. Another version of Airflow is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

MENDED = "3.3.2"


class MendedAssetGraph:
    """Passes every request on; only Airflow's API server makes one, and needs the mend.

    Args:
        app: what answers requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        mend()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        await self.app(scope, receive, send)


def mend() -> None:
    """Write texts into the queries of Airflow's module on serialized DAGs, where they are constants of its own code."""
    import airflow

    if airflow.__version__ != MENDED:
        return
    from airflow.models import serialized_dag

    vars(serialized_dag)["literal"] = _literal


def _literal(value: Any) -> Any:
    from sqlalchemy import literal, literal_column

    return literal_column("'" + value.replace("'", "''") + "'") if isinstance(value, str) else literal(value)
