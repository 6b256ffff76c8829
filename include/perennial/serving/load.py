"""A bounded load generator: sends rows to the gateway at a rate and counts what comes back.

>>> from perennial.serving.load import Load
>>> Load(requests=3, milliseconds=[2.0, 4.0, 9.0], by_version={7: 3}).sentence()
'3 requests, 0 failed; version 7: 3; p50 4.0 ms, p99 9.0 ms.'
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from perennial.settings import Settings
from perennial.specs import ModelSpec

NO_ANSWER = "no answer: "  # begins the failure of a request that nobody answered


@dataclass(frozen=True)
class Call:
    """One prediction request to send."""

    rows: Sequence[Mapping[str, Any]]
    id: str | None = None  # prediction id, the same in every replay of the same row
    event_time: str | None = None  # ISO 8601


@dataclass
class Load:
    """The counts and latencies of the answers to the calls sent."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)  # a sentence for each request that was not answered with scores
    milliseconds: list[float] = field(default_factory=list)  # of answered requests, in the order of the answers
    by_version: Counter[int] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)  # prediction ids of the rows of answered requests
    answered_at: list[float] = field(default_factory=list)  # time.monotonic() of the answer, for each of `ids`
    last_answer: dict[int, float] = field(default_factory=dict)  # version -> time.monotonic() of its last answer

    def quantile(self, share: float) -> float:
        """The latency in ms that this share of the answers does not exceed; 0 if there were none."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def sentence(self) -> str:
        """The figures, for a person."""
        versions = ", ".join(f"version {version}: {count}" for version, count in sorted(self.by_version.items())) or "none answered"
        return (
            f"{self.requests} requests, {len(self.failures)} failed; {versions}; p50 {self.quantile(0.5):.1f} ms, "
            f"p99 {self.quantile(0.99):.1f} ms."
        )


def send(
    settings: Settings,
    model: ModelSpec,
    calls: Iterable[Call],
    *,
    rate: float | None = None,
    seconds: float | None = None,
    connections: int = 4,
    stop: threading.Event | None = None,
    progress: Callable[[Load], None] | None = None,
) -> Load:
    """Send all calls, or as many as fit into `seconds`, over `connections` connections; `rate` is requests per second, as
    fast as answered if None.

    A call is tried once: whatever is not answered with 200 is a failure. `stop` ends it early. `progress` is called about once a second.
    """
    load, lock, stop = Load(), threading.Lock(), stop or threading.Event()
    waiting: queue.Queue[Call | None] = queue.Queue(maxsize=connections * 2)
    senders = [threading.Thread(target=_send_all, args=(settings, model, waiting, load, lock), daemon=True) for _ in range(connections)]
    for sender in senders:
        sender.start()
    begun = said = time.monotonic()
    try:
        for number, call in enumerate(calls):
            if rate:
                stop.wait(max(0.0, begun + number / rate - time.monotonic()))
            if stop.is_set() or (seconds is not None and time.monotonic() - begun >= seconds):
                break
            waiting.put(call)
            if progress and time.monotonic() - said >= 1:
                said = time.monotonic()
                progress(load)
    finally:
        for _ in senders:
            waiting.put(None)
        for sender in senders:
            sender.join()
    return load


def _send_all(settings: Settings, model: ModelSpec, waiting: queue.Queue[Call | None], load: Load, lock: threading.Lock) -> None:
    connection, path = gateway(settings, model)
    try:
        while (call := waiting.get()) is not None:
            begun = time.perf_counter()
            failure, answer = ask(connection, path, call)
            milliseconds = (time.perf_counter() - begun) * 1e3
            with lock:
                load.requests += 1
                if failure:
                    load.failures.append(failure)
                else:
                    version = int(answer["meta"]["tags"]["version"])
                    load.milliseconds.append(milliseconds)
                    load.by_version[version] += 1
                    load.ids += [f"{answer['meta']['puid']}-{place}" for place in range(len(call.rows))]
                    load.last_answer[version] = now = time.monotonic()
                    load.answered_at += [now] * len(call.rows)
    finally:
        connection.close()


def gateway(settings: Settings, model: ModelSpec) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the gateway, and the path at which it answers predictions of a model."""
    address = urlsplit(settings.gateway_url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or settings.host, address.port, timeout=model.serving.timeout_seconds + 5)
    return connection, address.path.rstrip("/") + settings.prediction_path(model.name)


def ask(
    connection: http.client.HTTPConnection, path: str, call: Call, headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[str | None, dict[str, Any]]:
    """Send one call; why it was not answered with scores, and the answer."""
    meta: dict[str, Any] = {"puid": call.id} if call.id else {}
    if call.event_time:
        meta["tags"] = {"event_time": call.event_time}
    try:
        connection.request(
            "POST", path, json.dumps({"data": {"rows": call.rows}, "meta": meta}), {"Content-Type": "application/json", **headers}
        )
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return f"{NO_ANSWER}{type(error).__name__}: {error}", {}
    if response.status != http.HTTPStatus.OK:
        return f"{response.status}: {body[:300].decode(errors='replace')}", {}
    answer: dict[str, Any] = json.loads(body)
    return None, answer
