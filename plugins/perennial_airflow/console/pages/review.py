"""The review of one model: what was released, refused and wrong, how well it did, and what is open."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Query, Request, Response

from perennial import discovery
from perennial.views.review import DAYS, ReviewView, review_view, sections
from perennial_airflow.console.website import Site

DaysDep = Annotated[int, Query(ge=1, le=3660)]


def routes(site: Site) -> APIRouter:
    """The page and its document."""
    router = APIRouter()

    def view_of(name: str, days: int) -> ReviewView:
        now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
        return review_view(site.store, name, now - timedelta(days=days), now)

    @router.get("/models/{name}/review.json")
    def document(name: str, user: GetUserDep, days: DaysDep = DAYS) -> ReviewView:
        site.require(name, user)
        return view_of(name, days)

    @router.get("/models/{name}/review")
    def page(request: Request, name: str, user: GetUserDep, days: DaysDep = DAYS) -> Response:
        site.require(name, user)
        view, spec = view_of(name, days), discovery.models().get(name)
        facts = {"view": view, "sections": sections(view), "cadence": spec.review if spec else "never"}
        return site.model_page(request, "review.html", name, user, row=view.row, tab="review", **facts)

    return router
