"""Checks that versions answer the way callers reach them: through the gateway, by the route of each version.

A process that runs may hang, and a gateway that says it is well may reach nobody: only an answer that came all the way counts.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from perennial.serving.envoy import PREDICTIONS, READY, VERSION_WANTED
from perennial.serving.route import Route
from perennial.settings import Settings

ANSWER_SECONDS = 5.0
AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Answer:
    """The answer that a caller of one version gets."""

    model: str
    version: int
    weight: int  # basis points of 10,000
    trouble: str  # why it does not answer; empty if it does


def here(settings: Settings) -> Settings:
    """The settings with the gateway's own address, so that a proxy in front of it is not checked."""
    return settings.model_copy(update={"gateway_url": f"http://{settings.host}:{settings.gateway_port}"})


def gateway_trouble(settings: Settings, patience: float = 0.0) -> str:
    """Why the gateway does not answer a caller; empty if it does. It is asked again until then for `patience` seconds."""

    def ask() -> str:
        url = f"{settings.gateway_url}/ready"
        status, _, why = _get(url)
        return why or ("" if status == 200 else f"{url} answers {status}.")

    return _patiently(ask, patience)


def ask(settings: Settings, model: str, route: Route, patience: float = 0.0) -> list[Answer]:
    """Ask every version of a route at the same time, and those that do not answer again for `patience` seconds; in order of version."""

    def one(version: int) -> Answer:
        trouble = _patiently(lambda: _version_trouble(settings, model, version), patience)
        return Answer(model, version, route.weights.get(version, 0), trouble)

    with ThreadPoolExecutor(max_workers=len(route.versions)) as pool:
        return list(pool.map(one, route.versions))


def _version_trouble(settings: Settings, model: str, version: int) -> str:
    url = settings.gateway_url + settings.prediction_path(model).removesuffix(PREDICTIONS) + READY
    status, body, why = _get(url, {VERSION_WANTED: str(version)})
    if why:
        return why
    try:
        answer = json.loads(body)
        if status == 200 and answer["ready"] and (answer["model"], answer["version"]) == (model, version):
            return ""
        said = str(answer.get("reason") or answer)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = body.decode(errors="replace")
    return f"{url} answers {status}: {said[:200].strip()}"


def _get(url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, str]:
    """Status and body, or why there are none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never through a proxy
    opener.addheaders = list((headers or {}).items())
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read(), ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(1000), ""
    except (OSError, ValueError) as error:
        return 0, b"", f"{url} does not answer ({getattr(error, 'reason', error)})."


def _patiently(ask: Callable[[], str], patience: float) -> str:
    deadline = time.monotonic() + patience
    while True:
        trouble = ask()
        if not trouble or time.monotonic() >= deadline:
            return trouble
        time.sleep(AGAIN_SECONDS)
