"""An experiment of a model, the one under way or a past one: the difference over time, the units of both versions, and how it ended."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.views.experiment import ExperimentView, experiment_view
from perennial_airflow.console.website import Site


def routes(site: Site) -> APIRouter:
    """The page and its document; a number after the address names the ledger entry with which the experiment began."""
    router = APIRouter()

    @router.get("/models/{name}/experiment.json")
    @router.get("/models/{name}/experiment/{began}.json")
    def document(name: str, user: GetUserDep, began: int | None = None) -> ExperimentView:
        site.require(name, user)
        return experiment_view(site.store, name, began=began)

    @router.get("/models/{name}/experiment")
    @router.get("/models/{name}/experiment/{began}")
    def page(request: Request, name: str, user: GetUserDep, began: int | None = None) -> Response:
        site.require(name, user)
        view = experiment_view(site.store, name, began=began)
        return site.model_page(request, "experiment.html", name, user, row=view.row, view=view, tab="experiment")

    return router
