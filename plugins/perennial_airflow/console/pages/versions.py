"""A model's versions: the list, one of them, and any two side by side."""

from __future__ import annotations

from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from perennial.views.comparison import ComparisonView, comparison_view
from perennial.views.version import VersionView, version_view
from perennial.views.versions import VersionsView, versions_view
from perennial_airflow.console import PREFIX
from perennial_airflow.console.cards import as_html
from perennial_airflow.console.pictures import figures, learning
from perennial_airflow.console.website import Site

TAB = "versions"
MOST_PAGES = 10_000  # a page number beyond it is no page number


def routes(site: Site) -> APIRouter:
    """The pages and their documents."""
    router = APIRouter()

    @router.get("/models/{name}/versions.json")
    def listed(name: str, user: GetUserDep, page: int = 1) -> VersionsView:
        site.require(name, user)
        return versions_view(site.store, name, _page(page))

    @router.get("/models/{name}/versions")
    def versions(request: Request, name: str, user: GetUserDep, page: int = 1) -> Response:
        site.require(name, user)
        view = versions_view(site.store, name, _page(page))
        return site.model_page(request, "versions.html", name, user, row=view.row, view=view, tab=TAB)

    @router.get("/models/{name}/versions/compare")
    def compare(name: str, user: GetUserDep, a: str = "", b: str = "") -> Response:
        """The address of the comparison that a form asks for, or of the champion with what is newest."""
        site.require(name, user)
        if not (a and b):
            view = comparison_view(site.store, name, a, b)
            a, b = view.a.line.address, view.b.line.address
        return RedirectResponse(f"{PREFIX}/models/{quote(name, safe='')}/versions/{quote(a, safe='')}/{quote(b, safe='')}", 303)

    @router.get("/models/{name}/versions/{which}.json")
    def one_as_document(name: str, which: str, user: GetUserDep) -> VersionView:
        site.require(name, user)
        return version_view(site.store, name, which)

    @router.get("/models/{name}/versions/{which}")
    def one(request: Request, name: str, which: str, user: GetUserDep) -> Response:
        site.require(name, user)
        view = version_view(site.store, name, which)
        facts = {"view": view, "card": as_html(view.card), "learning": learning, "figures": figures}
        return site.model_page(request, "version.html", name, user, row=view.row, tab=TAB, **facts)

    @router.get("/models/{name}/versions/{a}/{b}.json")
    def two_as_document(name: str, a: str, b: str, user: GetUserDep) -> ComparisonView:
        site.require(name, user)
        return comparison_view(site.store, name, a, b)

    @router.get("/models/{name}/versions/{a}/{b}")
    def two(request: Request, name: str, a: str, b: str, user: GetUserDep) -> Response:
        site.require(name, user)
        view, listed = comparison_view(site.store, name, a, b), versions_view(site.store, name)
        facts = {"view": view, "choices": listed.choices, "figures": figures}
        return site.model_page(request, "comparison.html", name, user, row=view.row, tab=TAB, **facts)

    return router


def _page(page: int) -> int:
    return min(max(page, 1), MOST_PAGES)
