"""Where a version comes from and where it went, as one picture."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.views.lineage import LineageView, lineage_view
from perennial_airflow.console.pictures import way
from perennial_airflow.console.website import Site


def routes(site: Site) -> APIRouter:
    """The page and its document."""
    router = APIRouter()

    @router.get("/models/{name}/lineage.json")
    def document(name: str, user: GetUserDep, version: int | None = None) -> LineageView:
        site.require(name, user)
        return lineage_view(site.store, name, version, lambda models: site.readable(models, user))

    @router.get("/models/{name}/lineage")
    def page(request: Request, name: str, user: GetUserDep, version: int | None = None) -> Response:
        site.require(name, user)
        view = lineage_view(site.store, name, version, lambda models: site.readable(models, user))
        return site.model_page(request, "lineage.html", name, user, view=view, picture=way, tab="lineage")

    return router
