"""Drift and performance of one model: which features moved in which window, and what one finding looks like."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.views.drift import DriftView, WindowView, drift_view, window_view
from perennial_airflow.console import PREFIX
from perennial_airflow.console.buttons import buttons
from perennial_airflow.console.pictures import drift, finding
from perennial_airflow.console.website import Site

SHOWN = 30  # features, unless all are asked for


def routes(site: Site) -> APIRouter:
    """The pages and their documents."""
    router = APIRouter()

    @router.get("/models/{name}/drift.json")
    def document(name: str, user: GetUserDep) -> DriftView:
        site.require(name, user)
        return drift_view(site.store, name)

    @router.get("/models/{name}/drift")
    def page(request: Request, name: str, user: GetUserDep, features: str = "") -> Response:
        site.require(name, user)
        view = drift_view(site.store, name)
        shown = view.features if features == "all" else view.features[:SHOWN]
        pressed = [button for button in buttons(view.row, user) if button.dag == f"{name}_monitoring"]
        facts = {"view": view, "shown": shown, "drift": drift, "finding": finding, "here": _here(name), "buttons": pressed}
        return site.model_page(request, "drift.html", name, user, row=view.row, tab="drift", **facts)

    @router.get("/models/{name}/drift/{window}.json")
    def window_document(name: str, window: str, user: GetUserDep, column: str = "") -> WindowView:
        site.require(name, user)
        return window_view(site.store, name, window, column)

    @router.get("/models/{name}/drift/{window}")
    def window_page(request: Request, name: str, window: str, user: GetUserDep, column: str = "", features: str = "") -> Response:
        site.require(name, user)
        view = window_view(site.store, name, window, column)
        shown = view.columns if features == "all" else view.columns[:SHOWN]
        facts = {"view": view, "shown": shown, "finding": finding, "here": _here(name)}
        return site.model_page(request, "drift_window.html", name, user, row=view.row, tab="drift", **facts)

    return router


def _here(name: str) -> str:
    """The address below which the pages of the windows lie."""
    return f"{PREFIX}/models/{name}/drift/"
