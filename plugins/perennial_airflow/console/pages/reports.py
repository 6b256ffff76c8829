"""Reports: the index, each report within a bar that leads to the ones before and after it, and the report itself in its sandbox."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.background import BackgroundTask

from perennial import discovery
from perennial.reports import sandbox
from perennial.views.reports import ReportsView, names, report, reports
from perennial_airflow.console import PREFIX
from perennial_airflow.console.website import POLICY, Site

WHOLE = 4_000_000  # bytes of a report that is answered from memory; a larger one goes by way of a file


def routes(site: Site) -> APIRouter:
    """The pages, the index's document, and the reports."""
    router = APIRouter()

    @router.get("/reports.json")
    def document(user: GetUserDep, about: str = "", refused: bool = False) -> ReportsView:
        return _index(site, user, about, refused=refused)

    @router.get("/reports")
    def index(request: Request, user: GetUserDep, about: str = "", refused: bool = False) -> Response:
        return site.page(request, "reports.html", view=_index(site, user, about, refused=refused))

    @router.get("/models/{name}/reports")
    def of_model(request: Request, name: str, user: GetUserDep, refused: bool = False) -> Response:
        site.require(name, user)
        spec = discovery.models().get(name)
        learned_from = {spec.dataset, *([spec.feed.dataset] if spec.feed else [])} if spec else set()
        _, datasets = site.readable_reports(learned_from, user)
        view = reports(site.store, [name], datasets, refused=refused)
        return site.model_page(request, "model_reports.html", name, user, view=view, tab="reports")

    @router.get("/report/{path:path}")
    def within_its_bar(request: Request, path: str, user: GetUserDep) -> Response:
        key = site.require_report(path, user)
        view = report(site.store, key.removeprefix(f"{sandbox.FOLDER}/"))
        response = site.page(request, "report.html", view=view)
        response.headers["Content-Security-Policy"] = f"{POLICY}; frame-src 'self'"
        return response

    @router.get("/reports/{path:path}")
    def alone(path: str, user: GetUserDep) -> Response:
        if not path:
            return RedirectResponse(f"{PREFIX}/reports")
        key = site.require_report(path, user)
        if key.endswith("/index.html") and not path.endswith(("/", "/index.html")):
            return RedirectResponse(f"./{quote(path.rsplit('/', 1)[-1])}/", headers=sandbox.headers(path))
        return _report(site, key, path)

    return router


def _index(site: Site, user: Any, about: str, *, refused: bool) -> ReportsView:
    models, datasets = site.readable_reports(names(site.store), user)
    return reports(site.store, models, datasets, about=about, refused=refused)


def _report(site: Site, key: str, path: str) -> Response:
    """A report as it is, where nothing in it can act."""
    kind, headers = sandbox.kind(key), sandbox.headers(path)
    if kind == sandbox.BYTES:
        headers["Content-Disposition"] = "attachment"
    stored = site.store.stat(key)
    if stored is None or stored.size <= WHOLE:
        return Response(site.store.read(key), media_type=kind, headers=headers)
    with tempfile.NamedTemporaryFile(prefix="perennial-report-", delete=False) as file:
        copy = Path(file.name)
    try:
        site.store.download(key, copy)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    return FileResponse(copy, media_type=kind, headers=headers, background=BackgroundTask(copy.unlink, missing_ok=True))
