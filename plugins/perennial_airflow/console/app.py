"""The console's pages, as an app that Airflow's API server mounts below `/perennial`.

Who is logged in sees the models whose training DAG the person may read. A page is made on the server, runs two scripts of its own files
and the charting library's, and asks again by itself while it is looked at; docs/decisions/0062-a-console-inside-airflow.md says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from perennial import pages
from perennial.errors import PerennialError, UnknownName
from perennial.settings import Settings
from perennial_airflow.console import charts
from perennial_airflow.console.pages import incidents, model, models
from perennial_airflow.console.website import HERE, Site

PAGES = (models, model, incidents)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)


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
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    @app.exception_handler(PerennialError)
    async def say(request: Request, error: Exception) -> Response:
        status = 404 if isinstance(error, UnknownName) else 503
        if request.url.path.endswith(".json"):
            return JSONResponse({"detail": str(error)}, status)
        return HTMLResponse(site.html("trouble.html", sentence=str(error)), status)

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
