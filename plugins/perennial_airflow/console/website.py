"""What every page of the console needs: the store, who may see which model, and how a page is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from airflow.api_fastapi.app import get_auth_manager
from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from perennial.counted import counted, shown_of, spent
from perennial.errors import UnknownName
from perennial.monitoring.report.words import metric_words, titled, units_words
from perennial.reports import sandbox
from perennial.settings import Settings
from perennial.store import Store, open_store
from perennial.views.model import is_known, row_of
from perennial.views.release import odds
from perennial_airflow.console import PREFIX, charts, words
from perennial_airflow.console.pictures import experiment, loss, metrics, release

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
TABS = {  # the pages of a model: the end of the address, and the name
    "": "Overview",
    "release": "Release",
    "experiment": "Experiment",
    "drift": "Drift",
    "versions": "Versions",
    "data": "Data",
    "lineage": "Lineage",
    "incidents": "Incidents",
    "review": "Review",
    "ledger": "Ledger",
    "reports": "Reports",
}


def today(link: str) -> str:
    """A stored link, as an address of now if it leads to a report: earlier releases had a server for them on a port of its own."""
    path = sandbox.path_of(link)
    return f"{PREFIX}/report/{quote(path)}" if path else link


class Site:
    """The console, as a page sees it.

    Args:
        settings: they say where the store is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            moment=words.moment,
            day=words.day,
            percent=words.percent,
            code=words.code,
            dags=words.dags,
            spent=spent,
            window=words.window,
            today=today,
        )
        self._templates.globals.update(
            prefix=PREFIX,
            bars=words.bars,
            window_link=words.window_link,
            chart=charts.chart,
            counted=counted,
            loss=loss,
            metrics=metrics,
            metric_words=metric_words,
            titled=titled,
            units_words=units_words,
            release=release,
            experiment=experiment,
            odds=odds,
            shown_of=shown_of,
            tabs=TABS,
            reports=f"{PREFIX}/report",
        )

    @cached_property
    def store(self) -> Store:
        """The store, to read."""
        return open_store(self.settings.store, writes=False)

    def require(self, model: str, user: Any) -> None:
        """Raises UnknownName where a person may not read a model, or there is none: the same, and no other model is named."""
        if not self.readable([model], user) or not is_known(self.store, model):
            raise UnknownName(f"There is no model {model[:200]} that you may see. The list of models has those that you may.")

    def readable(self, models: Iterable[str], user: Any) -> set[str]:
        """Those of some models whose training DAG a person may read."""
        dags = {f"{name}_training": name for name in models}
        if not dags:
            return set()
        return {dags[dag] for dag in get_auth_manager().filter_authorized_dag_ids(dag_ids=set(dags), user=user, method="GET")}

    def readable_reports(self, names: Iterable[str], user: Any) -> tuple[set[str], set[str]]:
        """Those of some names of which a person may read a model's reports, and those of which a dataset's Data Docs.

        Evaluations and windows are for who may read the model's training DAG, Data Docs for who may read the dataset's ingestion.
        """
        names = set(names)
        dags = {f"{name}_{dag}" for name in names for dag in ("training", "ingestion")}
        allowed = get_auth_manager().filter_authorized_dag_ids(dag_ids=dags, user=user, method="GET") if dags else set()
        return {name for name in names if f"{name}_training" in allowed}, {name for name in names if f"{name}_ingestion" in allowed}

    def require_report(self, path: str, user: Any) -> str:
        """The store key of a report. Raises UnknownName where there is none, or where a person may not read it."""
        name = path.strip("/").split("/", 1)[0]
        models, datasets = self.readable_reports([name], user)
        key = sandbox.place(self.store, path) if name in (datasets if sandbox.is_data_docs(path) else models) else None
        if key is None:
            raise UnknownName(f"There is no report {path[:200]!r} that you may see. The list of reports has those that you may.")
        return key

    def page(self, request: Request, template: str, **facts: Any) -> Response:
        """A page; 304 without a body if the browser has it already, so that asking again costs next to nothing."""
        body = self.html(template, **facts).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(body, headers=headers)

    def model_page(self, request: Request, template: str, name: str, user: Any, **facts: Any) -> Response:
        """A page of one model, below its name, its state and the tabs of its other pages.

        Raises:
            UnknownName: there is no such model, or none that the person may see.
        """
        self.require(name, user)
        return self.page(request, template, row=facts.pop("row", None) or row_of(self.store, name), **facts)

    def html(self, template: str, **facts: Any) -> str:
        """A template with its facts."""
        return self._templates.get_template(template).render(**facts)
