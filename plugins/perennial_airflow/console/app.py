"""The console's pages, as an app that Airflow's API server mounts below `/perennial`.

Who is logged in sees the models whose training DAG the person may read. A page is made on the server, has no script of its own but one
file, and asks again by itself while it is looked at; docs/decisions/0062-a-console-inside-airflow.md says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from perennial import pages
from perennial.errors import PerennialError, UnknownName
from perennial.settings import Settings
from perennial.store import Store, open_store
from perennial.views.model import ModelView, model_view
from perennial.views.models import ModelsView, models
from perennial_airflow.console import PREFIX, words
from perennial_airflow.console.buttons import buttons

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
_pages = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters.update(moment=words.moment, percent=words.percent, code=words.code)
_pages.globals.update(prefix=PREFIX, bars=words.bars)


def make_app(settings: Settings) -> FastAPI:
    """The app.

    Args:
        settings: they say where the store is.
    """
    app = FastAPI(title="Perennial", docs_url=None, redoc_url=None, openapi_url=None)

    @cache
    def store() -> Store:
        return open_store(settings.store, writes=False)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    @app.exception_handler(PerennialError)
    async def say(request: Request, error: Exception) -> Response:
        status = 404 if isinstance(error, UnknownName) else 503
        if request.url.path.endswith(".json"):
            return JSONResponse({"detail": str(error)}, status)
        return HTMLResponse(_pages.get_template("trouble.html").render(sentence=str(error)), status)

    @app.get("/static/look.css")
    def look() -> Response:
        chosen = f":root.dark{{color-scheme:dark;{pages.DARK}}}:root.light{{color-scheme:light;{pages.LIGHT}}}"
        return Response(pages.STYLE + chosen, media_type="text/css", headers={"Cache-Control": "max-age=300"})

    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")  # of the look alone: anybody may have it

    @app.get("/models")
    def models_page(request: Request, user: GetUserDep) -> Response:
        return _page(request, "models.html", view=_readable(models(store()), user))

    @app.get("/models.json")
    def models_json(user: GetUserDep) -> ModelsView:
        return _readable(models(store()), user)

    @app.get("/models/{name}.json")
    def model_json(name: str, user: GetUserDep) -> ModelView:
        _require(name, user)
        return model_view(store(), name)

    @app.get("/models/{name}")
    def model_page(request: Request, name: str, user: GetUserDep) -> Response:
        _require(name, user)
        view = model_view(store(), name)
        return _page(request, "model.html", view=view, reports=settings.reports_url, buttons=buttons(view.row, user))

    return app


def _require(name: str, user: Any) -> None:
    """Raises UnknownName where the person may not read the model, as if there were none."""
    if not _may_read({name}, user):
        raise UnknownName(f"There is no model {name} that you may see. The list of models has those that you may.")


def _readable(view: ModelsView, user: Any) -> ModelsView:
    """The rows of models that a person may read."""
    readable = _may_read({row.name for row in view.rows}, user)
    return ModelsView(rows=tuple(row for row in view.rows if row.name in readable))


def _may_read(names: set[str], user: Any) -> set[str]:
    """Those of some models whose training DAG a person may read."""
    dags = {f"{name}_training": name for name in names}
    return {dags[dag] for dag in get_auth_manager().filter_authorized_dag_ids(dag_ids=set(dags), user=user, method="GET")}


def _page(request: Request, template: str, **facts: Any) -> Response:
    """A page; 304 without a body if the browser has it already, so that asking again costs next to nothing."""
    body = _pages.get_template(template).render(**facts).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(body, headers=headers)
