"""One model: what serves and why, what was decided, and the buttons that change it."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.views.model import ModelView, model_view
from perennial_airflow.console.buttons import buttons
from perennial_airflow.console.website import Site


def routes(site: Site) -> APIRouter:
    """The page and its document."""
    router = APIRouter()

    @router.get("/models/{name}.json")
    def document(name: str, user: GetUserDep) -> ModelView:
        site.require(name, user)
        return model_view(site.store, name)

    @router.get("/models/{name}")
    def page(request: Request, name: str, user: GetUserDep) -> Response:
        site.require(name, user)
        view = model_view(site.store, name)
        return site.model_page(request, "model.html", name, user, row=view.row, view=view, tab="", buttons=buttons(view.row, user))

    return router
