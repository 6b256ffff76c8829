"""Who may ask the web UI, and what scripts cannot read of it. tests/integration/local/test_stack.py asks a real one."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from perennial.local import refusals
from perennial.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")  # a library of Airflow's loads Starlette's test client
TOKEN = "eyJhbGciOi.eyJzdWIi.c2ln-_"
Client = Callable[..., "Asked"]


class Asked:
    """An app that is asked without a network."""

    def __init__(self, app: FastAPI, address: str) -> None:
        self.app, self.address = app, address

    def get(self, path: str, headers: dict[str, str]) -> httpx.Response:
        """Ask."""
        return self._ask("GET", path, headers)

    def post(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """Tell."""
        return self._ask("POST", path, headers or {})

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=self.address) as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(ask())


def plugin() -> Any:
    """The plugin, loaded from its file as Airflow loads it."""
    spec = importlib.util.spec_from_file_location("perennial_plugin", Path(__file__).parents[3] / "plugins" / "perennial_plugin.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PerennialPlugin


@pytest.fixture
def client() -> Client:
    """An app behind the plugin's middlewares, as Airflow adds them; `client(PERENNIAL_ALLOWED_HOSTS=...)`."""

    def client(answer: Any = None, status: int = 201, address: str = "http://localhost:8080", **settings: str) -> Asked:
        app = FastAPI()

        @app.api_route("/auth/token", methods=["GET", "POST"])
        @app.api_route("/ui/config", methods=["GET", "POST"])
        def login() -> JSONResponse:
            return JSONResponse({"access_token": TOKEN} if answer is None else answer, status)

        found = Settings.from_environment({"PERENNIAL_AIRFLOW_URL": "https://ml.example.com", **settings})
        for entry in plugin().fastapi_root_middlewares:
            app.add_middleware(entry["middleware"], **(entry.get("kwargs", {}) and {"settings": found}))
        return Asked(app, address)

    return client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8080"}, 201),
        ({"Host": "ml.example.com"}, 201),
        ({"Host": "rebound.example:8080"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://localhost:8080"}, 201),
        ({"Origin": "https://ml.example.com"}, 201),
        ({"Origin": "http://localhost:8081"}, 403),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "ml.example.com", "Origin": "https://ml.example.com"}, 201),
    ],
)
def test_pages_of_other_sites_are_refused(client: Client, headers: dict[str, str], status: int) -> None:
    """SC-01: The name and the page must be Airflow's own; the reports' port is another server, whose pages hold what strangers wrote."""
    answer = client().post("/auth/token", headers=headers)
    assert answer.status_code == status
    assert status == 201 or any(words in answer.json()["detail"] for words in ("has the name", "may not send requests"))


def test_every_name_may_be_allowed(client: Client) -> None:
    """SC-01: Probes on Kubernetes ask by a pod's address; a page of another site is refused all the same."""
    asked = client(PERENNIAL_ALLOWED_HOSTS="*")
    assert asked.get("/ui/config", headers={"Host": "10.1.2.3:8080"}).status_code == 201
    assert asked.get("/ui/config", headers={"Host": "10.1.2.3:8080", "Origin": "https://elsewhere.example"}).status_code == 403


def test_tasks_ask_by_the_name_they_were_given(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SC-01: The address of the execution API is Airflow's own, and needs no setting; other sites that an administrator allows may ask
    too."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://airflow-api-server:8080/execution/")
    monkeypatch.setenv("AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS", "https://portal.example.com")
    asked = client()
    assert asked.get("/ui/config", headers={"Host": "airflow-api-server:8080"}).status_code == 201
    assert asked.get("/ui/config", headers={"Origin": "https://portal.example.com"}).status_code == 201


@pytest.mark.parametrize(
    ("address", "headers", "is_secure"),
    [
        ("http://localhost:8080", {}, False),
        ("https://localhost:8080", {}, True),
        ("http://ml.example.com", {"Origin": "https://ml.example.com"}, True),
        ("http://ml.example.com", {"Origin": "http://ml.example.com"}, False),
    ],
)
def test_a_login_sets_a_cookie_that_no_script_can_read(client: Client, address: str, headers: dict[str, str], is_secure: bool) -> None:
    """SC-01: Behind a proxy that ends TLS the page's own address says that the cookie is for https only."""
    answer = client(address=address).post("/auth/token", headers=headers)
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name == f"_token={TOKEN}"
    assert {"Path=/", "HttpOnly", "SameSite=lax"} <= set(attributes)
    assert ("Secure" in attributes) is is_secure
    assert answer.json() == {"access_token": TOKEN}


@pytest.mark.parametrize(
    ("path", "answer", "status"),
    [
        ("/auth/token", None, 401),
        ("/auth/token", {"access_token": "x; Path=/a"}, 201),
        ("/auth/token", [1], 201),
        ("/ui/config", None, 201),
    ],
)
def test_nothing_else_sets_a_cookie(client: Client, path: str, answer: Any, status: int) -> None:
    """SC-01: A refused login, an answer without a token, another path."""
    found = client(answer, status).post(path)
    assert found.status_code == status
    assert "set-cookie" not in found.headers
    assert found.json() == ({"access_token": TOKEN} if answer is None else answer)


def test_what_is_refused_is_counted(client: Client, tmp_path: Path) -> None:
    """MN-16: Failed logins and callers who may not ask, each by itself; what is let in counts nowhere."""
    home = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    assert refusals.counts(home) == {"login": 0, "caller": 0}
    refused, let_in = (client(status=status, PERENNIAL_HOME=str(tmp_path)) for status in (401, 201))
    for _ in range(3):
        assert refused.post("/auth/token").status_code == 401
    let_in.post("/auth/token")
    refused.get("/ui/config", headers={})
    assert let_in.get("/ui/config", headers={"Host": "rebound.example:8080"}).status_code == 403
    assert refusals.counts(home) == {"login": 3, "caller": 1}
    assert (tmp_path / "refused/login").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_counted_is_refused_all_the_same(client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MN-16: The log says that it was not counted."""
    (tmp_path / "refused").write_text("in the way")
    assert client(status=401, PERENNIAL_HOME=str(tmp_path)).post("/auth/token").status_code == 401
    assert "A refused login was not counted in" in caplog.text
