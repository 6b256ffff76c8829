"""The list of models."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.views.delivery import in_short
from perennial.views.models import ModelsView, models
from perennial_airflow.console.buttons import buttons
from perennial_airflow.console.website import Site

NEEDS_SOMEBODY = ("broken", "unknown", "paused")  # states


def routes(site: Site) -> APIRouter:
    """The page and its document."""
    router = APIRouter()

    @router.get("/models")
    def page(request: Request, user: GetUserDep) -> Response:
        view = _readable(site, user)
        back = {row.name: button for row in view.rows for button in buttons(row, user) if button.dag == f"{row.name}_rollback"}
        delivery = in_short(site.store, (row.name for row in view.rows if row.serving))
        return site.page(request, "models.html", view=view, rollback=back, mood=_mood(view), delivery=delivery)

    @router.get("/models.json")
    def document(user: GetUserDep) -> ModelsView:
        return _readable(site, user)

    return router


def _mood(view: ModelsView) -> str:
    """How the sentence on all models looks: as a warning where somebody has to do something, as no news where nothing serves, else good."""
    if any(row.state in NEEDS_SOMEBODY or row.incidents.severity == "critical" for row in view.rows):
        return "changed"
    return "" if any(row.serving for row in view.rows) else "nothing"


def _readable(site: Site, user: Any) -> ModelsView:
    """The rows of models that a person may read."""
    view = models(site.store)
    readable = site.readable((row.name for row in view.rows), user)
    return ModelsView(rows=tuple(row for row in view.rows if row.name in readable))
