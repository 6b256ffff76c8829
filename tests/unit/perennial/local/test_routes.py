from __future__ import annotations

from types import SimpleNamespace

import pytest

from perennial.discovery import Broken
from perennial.errors import ReleaseRefused
from perennial.lineage.ledger import Ledger
from perennial.local import routes
from perennial.settings import Settings
from perennial.store import FolderStore


class Backend:
    """Keeps what it is asked to serve."""

    def __init__(self) -> None:
        self.applied: dict[str, dict[int, int]] = {}
        self.waited: list[tuple[str, int]] = []
        self.refuses = ""
        self.noted: list[str] = []

    def apply(self, model, route) -> None:
        if model.name == self.refuses:
            raise ReleaseRefused("It has damaged files.")
        self.applied[model.name] = route.weights

    def wait_ready(self, model, version, seconds) -> None:
        self.waited.append((model.name, version))


@pytest.fixture
def store(tmp_path):
    """A store with the ledgers of two models that serve; a third has none."""
    found = FolderStore(str(tmp_path))
    for name in ("flight_delays", "digits"):
        ledger = Ledger(found, name)
        ledger.append(
            "released",
            version=1,
            champion=1,
            weights={1: 10_000},
            versions={1: "a" * 64},
            reason="first",
            actor="perennial",
            after_seq=None,
        )
    Ledger(found, "digits").append(
        "weights",
        version=2,
        champion=1,
        weights={1: 7_500, 2: 2_500},
        versions={1: "a" * 64, 2: "b" * 64},
        reason="canary",
        actor="perennial",
        after_seq=0,
    )
    return found


@pytest.fixture
def backend(monkeypatch):
    """A backend in place of Envoy, and three models."""
    found = Backend()
    models = {n: SimpleNamespace(name=n, serving=SimpleNamespace(start_seconds=1)) for n in ("flight_delays", "digits", "new")}
    monkeypatch.setattr(routes, "open_backend", lambda settings, **_: found)
    monkeypatch.setattr(routes.discovery, "models", lambda: models)
    monkeypatch.setattr(routes, "note_service", lambda settings, store, model: found.noted.append(model))
    monkeypatch.setattr(routes.discovery, "broken", list)
    return found


def test_every_model_serves_again_what_its_ledger_says(store, backend):
    """OP-08, DE-18: A release goes on from the step on which the platform went down."""
    sentences = list(routes.resume(Settings.from_environment({}), store))
    assert backend.applied == {"flight_delays": {1: 10_000}, "digits": {1: 7_500, 2: 2_500}}
    assert set(backend.waited) == {("flight_delays", 1), ("digits", 1), ("digits", 2)}
    assert "  digits serves version 1, 2" in sentences
    assert len(sentences) == 2
    assert sorted(backend.noted) == ["digits", "flight_delays"]


def test_a_model_that_cannot_serve_does_not_keep_the_others_down(store, backend):
    """OP-08: Its reason is told, the platform comes up."""
    backend.refuses = "flight_delays"
    sentences = list(routes.resume(Settings.from_environment({}), store))
    assert "  flight_delays does not serve: It has damaged files." in sentences
    assert list(backend.applied) == ["digits"]
    assert "flight_delays" in backend.noted


def test_what_served_goes_on_although_its_files_are_broken_or_gone(store, backend, monkeypatch):
    """SE-12, OP-08: An edit takes nothing from callers, also not at the next start; what is wrong is said, of a model that never served
    too."""
    broken = [Broken(kind, name, "it is empty", "a.py") for kind, name in (("model", "digits"), ("model", "unready"), ("dataset", "fares"))]
    monkeypatch.setattr(routes.discovery, "models", dict)
    monkeypatch.setattr(routes.discovery, "broken", lambda: broken)
    sentences = list(routes.resume(Settings.from_environment({}), store))
    assert backend.applied == {"flight_delays": {1: 10_000}, "digits": {1: 7_500, 2: 2_500}}
    assert sentences == [
        f"  digits serves version 1, 2, with the settings of serving that it had. {broken[0].sentence}",
        "  flight_delays serves version 1, with the settings of serving that it had. flight_delays still serves version 1, and "
        "perennial_models/flight_delays is gone: "
        "nobody watches or trains it. Put the folder back, or take it down with `perennial retire flight_delays`.",
        f"  {broken[1].sentence}",
        f"  {broken[2].sentence}",
    ]


def test_a_damaged_ledger_keeps_only_its_own_model_down(store, backend):
    """OP-08, SC-03: Nobody knows what it is to serve; the others come up, and it is said."""
    key = "ledger/flight_delays/00000000.json"
    store.write(key, store.read(key).replace(b"first", b"third"))
    sentences = list(routes.resume(Settings.from_environment({}), store))
    assert list(backend.applied) == ["digits"]
    assert any(said.startswith("  flight_delays does not serve: Entry 0 of the ledger of flight_delays was changed") for said in sentences)
    assert [model.name for model, _ in routes.released(store)] == ["digits"]
