"""Whatever is asked for, each page of the console answers with a sentence, and none names a model that one may not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from perennial.store import FolderStore
from perennial_airflow.console import Console

from .test_lineage_pages import ask, store

__all__ = ["ask", "store"]
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
SOUND = {"name": "churn", "batch": "good", "path": "churn/docs/index.html", "dag_id": "churn_training", "at": "2026-03-01", "id": "p"}
OF_AIRFLOW = (
    "/run",
    "/run.json",
    "/explain-run.json",
    "/static/look.css",
    "/static/echarts.js",
)  # they read Airflow's database, or nothing
ODD = ("9" * 5000, "\u00b2", "a\0b", "2026-01-01", "0001-01-01T00:00+14:00~x")


def parameters(of: Dependant) -> Iterator[str]:
    """Names of what a route is asked with, in its path or after it."""
    yield from (each.name for each in (*of.path_params, *of.query_params))
    for inner in of.dependencies:
        yield from parameters(inner)


@pytest.fixture
def hidden(store: FolderStore) -> FolderStore:
    """A model that one may not see, whose ledger and one version are damaged, beside the one that one may."""
    store.write("ledger/secret/00000000.json", b"{")
    store.write(f"models/secret/versions/{'e' * 64}/manifest.json", b"{")
    store.write("incidents/secret/00000000.json", b"{")
    return store


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_odd_questions_are_answered_with_a_sentence(ask: Any, hidden: FolderStore, odd: str) -> None:
    """DM-09: Every parameter of every page takes any text: no answer is an error of the server or names another model."""
    app: Any = next(cell.cell_contents for cell in ask.__closure__ if isinstance(cell.cell_contents, Console)).app
    every = {route.path: route for route in app.routes if isinstance(route, APIRoute) and route.path not in OF_AIRFLOW}
    routes = [route for path, route in every.items() if path.removesuffix(".json") == path or path.removesuffix(".json") not in every]
    asked = 0
    for route in routes:
        for wanted in parameters(route.dependant):
            path, query = route.path.replace(":path}", "}"), ""
            for name in parameters(route.dependant):
                text = quote(odd if name == wanted else SOUND.get(name, "1"), safe="")
                place = f"{{{name}}}"
                if place in path:
                    path = path.replace(place, text)
                elif name in ("at", "id", "dag_id", wanted):
                    query += f"&{name}={text}"
            answer = ask(f"{path}?{query[1:]}")
            asked += 1
            assert answer.status_code in (200, 303, 307, 404, 422), (path[:90], query[:90])
            assert "secret" not in answer.text, (path[:90], query[:90])
    assert asked > len(routes)


@pytest.mark.parametrize("page", ["data", "data/good"])
def test_damage_of_models_that_one_may_not_see_is_told_without_their_names(ask: Any, hidden: FolderStore, page: str) -> None:
    """DM-07: That something is not known is said; of whom it is, is not."""
    for address in (f"/models/churn/{page}", f"/models/churn/{page}.json"):
        assert "What versions of 1 model that you may not see learned from is not known in full." in ask(address).text
        assert "secret" not in ask(address).text


@pytest.mark.parametrize("name", ["nobody", "d", "a\0b", "a" * 10_000])
def test_a_name_that_no_model_has_is_answered_like_one_that_one_may_not_see(
    ask: Any, hidden: FolderStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """DM-09: Also to somebody whom Airflow lets read every DAG of that name, which there is not; no model is named."""
    allowed = {f"{name}_training", "churn_training"}
    monkeypatch.setattr(
        "perennial_airflow.console.website.get_auth_manager",
        type("Guard", (), {"filter_authorized_dag_ids": lambda _, *, dag_ids, **__: dag_ids & allowed}),
    )
    for page in ("", "/data", "/data.json", "/reports", "/incidents.json"):
        answer = ask(f"/models/{quote(name, safe='')}{page}")
        assert answer.status_code == 404
        assert "that you may see" in answer.text
        assert "secret" not in answer.text
        assert len(answer.text) < 5_000
