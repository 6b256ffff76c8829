"""The whole ledger of a model, page by page; what served at a moment; which version answered a prediction."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response

from perennial.errors import StoredDataDamaged
from perennial.lineage.ledger import Kind
from perennial.views.ledger import KINDS, AnswerView, LedgerView, MomentView, answer_view, ledger_view, moment_view
from perennial_airflow.console.website import Site


def routes(site: Site) -> APIRouter:
    """The page, its document and those of its two questions."""
    router = APIRouter()

    @router.get("/models/{name}/ledger.json")
    def document(name: str, user: GetUserDep, kind: Kind | None = None, before: int | None = None) -> LedgerView:
        site.require(name, user)
        return ledger_view(site.store, name, kind, before)

    @router.get("/models/{name}/served-at.json")
    def moment(name: str, user: GetUserDep, at: datetime) -> MomentView:
        site.require(name, user)
        return moment_view(site.store, name, _utc(at))

    @router.get("/models/{name}/prediction.json")
    def prediction(name: str, user: GetUserDep, id: str) -> AnswerView:
        site.require(name, user)
        return answer_view(site.store, name, id)

    @router.get("/models/{name}/ledger")
    def page(
        request: Request, name: str, user: GetUserDep, kind: Kind | None = None, before: int | None = None, at: str = "", id: str = ""
    ) -> Response:
        site.require(name, user)
        served, trouble = None, ""
        try:
            served = moment_view(site.store, name, _utc(datetime.fromisoformat(at))) if at else None
        except ValueError:
            trouble = f"{at[:40]} is no time: write it like 2013-02-01T06:00."
        except StoredDataDamaged as error:
            trouble = str(error)
        answer = answer_view(site.store, name, id.strip()) if id.strip() else None
        view = ledger_view(site.store, name, kind, before)
        facts = {"view": view, "kinds": KINDS, "before": before, "served": served, "answer": answer, "at": at, "trouble": trouble}
        return site.model_page(request, "ledger.html", name, user, tab="ledger", **facts)

    return router


def _utc(time: datetime) -> datetime:
    """A time without a zone is UTC."""
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
