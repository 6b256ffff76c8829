"""A receiver of spans for tests: what is sent to it, as real exporters send it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from perennial.local.span_receiver import Kept, SpanReceiver
from perennial.testing.programs import wait_until


class Spans:
    """Every span that came, from the beginning of the `with` block to its end.

    Attributes:
        known: the spans, as `perennial.local.span_receiver` keeps them.
        keys: values of the header `x-key` with which they came.
    """

    def __init__(self) -> None:
        self.known: list[Kept] = []
        self.keys: set[str] = set()
        self._server = SpanReceiver(0, self._take)

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is for it."""
        return self._server.url

    def variables(self, **more: str) -> dict[str, str]:
        """OpenTelemetry's variables of a process whose spans come here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **more}

    def wait_for(self, wanted: Callable[[list[Kept]], Any], seconds: float = 30) -> Any:
        """What is wanted of the spans, once it is there: exporters send some seconds late."""
        return wait_until(lambda: wanted(list(self.known)), seconds, "the spans to come")

    def __enter__(self) -> Spans:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, spans: list[Kept], headers: Mapping[str, str]) -> None:
        self.keys |= {value for value in (headers.get("x-key"),) if value}
        self.known += spans
