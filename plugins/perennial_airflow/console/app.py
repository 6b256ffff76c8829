"""The console's pages, as an app that Airflow's API server mounts below `/perennial`.

Who is logged in sees the models whose training DAG the person may read. A page is made on the server, runs two scripts of its own files
and the charting library's, and asks again by itself while it is looked at; docs/decisions/0062-a-console-inside-airflow.md says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from perennial import pages
from perennial.errors import PerennialError, UnknownName
from perennial.settings import Settings
from perennial_airflow.console import charts
from perennial_airflow.console.pages import (
    data,
    drift,
    experiment,
    incidents,
    ledger,
    lineage,
    model,
    models,
    release,
    reports,
    review,
    run,
    versions,
)
from perennial_airflow.console.website import HERE, POLICY, Site

PAGES = (models, model, release, experiment, drift, versions, data, lineage, incidents, ledger, review, reports, run)
# A link in a report's sandbox is followed without the cookie of the login: to a browser the page is a stranger. This page is not.
ONCE_MORE = '<!doctype html><meta charset="utf-8"><title>One moment</title><meta http-equiv="refresh" content="0;url=?again=yes">'


def make_app(settings: Settings) -> FastAPI:
    """The app.

    Args:
        settings: they say where the store is.
    """
    app, site = FastAPI(title="Perennial", docs_url=None, redoc_url=None, openapi_url=None), Site(settings)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    @app.exception_handler(PerennialError)
    async def say(request: Request, error: Exception) -> Response:
        status = 404 if isinstance(error, UnknownName) else 503
        if request.url.path.endswith(".json"):
            return JSONResponse({"detail": str(error)}, status)
        return HTMLResponse(site.html("trouble.html", sentence=str(error)), status)

    @app.exception_handler(HTTPException)
    async def ask_who(request: Request, error: HTTPException) -> Response:
        asked = request.headers.get
        if error.status_code not in (401, 403) or asked("sec-fetch-mode") != "navigate":
            return await http_exception_handler(request, error)
        if (asked("sec-fetch-site"), asked("sec-fetch-dest")) == ("cross-site", "iframe") and "again" not in request.query_params:
            headers = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'"}
            return HTMLResponse(ONCE_MORE, error.status_code, headers)
        return HTMLResponse(site.html("logged_out.html", address=str(request.url)), error.status_code)

    @app.get("/static/look.css")
    def look() -> Response:
        chosen = f":root.dark{{color-scheme:dark;{pages.DARK}}}:root.light{{color-scheme:light;{pages.LIGHT}}}"
        return Response(pages.STYLE + chosen, media_type="text/css", headers={"Cache-Control": "max-age=300"})

    @app.get("/static/echarts.js")
    def library() -> Response:
        return charts.library()

    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")  # of the look alone: anybody may have it
    for page in PAGES:
        app.include_router(page.routes(site))
    return app
