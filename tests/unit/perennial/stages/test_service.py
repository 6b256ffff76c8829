from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.settings import Settings
from perennial.stages import _service
from perennial.stages._service import note_service
from perennial.store import FolderStore

MODEL = "flight_delays"


class Gateway(http.server.ThreadingHTTPServer):
    """Answers as Envoy does: by the version that the request names."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[int, tuple[int, object]] = {}
        self.asked: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        version = int(self.headers.get("x-predictor", "0"))
        status, body = self.server.answers.get(version, (200, {"ready": True, "model": MODEL, "version": version}))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway on a free port."""
    found = Gateway()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def settings(gateway, monkeypatch) -> Settings:
    """Settings that name it."""
    monkeypatch.setattr(_service, "PATIENCE_SECONDS", 0.0)
    return Settings.from_environment({"PERENNIAL_GATEWAY_URL": f"http://127.0.0.1:{gateway.server_address[1]}"})


@pytest.fixture
def store(tmp_path) -> FolderStore:
    """A canary of version 2 beside champion 1, and version 3 runs without traffic."""
    found = FolderStore(str(tmp_path))
    shares, versions = {1: 7_500, 2: 2_500, 3: 0}, {1: "a" * 64, 2: "b" * 64, 3: "c" * 64}
    Ledger(found, MODEL).append(
        "weights", version=2, champion=1, weights=shares, versions=versions, reason="canary", actor="perennial", after_seq=None
    )
    return found


def opened(store: FolderStore) -> dict[str, str]:
    """Severities of the open incidents of the kind service, by key."""
    return {i.key: i.severity for i in Incidents(store, MODEL).open_ones() if i.kind == "service"}


def test_what_does_not_answer_is_opened_once_and_resolved_once_it_does(settings, store, gateway):
    """MN-04, MN-09: A version that gets no traffic, such as one that is being started, alarms nobody."""
    assert note_service(settings, store, MODEL) == ()
    gateway.answers = {1: (503, "no healthy upstream"), 2: (503, {"ready": False, "reason": "It is being loaded."}), 3: (503, "")}
    assert len(note_service(settings, store, MODEL)) == 2
    assert note_service(settings, store, MODEL) == ()
    assert opened(store) == {"version 1": "critical", "version 2": "warning"}
    gateway.answers.pop(1)
    (resolved,) = note_service(settings, store, MODEL)
    assert Incidents(store, MODEL).get(resolved).key == "version 1"
    assert opened(store) == {"version 2": "warning"}
    assert "It is being loaded." in Incidents(store, MODEL).open_ones()[0].sentence


@pytest.mark.parametrize("body", [{"ready": True, "model": MODEL, "version": 7}, {"ready": True, "model": "other", "version": 1}, [], "ok"])
def test_an_answer_of_something_else_is_none(settings, store, gateway, body):
    """MN-04: A route that leads elsewhere, or a stranger at the port."""
    gateway.answers = {1: (200, body)}
    note_service(settings, store, MODEL)
    assert "version 1" in opened(store)


def test_a_gateway_that_is_gone_is_one_incident(settings, store, gateway):
    """MN-04, MN-09: Its versions could not be asked: what was known of them stays."""
    gateway.answers = {2: (503, "")}
    note_service(settings, store, MODEL)
    gone = settings.model_copy(update={"gateway_url": "http://127.0.0.1:9"})
    note_service(gone, store, MODEL)
    assert opened(store) == {"gateway": "critical", "version 2": "warning"}
    gateway.answers = {}
    note_service(settings, store, MODEL)
    assert opened(store) == {}


def test_incidents_of_stages_are_left_alone(settings, store):
    """MN-09: They end with the next run of the stage that works."""
    Incidents(store, MODEL).open("service", "release", "critical", "The gateway refused.")
    note_service(settings, store, MODEL)
    assert opened(store) == {"release": "critical"}


def test_nothing_is_asked_before_the_first_release_and_after_the_last_version_left(settings, store, gateway):
    """MN-09: What nobody serves cannot fail to answer; an incident of what served then is over."""
    assert note_service(settings, store, "never_released") == ()
    assert gateway.asked == []
    gateway.answers = {1: (503, "")}
    note_service(settings, store, MODEL)
    before = len(gateway.asked)
    Ledger(store, MODEL).append(
        "rolled_back", version=2, champion=None, weights={}, versions={2: "b" * 64}, reason="gone", actor="perennial", after_seq=0
    )
    assert len(note_service(settings, store, MODEL)) == 1
    assert opened(store) == {}
    assert len(gateway.asked) == before
