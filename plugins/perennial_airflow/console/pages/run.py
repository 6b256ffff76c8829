"""The tabs of Airflow's pages of a run and of a DAG: what happened, and the way to the model's page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.utils.session import create_session
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from perennial import discovery
from perennial.errors import UnknownName
from perennial.views.run import OF_DATASETS, OF_MODELS, RunView, run_view, subject
from perennial.views.run_explained import UNREADABLE
from perennial_airflow import run_records
from perennial_airflow.console import PREFIX
from perennial_airflow.console.website import Site

FOREIGN = "{dag} is no DAG of a model or dataset: Perennial has nothing to say of it. The list of models has those that it knows."


def routes(site: Site) -> APIRouter:
    """The page of a run, its document, and the page that leads from a DAG to its model."""
    router = APIRouter()

    @router.get("/run.json")
    def document(dag_id: str, run_id: str, user: GetUserDep) -> RunView:
        if not _may_read(dag_id, user):
            raise HTTPException(403, _forbidden(dag_id))
        return _view(site, dag_id, run_id, user)

    @router.get("/explain-run.json")
    def explained(what: str, user: GetUserDep) -> RunView:
        dag_id, run_id = _named(what, user)
        return _view(site, dag_id, run_id, user)

    @router.get("/run")
    def page(request: Request, dag_id: str, run_id: str, user: GetUserDep) -> Response:
        if not _may_read(dag_id, user):
            return HTMLResponse(site.html("trouble.html", sentence=_forbidden(dag_id)), 403)
        return site.page(request, "run.html", view=_view(site, dag_id, run_id, user))

    @router.get("/dag")
    def model_of(request: Request, dag_id: str, user: GetUserDep) -> Response:
        name, kind = subject(dag_id)
        if kind in OF_MODELS:
            return RedirectResponse(f"{PREFIX}/models/{name}/incidents" if kind == "incidents" else f"{PREFIX}/models/{name}", 303)
        models = [model for model in discovery.models().values() if kind in OF_DATASETS and name in model.datasets]
        readable = site.readable((model.name for model in models), user)
        sentence = FOREIGN.format(dag=dag_id)
        if kind in OF_DATASETS:
            sentence = f"No model that you may see learns from {name}." if not readable else f"These models learn from {name}."
        return site.page(request, "dag.html", dag=dag_id, sentence=sentence, models=[m for m in models if m.name in readable])

    return router


def _named(what: str, user: Any) -> tuple[str, str]:
    """DAG and run that a person named. Raises UnknownName, with the nearest ones, where there is none that they may read."""
    with create_session(scoped=False) as session:
        readable = [(dag, run) for dag, run in run_records.found(session, what) if _may_read(dag, user)]
        if readable:
            return readable[0]
        near = run_records.nearest(session, what, lambda dag: _may_read(dag, user))
    there_are = f" Near to it are {', '.join(near)}." if near else " No run that you may read has begun yet."
    raise UnknownName(
        f"There is no run {what[:200]!r}: name one as DAG/run, by its id, a model or dataset for its newest run, or a version as "
        f"model/7.{there_are}"
    )


def _view(site: Site, dag_id: str, run_id: str, user: Any) -> RunView:
    """What the tab shows, read in one short session.

    Raises:
        UnknownName: the DAG is none of the platform's, or there is no such run.
    """
    with create_session(scoped=False) as session:
        if not run_records.is_ours(session, dag_id):
            raise UnknownName(FOREIGN.format(dag=dag_id))
        run = run_records.record(session, dag_id, run_id)
        if run is None:
            raise UnknownName(f"{dag_id} has no run {run_id}: it may have been deleted. The DAG's page lists those there are.")
        ends = run_records.ends(session, dag_id, run_id)
        every = [*run_records.way(session, run), *run_records.later(session, run)]
        way = [leg for leg in every if leg is run or _may_read(leg.dag, user)]
        promoted = {(leg.dag, leg.run) for leg in way if run_records.promoted(session, leg)}
    is_shown = run.after is None or _may_read(run.after[0], user)
    return run_view(site.store, run if is_shown else replace(run, after=None, asset="", kind=UNREADABLE), ends, way, promoted)


def _may_read(dag_id: str, user: Any) -> bool:
    return get_auth_manager().is_authorized_dag(method="GET", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user)


def _forbidden(dag_id: str) -> str:
    return f"You may not read the runs of {dag_id}: ask for the right to read that DAG."
