"""What landed for a model's datasets, day by day, and how far one batch reached."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.views.data import ONLY, BatchView, DataView, Only, batch_view, data_view
from perennial_airflow.console.pictures import batches
from perennial_airflow.console.website import Site


def routes(site: Site) -> APIRouter:
    """The two pages and their documents."""
    router = APIRouter()

    def landed(name: str, user: Any, **asked: Any) -> DataView:
        site.require(name, user)
        return data_view(site.store, name, visible=lambda models: site.readable(models, user), **asked)

    def reached(name: str, batch: str, user: Any, dataset: str) -> BatchView:
        site.require(name, user)
        return batch_view(site.store, name, batch, dataset=dataset, visible=lambda models: site.readable(models, user))

    @router.get("/models/{name}/data.json")
    def document(name: str, user: GetUserDep, dataset: str = "", only: Only = "", before: str = "") -> DataView:
        return landed(name, user, dataset=dataset, only=only, before=before)

    @router.get("/models/{name}/data")
    def page(request: Request, name: str, user: GetUserDep, dataset: str = "", only: Only = "", before: str = "") -> Response:
        view = landed(name, user, dataset=dataset, only=only, before=before)
        facts = {"view": view, "filters": ONLY, "before": before.partition("~")[0], "picture": batches, "tab": "data"}
        return site.model_page(request, "data.html", name, user, **facts)

    @router.get("/models/{name}/data/{batch}.json")
    def batch_document(name: str, batch: str, user: GetUserDep, dataset: str = "") -> BatchView:
        return reached(name, batch, user, dataset)

    @router.get("/models/{name}/data/{batch}")
    def batch_page(request: Request, name: str, batch: str, user: GetUserDep, dataset: str = "") -> Response:
        return site.model_page(request, "batch.html", name, user, view=reached(name, batch, user, dataset), tab="data")

    return router
