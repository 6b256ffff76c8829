"""What the web UI lets in, and what it keeps from scripts: middlewares of Airflow's API server (docs/decisions/0038-who-may-ask.md)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from airflow.configuration import conf

from perennial.local import callers, refusals
from perennial.settings import Settings, host_name

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "_token"
LOGIN = "/auth/token"  # where the login page of Airflow's simple auth manager gets a token
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


class KnownCallers:
    """Answers requests to names that Airflow has, from programs and from pages of its own.

    Args:
        app: what answers them.
        settings: they hold the names; the address at which tasks report to Airflow is one too.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        tasks = host_name(conf.get("core", "execution_api_server_url", fallback=""))
        self.app = app
        self.settings = settings.model_copy(update={"allowed_hosts": ",".join(filter(None, (settings.allowed_hosts, tasks)))})
        addresses = (settings.airflow_url, conf.get("api", "base_url", fallback=""))
        allowed = conf.get("api", "access_control_allow_origins", fallback="").split()
        self.pages = frozenset({*filter(None, map(callers.origin_of, addresses)), *allowed})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with a sentence."""
        if scope["type"] == "http" and (
            why := callers.refusal(self.settings, _header(scope, b"host") or "", _header(scope, b"origin"), self.pages)
        ):
            refusals.count(self.settings, "caller")
            body = json.dumps({"detail": why}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, send)


class HttpOnlyToken:
    """Sets the cookie of a login itself, out of the reach of scripts; the login page's own script would set it within. Counts failed ones.

    A browser lets no script overwrite a cookie that is HttpOnly, so the page's attempt changes nothing.

    Args:
        app: what answers requests.
        settings: they say where logins that fail are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; add the cookie to the answer of a login."""
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) != LOGIN:
            await self.app(scope, receive, send)
            return
        from airflow.api_fastapi.app import get_cookie_path

        # The page's own address says more than the scheme of a request that a proxy passed on.
        is_secure = scope.get("scheme") == "https" or (_header(scope, b"origin") or "").startswith("https:")
        begun: list[Message] = []
        body = b""

        async def hold(message: Message) -> None:
            """Hold the answer back until all of it is there."""
            nonlocal body
            if message["type"] != "http.response.body":
                begun.append(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            if begun[0]["status"] == 401:
                refusals.count(self.settings, "login")
            if begun[0]["status"] == 201 and (token := _token(body)):
                cookie = f"{COOKIE}={token}; Path={get_cookie_path()}; HttpOnly; SameSite=lax{'; Secure' if is_secure else ''}"
                begun[0]["headers"] = [*begun[0]["headers"], (b"set-cookie", cookie.encode())]
            for part in begun:
                await send(part)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, hold)


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _token(body: bytes) -> str:
    """The token that a login gives, empty if it gives none."""
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    token = answer.get("access_token") if isinstance(answer, dict) else None
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else ""
