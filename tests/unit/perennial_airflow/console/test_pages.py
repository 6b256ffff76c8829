"""The console asks who is there, shows what the views say, and no text of a person or a file acts in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from perennial import discovery
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.settings import Settings
from perennial.specs import GateSpec, ModelSpec
from perennial.store import FolderStore
from perennial_airflow.console import PREFIX, Console
from perennial_airflow.console.words import dags

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
HOSTILE = "<script>alert(1)</script>`'\"&{{7*7}}"
SPEC = ModelSpec(
    name="churn",
    title=f"Churn {HOSTILE}",
    owner="crm",
    dataset="d",
    task="regression",
    inputs=("a",),
    label="b",
    gate=GateSpec(metric="rmse", floors={}),
)


class Somebody:
    """Who is logged in, and which DAGs the person may read."""

    readable = frozenset({"churn_training"})
    startable = frozenset({"churn_training", "churn_release"})


SOMEBODY = Somebody()


class Guard:
    """The auth manager, as far as the console asks it."""

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: Somebody, method: str) -> set[str]:
        assert method == "GET"
        return dag_ids & user.readable

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: Somebody) -> bool:
        assert (method, access_entity.name) == ("POST", "RUN")
        return details.id in user.startable


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ask the console as somebody who is logged in; `ask("/models", user=None)` as nobody."""
    from airflow.api_fastapi.core_api.security import get_user

    from perennial_airflow.console import website as console

    store = FolderStore(str(tmp_path))
    fields = {"champion": 1, "weights": {1: 9_000, 2: 1_000}, "versions": {1: "a" * 64, 2: "b" * 64}, "after_seq": None}
    Ledger(store, "churn").append("started", version=2, reason=f"Because {HOSTILE}", actor=HOSTILE, **fields)
    specs = {name: SPEC.model_copy(update={"name": name}) for name in ("churn", "secret")}
    monkeypatch.setattr(discovery, "_models", lambda: (specs, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    monkeypatch.setattr(console, "get_auth_manager", Guard)
    monkeypatch.setattr("perennial_airflow.console.buttons.get_auth_manager", Guard)
    pages = Console(Settings.from_environment({"PERENNIAL_STORE": str(tmp_path)}))

    def ask(path: str, user: Somebody | None = SOMEBODY, **headers: str) -> httpx.Response:
        app: Any = pages.app
        app.dependency_overrides = {get_user: lambda: user} if user else {}

        async def answer() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url="http://localhost:8080") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(answer())

    return ask


@pytest.mark.parametrize(
    "path",
    [
        "/models", "/models.json", "/models/churn", "/models/churn.json", "/models/nobody",
        "/models/churn/release", "/models/churn/release/0", "/models/churn/release.json", "/models/churn/release/0.json",
    ],
)  # fmt: skip
def test_nobody_sees_a_model_without_a_login(ask: Any, path: str) -> None:
    """DM-09: Without a login every page and every document of the console is refused."""
    answer = ask(path, user=None)
    assert answer.status_code == 401
    assert "churn" not in answer.text


def test_every_address_asks_for_a_login(tmp_path: Path) -> None:
    """DM-09: Whatever is asked for, in whatever way, without a login it is refused before anything is read; the look alone is open."""
    from perennial_airflow.console.app import make_app

    app = make_app(Settings.from_environment({"PERENNIAL_STORE": str(tmp_path)}))
    asked = {
        (method, re.sub("{.*?}", "1", route.path))
        for route in app.routes
        if isinstance(route, APIRoute) and not route.path.startswith("/static/")
        for method in route.methods
    }

    async def statuses() -> dict[tuple[str, str], int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080") as client:
            return {(method, path): (await client.request(method, path)).status_code for method, path in asked}

    answered = asyncio.run(statuses())
    assert len(answered) >= 4
    assert {at: status for at, status in answered.items() if status != 401} == {}


def test_a_person_sees_the_models_whose_training_the_person_may_read(ask: Any) -> None:
    """DM-09: Rights are Airflow's: a model whose DAG a person may not read is neither on the page nor in the document."""
    assert [row["name"] for row in ask("/models.json").json()["rows"]] == ["churn"]
    page = ask("/models").text
    assert "churn" in page
    assert "secret" not in page
    assert [ask(f"/models/{name}").status_code for name in ("churn", "secret", "nobody")] == [200, 404, 404]
    assert ask("/models/churn.json").json()["row"]["name"] == "churn"
    assert "There is no model secret that you may see." in ask("/models/secret").text


@pytest.mark.parametrize("path", ["/models", "/models/churn", "/models/churn/release"])
def test_hostile_text_is_shown_as_text(ask: Any, path: str) -> None:
    """A title, a reason or a person's name that holds markup is shown as it stands; the one script is the console's own."""
    answer = ask(path)
    own = [f'<script src="{PREFIX}/static/{name}.js" defer>' for name in ("echarts", "charts", "console")]
    assert re.findall("<script[^>]*>", answer.text) == own[-1 if path == "/models" else 0 :]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "49" not in re.sub(r"\d{4}-[^<]*", "", answer.text)
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


def test_shares_are_drawn_and_said(ask: Any) -> None:
    """SE-06: The bar of the traffic has a part for each version as wide as its share, and says the same in words."""
    page = ask("/models").text
    widths = [float(width) for width in re.findall(r"<rect[^>]* width='([\d.]+)'", page)]
    assert widths == [180.0, 20.0]
    assert "aria-label='version 1 90\u00a0% (champion), version 2 10\u00a0% (candidate)'" in page


def test_asking_again_costs_nothing_until_something_changes(ask: Any, tmp_path: Path) -> None:
    """A browser that has the page is told so in an empty answer; a change of the route gives a new one."""
    first = ask("/models")
    again = ask("/models", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    fields = {"champion": 1, "weights": {1: 10_000}, "versions": {1: "a" * 64, 2: "b" * 64}, "after_seq": 0}
    Ledger(FolderStore(str(tmp_path)), "churn").append("rolled_back", version=2, reason="It errs.", actor="perennial", **fields)
    assert ask("/models", **{"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_the_sentence_on_all_models_looks_good_only_where_something_serves(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing served is no good news, and no bad news either; the DAG of the first training is one click away."""
    mood = '<p class="verdict ([a-z]*)">1 model'
    assert re.findall(mood, ask("/models").text) == [""]
    monkeypatch.setattr(Somebody, "readable", frozenset({"secret_training"}))
    assert re.findall(mood, ask("/models").text) == ["nothing"]
    FolderStore(str(tmp_path)).write("tables/d/_delta_log/00000000000000000000.json", b"{}")
    for path in ("/models", "/models/secret"):
        assert "the DAG <a href='/dags/secret_training'>secret_training</a> shows" in ask(path).text
    assert '<p class="verdict nothing">No version of it is trained yet.' in ask("/models/secret").text
    Incidents(FolderStore(str(tmp_path)), "secret").open("service", "gateway", "critical", "It does not answer.")
    assert re.findall(mood, ask("/models").text) == ["changed"]


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("See `churn_training`.", "See <code><a href='/dags/churn_training'>churn_training</a></code>."),
        ("my_churn_training churn_trainings other_training", "my_churn_training churn_trainings other_training"),
        ("<b>churn_release", "&lt;b&gt;<a href='/dags/churn_release'>churn_release</a>"),
    ],
)
def test_a_dag_of_the_model_that_a_sentence_names_is_a_link(sentence: str, shown: str) -> None:
    """No other word is, and what else stands in the sentence is text."""
    assert dags(sentence, "churn") == shown


def test_a_store_that_cannot_be_read_is_a_sentence(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said on the page and in the document, never as a trace."""

    def away(*_: object) -> None:
        from perennial.errors import StoreUnreachable

        raise StoreUnreachable("The store is away: mount it.")

    monkeypatch.setattr("perennial_airflow.console.pages.models.models", away)
    for path in ("/models", "/models.json"):
        answer = ask(path)
        assert answer.status_code == 503
        assert "The store is away: mount it." in answer.text


def test_the_look_is_served_from_here(ask: Any) -> None:
    """A page asks no network: style, script and icons are the console's own, and need no login."""
    for name, kind in (
        ("look.css", "text/css"),
        ("console.css", "text/css"),
        ("console.js", "javascript"),
        ("charts.js", "javascript"),
        ("echarts.js", "javascript"),
        ("models.svg", "image/svg+xml"),
    ):
        answer = ask(f"/static/{name}", user=None)
        assert answer.status_code == 200
        assert kind in answer.headers["Content-Type"]
    look = ask("/static/look.css", user=None).text
    assert look.count("--paper:#14181d") == 2  # dark where the browser says so, and where Airflow does
    page = ask("/models").text
    assert {address for address in re.findall(r"(?:src|href)=\"([^\"]*)\"", page) if not address.startswith(PREFIX)} == set()


def test_the_plugin_does_not_load_the_pages(ask: Any) -> None:
    """Tasks load the plugin too: the app is made at its first request."""
    assert "app" not in vars(Console(Settings.from_environment({})))


def test_a_button_says_why_it_cannot_be_pressed(ask: Any) -> None:
    """SE-11: Who may start a DAG has its button; who may not has the reason, as where there is nothing to do."""
    page = ask("/models/churn").text
    buttons = dict(
        re.findall(r'<button type="button" data-dag="churn_(\w+)"[^>]*?( disabled title="[^"]*")?(?: aria-describedby="[^"]*")?>', page)
    )
    assert buttons["training"] == ""
    assert "No version waits" in buttons["release"]
    assert "You may not start churn_rollback" in buttons["rollback"]
    assert "You may not start churn_monitoring" in buttons["monitoring"]
    assert "Roll back to version 1" in page  # the release under way would end
    for path in ("/models", "/models/churn", "/models/churn/release"):  # the run is told what the button says
        assert re.findall('data-dag="churn_rollback" data-conf="([^"]*)"', ask(path).text) == ["{&#34;version&#34;: 1}"]


def test_each_page_of_a_model_is_one_click_from_the_list(ask: Any) -> None:
    """Its title leads to the overview, the line below it to all others."""
    from perennial_airflow.console.website import TABS

    row = re.search(r'<th scope="row">.*?</th>', ask("/models").text, re.DOTALL)
    assert row
    assert re.findall(r'href="([^"]*)"', row[0]) == [f"{PREFIX}/models/churn{end and '/'}{end}" for end in TABS]


def test_a_release_has_its_page_and_its_document(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-06: the one under way, by the entry with which it began and by its version alike; what there is not is said; rights hold."""
    page = ask("/models/churn/release").text
    assert "Release of version 2: starting" in page
    assert "was not recorded" in page  # nothing but the ledger knows of it
    assert "Roll back to version 1" in page
    assert "No release begins" not in page
    monkeypatch.setattr("perennial.views.release._frozen", lambda name: f"No release begins or goes on by itself: {name} is frozen.")
    assert "No release begins or goes on by itself: churn is frozen." in ask("/models/churn/release").text
    assert 'href="/perennial/models/churn/release/0" aria-current="true"' in page
    for path, words in (("/models", "releasing"), ("/models/churn", "How far it is, and its evidence")):  # one click from the list
        assert f'href="{PREFIX}/models/churn/release">{words}</a>' in ask(path).text
    for path in ("/models/churn/release.json", "/models/churn/release/0.json", "/models/churn/release.json?version=2"):
        assert ask(path).json()["release"]["version"] == 2
    for path in ("/models/churn/release/7", "/models/churn/release?version=9", "/models/secret/release", "/models/secret/release.json"):
        assert ask(path).status_code == 404
    assert "There is no release of churn to version 9." in ask("/models/churn/release?version=9").text
