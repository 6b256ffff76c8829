"""The console: pages inside Airflow's web UI, behind its login, that show what `perennial.views` says of models."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from perennial.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/perennial"


class Console:
    """The app that Airflow's API server mounts. It is made at its first request: every task loads the plugin too, and needs no pages.

    Args:
        settings: they say where the store is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def app(self) -> ASGIApp:
        """The pages."""
        from perennial_airflow.console.app import make_app

        return make_app(self.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self.app(scope, receive, send)
