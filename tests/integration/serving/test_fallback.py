"""The champion's server is killed, hangs and fails under load on a real gateway: every caller gets an answer, marked as a fallback's."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.serving.conftest import Platform

from perennial import discovery, testing
from perennial.lineage import version_folder
from perennial.serving.load import Call, send
from perennial.serving.route import Route
from perennial.specs import ServingSpec
from perennial.testing import small_manifest, small_rows, small_version

SCORES = {"on_time": 0.75, "late": 0.25}
SICK = """import pathlib
import time

STATE = pathlib.Path({state!r})


def encode(encoder, columns):
    said = STATE.read_text() if STATE.exists() else ""
    if said == "raise":
        raise ZeroDivisionError("on purpose")
    if said == "hang":
        time.sleep(4)
    return encoder.encode(columns)
"""


def asked(platform: Platform) -> tuple[dict[str, Any], dict[str, str]]:
    """The answer to one request, and its headers."""
    url = platform.settings.gateway_url + platform.settings.prediction_path(platform.model.name)
    body = json.dumps({"data": {"rows": small_rows(2)}}).encode()
    headers = {"Content-Type": "application/json", "x-perennial-fallback": "of a caller"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        return json.load(answer), dict(answer.headers)


def sick(platform: Platform, folder: Path, state: Path) -> str:
    """A version that does what a file says; its digest."""
    made = small_version(folder, seed=7)
    (made / "features.py").write_text(SICK.format(state=str(state)))
    return version_folder.publish(platform.store, platform.model.name, made, small_manifest(run_key="7" * 24))


def serve(platform: Platform, weights: dict[int, int], digests: dict[int, str], **serving: Any) -> None:
    """Apply a route with the champion 2 and a fallback, and wait until that answers too."""
    platform.model = platform.model.model_copy(update={"serving": ServingSpec(timeout_seconds=3, **serving)})
    platform.backend.apply(platform.model, Route(weights, None, digests, champion=2))
    for version in weights:
        platform.backend.wait_ready(platform.model, version, 60)
    name = f"{platform.model.name}-fallback"
    testing.wait_until(lambda: platform.backend._arms()[name].healthy if name in platform.backend._arms() else False, 60, "the fallback")


def under_load(platform: Platform, trouble: Callable[[], object]) -> Any:
    """What callers got of 600 requests, in the midst of which trouble came."""
    calls = [Call(small_rows(1, seed=number)) for number in range(600)]
    timer = threading.Timer(1.0, trouble)
    timer.start()
    load = send(platform.settings, platform.model, calls, rate=100, connections=8)
    timer.join()
    return load


@pytest.mark.parametrize("kind", ["constant", "rule", "last_good"])
def test_no_request_is_lost_whatever_befalls_the_champion(
    new_platform: Callable[[], Platform], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """SC-07: It raises, hangs and is killed under load; each caller gets scores, marked in the answer, its header and the log. The errors
    still count against the champion, as do callers' latencies, and a caller cannot mark an answer himself."""
    platform, state = new_platform(), tmp_path / "state"
    monkeypatch.setattr(discovery, "model_folder", lambda name: tmp_path)
    (tmp_path / "fallback.py").write_text("def scores(columns):\n    return [[0.75, 0.25]] * len(columns['carrier'])\n")
    digests = {1: platform.version(1), 2: sick(platform, tmp_path / "sick", state)}
    serve(platform, {1: 0, 2: 10_000}, digests, fallback=kind, **({"fallback_scores": SCORES} if kind == "constant" else {}))
    answer, headers = asked(platform)
    assert (answer["meta"]["tags"], "x-perennial-fallback" in headers) == ({"model": "small_delays", "version": 2}, False)

    state.write_text("raise")
    answer, headers = asked(platform)
    version = 1 if kind == "last_good" else 2
    assert answer["meta"]["tags"] == {"model": "small_delays", "version": version, "fallback": kind}
    assert headers["x-perennial-fallback"] == kind
    if kind != "last_good":
        assert answer["data"] == {"names": ["on_time", "late"], "ndarray": [[0.75, 0.25]] * 2}
    state.unlink()

    failed = platform.backend.observe(platform.model)[2].errors
    load = under_load(platform, lambda: state.write_text("raise"))
    assert (load.requests, load.failures) == (600, [])
    testing.wait_until(lambda: platform.backend.observe(platform.model)[2].errors >= failed + 300, 20, "the champion's errors")
    testing.wait_until(lambda: dict(platform.backend.observe(platform.model)[2].latency_ms)[math.inf] >= 600, 20, "callers' latencies")
    state.unlink()

    state.write_text("hang")
    assert asked(platform)[1]["x-perennial-fallback"] == kind
    state.unlink()
    time.sleep(4)

    def kill() -> None:
        for pid in platform.server_pids(2):
            os.kill(pid, signal.SIGKILL)

    load = under_load(platform, kill)
    assert (load.requests, load.failures) == (600, [])
    testing.wait_until(lambda: logged(platform, kind) > 300, 20, "the log of fallback answers")


def logged(platform: Platform, kind: str) -> int:
    """How many lines of the prediction log say that a fallback answered."""
    keys = [item.key for item in platform.store.list(f"predictions/{platform.model.name}")]
    return sum(platform.store.read(key).decode().count(f'"fallback":"{kind}"') for key in keys)
