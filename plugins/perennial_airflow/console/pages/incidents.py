"""The incidents of all models a person may read, and of one: what is open, what was over, what people said, how often alarms are raised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any
from urllib.parse import urlencode

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, Query, Request, Response

from perennial.incidents.kinds import Kind
from perennial.incidents.listing import State, Wanted
from perennial.specs import VERDICTS
from perennial.views.incidents import IncidentRow, IncidentsView, incidents_view, names_with_incidents
from perennial.views.model import row_of
from perennial_airflow.console import PREFIX
from perennial_airflow.console.buttons import right
from perennial_airflow.console.pictures import alarms
from perennial_airflow.console.website import Site

PLACES = {
    "release": "release",
    "drift": "drift",
    "performance": "drift",
    "anomaly": "drift",
    "answers": "drift",
    "deadline": "data",
    "contract": "versions",
    "data quality": "data",
}  # pages of a model

SILENCE_HOURS = 4


def wanted(state: State | None = None, kind: Kind | None = None, unjudged: bool = False) -> Wanted:
    """What the address narrows the list to."""
    return Wanted(state=state, kind=kind, unjudged=unjudged)


WantedDep = Annotated[Wanted, Depends(wanted)]
PageDep = Annotated[int, Query(ge=1, le=1_000_000)]


def routes(site: Site) -> APIRouter:
    """The pages and their documents."""
    router = APIRouter()

    def all_of(user: Any, wanted: Wanted, page: int) -> IncidentsView:
        return incidents_view(site.store, sorted(site.readable(names_with_incidents(site.store), user)), wanted, page)

    def answer(request: Request, user: Any, template: str, view: IncidentsView, base: str, **facts: Any) -> Response:
        return site.page(
            request, template, view=view, address=_addresses(base, view), alarms=alarms, places=PLACES, verdicts=VERDICTS, conf=_conf,
            silence=_silence, may=_rights(view.rows, user), **facts,
        )  # fmt: skip

    @router.get("/incidents.json")
    def all_incidents(user: GetUserDep, wanted: WantedDep, page: PageDep = 1) -> IncidentsView:
        return all_of(user, wanted, page)

    @router.get("/incidents")
    def page_of_all(request: Request, user: GetUserDep, wanted: WantedDep, page: PageDep = 1) -> Response:
        return answer(request, user, "all_incidents.html", all_of(user, wanted, page), f"{PREFIX}/incidents", row=None)

    @router.get("/models/{name}/incidents.json")
    def document(name: str, user: GetUserDep, wanted: WantedDep, page: PageDep = 1) -> IncidentsView:
        site.require(name, user)
        row_of(site.store, name)
        return incidents_view(site.store, [name], wanted, page)

    @router.get("/models/{name}/incidents")
    def page_of_one(request: Request, name: str, user: GetUserDep, wanted: WantedDep, page: PageDep = 1) -> Response:
        site.require(name, user)
        row = row_of(site.store, name)
        view = incidents_view(site.store, [name], wanted, page)
        return answer(request, user, "incidents.html", view, f"{PREFIX}/models/{name}/incidents", row=row, tab="incidents")

    return router


def _addresses(base: str, view: IncidentsView) -> Callable[..., str]:
    """Makes addresses of the same list, narrowed otherwise or at another page: `address(state="open")`, `address(page=2)`."""

    def address(page: int = 1, **changes: object) -> str:
        fields = {**view.wanted.model_dump(), **changes}
        asked = {name: str(value).lower() if value is True else value for name, value in fields.items() if value}
        query = urlencode(asked | ({"page": page} if page > 1 else {}))
        return f"{base}?{query}" if query else base

    return address


def _rights(rows: Iterable[IncidentRow], user: Any) -> dict[str, str]:
    """Of each model on the page, why this person cannot give a verdict; empty where the person can."""
    return {name: right(f"{name}_incidents", user) for name in {row.model for row in rows}}


def _conf(row: IncidentRow, verdict: str) -> str:
    """What the DAG that records a verdict is told."""
    return json.dumps({"incident": row.id, "verdict": verdict})


def _silence(row: IncidentRow) -> str:
    """What the DAG that silences a kind of incident is told."""
    return json.dumps({"incident": row.id, "silence_hours": SILENCE_HOURS})
