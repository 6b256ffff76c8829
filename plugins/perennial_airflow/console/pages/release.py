"""A release of a model, the one under way or a past one: its steps, its evidence, both versions, and what it waits for."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.views.release import ReleaseView, release_view
from perennial_airflow.console.buttons import buttons
from perennial_airflow.console.website import Site


def routes(site: Site) -> APIRouter:
    """The page and its document; `?version=` names the newest release of a version, a number after the address the entry it began with."""
    router = APIRouter()

    @router.get("/models/{name}/release.json")
    @router.get("/models/{name}/release/{began}.json")
    def document(name: str, user: GetUserDep, began: int | None = None, version: int | None = None) -> ReleaseView:
        site.require(name, user)
        return release_view(site.store, name, began=began, version=version)

    @router.get("/models/{name}/release")
    @router.get("/models/{name}/release/{began}")
    def page(request: Request, name: str, user: GetUserDep, began: int | None = None, version: int | None = None) -> Response:
        site.require(name, user)
        view = release_view(site.store, name, began=began, version=version)
        wanted = {f"{name}_rollback", *([f"{name}_release"] if view.row.state == "waiting" else [])}
        pressed = [button for button in buttons(view.row, user) if button.dag in wanted]
        return site.model_page(request, "release.html", name, user, row=view.row, view=view, tab="release", buttons=pressed)

    return router
